"""Estimators that are fitted on the workers of a Dask cluster, where the partitions lie."""

from .estimators import DaskFlowDensity, DaskFlowOutlierDetector
from .workers import WorkerLostError

__all__ = ["DaskFlowDensity", "DaskFlowOutlierDetector", "WorkerLostError"]
