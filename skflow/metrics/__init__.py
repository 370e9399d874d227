"""Scores of probabilistic forecasts, and scorers for searches and cross-validation."""

from .forecasts import crps, interval_score, pit
from .scorers import crps_scorer, log_density_scorer

__all__ = ["crps", "crps_scorer", "interval_score", "log_density_scorer", "pit"]
