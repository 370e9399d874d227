"""Estimators that are fitted on the workers of a Dask cluster, where the partitions lie."""

from .estimators import DaskFlowDensity, DaskFlowOutlierDetector

__all__ = ["DaskFlowDensity", "DaskFlowOutlierDetector"]
