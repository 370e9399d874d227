"""Density estimation on normalizing flows, with scikit-learn's interface."""

from .displays import (
    DensityDisplay,
    ExplanationDisplay,
    ForecastDensityDisplay,
    LatentDisplay,
    LossCurveDisplay,
    PITDisplay,
    PredictionIntervalDisplay,
)
from .estimators.density import FlowDensity
from .estimators.outlier import FlowOutlierDetector
from .estimators.regressor import FlowRegressor
from .outliers.conformal import benjamini_hochberg

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "FlowDensity",
    "FlowOutlierDetector",
    "FlowRegressor",
    "ForecastDensityDisplay",
    "LatentDisplay",
    "LossCurveDisplay",
    "PITDisplay",
    "PredictionIntervalDisplay",
    "benjamini_hochberg",
]
__version__ = "0.1.0"
