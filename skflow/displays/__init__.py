"""Pictures of a fitted estimator, in the idiom of scikit-learn's displays."""

from .density import DensityDisplay
from .latent import LatentDisplay
from .loss import LossCurveDisplay

__all__ = ["DensityDisplay", "LatentDisplay", "LossCurveDisplay"]
