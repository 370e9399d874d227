"""Scores of probabilistic forecasts of one target, row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def crps(y_true: ArrayLike, y_forecast: ArrayLike, *, kind: str = "quantiles") -> np.ndarray:
    """Continuous ranked probability score of every forecast: smaller is better.

    The integral over y of ``(F(y) - [y_true <= y])^2``, or twice that of the pinball loss over the levels of the
    quantiles (Laio & Tamea 2007, eq. 7); for a forecast that is one number it is the absolute error.

    Parameters
    ----------
    y_true : array-like of shape (n,)
    y_forecast : array-like of shape (n, m)
    kind : {"quantiles", "samples"}, default="quantiles"
        Whether the forecasts are quantiles at the levels ``(i - 1/2) / m``, or draws. Of draws the score is unbiased,
        however few there are (Ferro 2014, eq. 2).

    Returns
    -------
    score : ndarray of shape (n,)
        In the units of ``y_true``.

    Examples
    --------
    >>> from skflow.metrics import crps
    >>> crps([1.0], [[0.0, 1.0, 2.0]]).round(3)
    array([0.222])
    """
    y, values = _checked(y_true, y_forecast)
    m = values.shape[1]
    if kind == "quantiles":
        error, levels = y[:, None] - values, (np.arange(m) + 0.5) / m
        return 2 * np.maximum(levels * error, (levels - 1) * error).mean(1)
    if kind != "samples":
        raise ValueError(f"kind must be 'quantiles' or 'samples'. Got {kind!r} instead.")
    if m < 2:
        raise ValueError("y_forecast has one draw a row: kind='samples' needs at least 2.")
    ordered = np.sort(values, axis=1)
    pairs = ordered @ (2 * np.arange(1, m + 1) - m - 1) / (m * (m - 1))
    return np.abs(values - y[:, None]).mean(1) - pairs


def interval_score(y_true: ArrayLike, y_interval: ArrayLike, coverage: float = 0.9) -> np.ndarray:
    """Interval score of every central interval (Gneiting & Raftery 2007, eq. 43): smaller is better.

    The width, and ``2 / (1 - coverage)`` times the distance of a target that lies outside.

    Parameters
    ----------
    y_true : array-like of shape (n,)
    y_interval : array-like of shape (n, 2)
        Lower and upper ends.
    coverage : float, default=0.9
        The share of targets that the intervals are to cover.

    Returns
    -------
    score : ndarray of shape (n,)
    """
    y, ends = _checked(y_true, y_interval)
    if ends.shape[1] != 2:
        raise ValueError(f"y_interval has shape {ends.shape}, expected ({len(y)}, 2): lower and upper ends.")
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be a number between 0 and 1, both excluded. Got {coverage!r} instead.")
    low, high = ends.T
    outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return high - low + 2 / (1 - coverage) * outside


def pit(y_true: ArrayLike, y_forecast: ArrayLike) -> np.ndarray:
    """Probability integral transform by draws: uniform where the forecasts are calibrated.

    The share of draws below the target, those that are equal counted half, as a share of one more than all draws, so
    that none is zero or one. `FlowRegressor.cdf` gives the transform of one target without draws.

    Parameters
    ----------
    y_true : array-like of shape (n,)
    y_forecast : array-like of shape (n, m)

    Returns
    -------
    level : ndarray of shape (n,)
    """
    y, draws = _checked(y_true, y_forecast)
    below = (draws < y[:, None]).sum(1) + 0.5 * (draws == y[:, None]).sum(1)
    return (below + 0.5) / (draws.shape[1] + 1)


def _checked(y_true, y_forecast):
    y, forecast = np.asarray(y_true, dtype=float), np.asarray(y_forecast, dtype=float)
    if y.ndim != 1 or forecast.ndim != 2 or len(forecast) != len(y):
        raise ValueError(
            f"y_true has shape {y.shape} and the forecasts {forecast.shape}, expected (n,) and (n, m): score several "
            "targets one by one."
        )
    return y, forecast
