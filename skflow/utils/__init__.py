"""Helpers for these and anybody's density estimators."""

from .check_density import DensityCheckError, check_density

__all__ = ["DensityCheckError", "check_density"]
