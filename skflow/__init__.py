"""Density estimation on normalizing flows, with scikit-learn's interface."""

from ._conformal import benjamini_hochberg
from ._density import FlowDensity
from ._display import DensityDisplay, LatentDisplay, LossCurveDisplay
from ._explanation import ExplanationDisplay
from ._outlier import FlowOutlierDetector

__all__ = [
    "DensityDisplay",
    "ExplanationDisplay",
    "FlowDensity",
    "FlowOutlierDetector",
    "LatentDisplay",
    "LossCurveDisplay",
    "benjamini_hochberg",
]
__version__ = "0.1.0"
