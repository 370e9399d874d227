"""Scorers: what `GridSearchCV` and `cross_val_score` take as ``scoring``. Higher is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .forecasts import crps

LEVELS = (np.arange(100) + 0.5) / 100


def log_density_scorer(estimator, X: ArrayLike, y: ArrayLike | None = None) -> float:
    """Mean log-density in nats: of the targets given the features, or of rows where there is no target.

    Parameters
    ----------
    estimator : FlowRegressor, FlowDensity or what has their ``score_samples``
    X : array-like of shape (n_samples, n_features)
    y : array-like, optional

    Returns
    -------
    score : float
    """
    return float(np.mean(estimator.score_samples(X) if y is None else estimator.score_samples(X, y)))


def crps_scorer(estimator, X: ArrayLike, y: ArrayLike) -> float:
    """Minus the mean continuous ranked probability score, from 100 quantiles; of several targets the mean over them.

    Parameters
    ----------
    estimator : FlowRegressor or what has its ``predict_quantiles``
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_targets)

    Returns
    -------
    score : float
    """
    y = np.asarray(y, dtype=float)
    quantiles = estimator.predict_quantiles(X, LEVELS)
    if y.ndim == 1:
        return -float(crps(y, quantiles).mean())
    return -float(np.mean([crps(y[:, j], quantiles[:, :, j]).mean() for j in range(y.shape[1])]))
