"""Density estimation on normalizing flows, with scikit-learn's interface."""

from .displays import DensityDisplay, LatentDisplay, LossCurveDisplay
from .displays.explanation import ExplanationDisplay
from .estimators.classifier import FlowClassifier
from .estimators.density import FlowDensity
from .estimators.outlier import FlowOutlierDetector
from .outliers.conformal import benjamini_hochberg

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "FlowClassifier",
    "FlowDensity",
    "FlowOutlierDetector",
    "LatentDisplay",
    "LossCurveDisplay",
    "benjamini_hochberg",
]
__version__ = "0.1.0"
