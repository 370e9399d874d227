"""Pictures of a fitted estimator, in the idiom of scikit-learn's displays."""

from .density import DensityDisplay
from .explanation import ExplanationDisplay
from .forecast_density import ForecastDensityDisplay
from .intervals import PredictionIntervalDisplay
from .latent import LatentDisplay
from .loss import LossCurveDisplay
from .pit import PITDisplay

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "ForecastDensityDisplay",
    "LatentDisplay",
    "LossCurveDisplay",
    "PITDisplay",
    "PredictionIntervalDisplay",
]
