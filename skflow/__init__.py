"""Density estimation on normalizing flows, with scikit-learn's interface."""

from .displays import DensityDisplay, LatentDisplay, LossCurveDisplay
from .displays.explanation import ExplanationDisplay
from .estimators.density import FlowDensity
from .estimators.exported import export_onnx
from .estimators.outlier import FlowOutlierDetector
from .outliers.conformal import benjamini_hochberg
from .persistence import load
from .utils.version import __version__ as __version__

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "FlowDensity",
    "FlowOutlierDetector",
    "LatentDisplay",
    "LossCurveDisplay",
    "benjamini_hochberg",
    "export_onnx",
    "load",
]
