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
from .estimators.classifier import FlowClassifier
from .estimators.density import FlowDensity
from .estimators.exported import export_onnx
from .estimators.imputer import FlowImputer
from .estimators.outlier import FlowOutlierDetector
from .estimators.parquet import write_parquet
from .estimators.posterior import FlowPosterior
from .estimators.regressor import FlowRegressor
from .outliers.conformal import benjamini_hochberg
from .persistence import load
from .utils.version import __version__ as __version__

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "FlowClassifier",
    "FlowDensity",
    "FlowImputer",
    "FlowOutlierDetector",
    "FlowPosterior",
    "FlowRegressor",
    "ForecastDensityDisplay",
    "LatentDisplay",
    "LossCurveDisplay",
    "PITDisplay",
    "PredictionIntervalDisplay",
    "benjamini_hochberg",
    "export_onnx",
    "load",
    "write_parquet",
]
