"""How sure: conformal p-values, and the false discovery rate of a batch of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cross_conformal_p_values(
    scores: np.ndarray, calibration: np.ndarray, fold: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """The share of training rows that conform less than a new row, each judged by the member that has not seen it.

    With ``a_i`` the score of training row i under the member blind to its fold F(i), and ``s_k`` that of the new row
    under member k (Vovk 2015, eq. 3):

        p = (1 + sum_i [a_i <= s_F(i)]) / (n + 1)

    Parameters
    ----------
    scores : ndarray of shape (m, K)
        Of new rows under every member, high for rows that conform.
    calibration : ndarray of shape (n,)
        a_i.
    fold : ndarray of shape (n,), int
        F(i).
    weight : ndarray of shape (n,), optional
        Weights of the training rows; the new row counts as much as the heaviest of them.

    Returns
    -------
    ndarray of shape (m,)
        In (0, 1].
    """
    weight = np.ones(len(calibration)) if weight is None else weight
    total = np.full(len(scores), weight.max())
    for k in range(scores.shape[1]):
        rows = np.flatnonzero(fold == k)
        rows = rows[np.argsort(calibration[rows], kind="stable")]
        below = np.searchsorted(calibration[rows], scores[:, k], side="right")
        total += np.concatenate([[0.0], np.cumsum(weight[rows])])[below]
    return np.minimum(total / (weight.sum() + weight.max()), 1.0)  # which rounding may leave it above


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values for the false discovery rate of the whole batch (Benjamini & Hochberg 1995, eq. 1).

        q_(i) = min over j >= i of  m p_(j) / j

    Of the rows with ``q <= 0.05``, on average at most one in twenty is a false alarm. For conformal p-values, which
    share their calibration rows, this was proved by Bates et al. (2023, theorem 2).

    Parameters
    ----------
    p_values : array-like of shape (m,)
        In [0, 1], such as from `FlowOutlierDetector.p_values`.

    Returns
    -------
    q_values : ndarray of shape (m,)
        The smallest false discovery rate at which the row is still an alarm.

    Raises
    ------
    ValueError
        Where there are values outside [0, 1], or not one dimension.

    References
    ----------
    .. [1] Benjamini & Hochberg, "Controlling the False Discovery Rate", JRSS B 57 (1995).
    .. [2] Bates, Candès, Lei, Romano & Sesia, "Testing for Outliers with Conformal p-values", Annals of Statistics 51
       (2023).

    Examples
    --------
    >>> from skflow import benjamini_hochberg
    >>> benjamini_hochberg([0.01, 0.5, 0.02, 0.9]).round(3)
    array([0.04 , 0.667, 0.04 , 0.9  ])
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1:
        raise ValueError(f"p_values must have one dimension. Got shape {p_values.shape} instead.")
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError("p_values must lie in [0, 1].")
    order = np.argsort(p_values, kind="stable")
    ranked = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    q_values = np.empty_like(p_values)
    q_values[order] = np.minimum.accumulate(ranked[::-1])[::-1]
    return q_values


def conformal_half_width(pit: np.ndarray, coverage: float) -> float:
    """How far from 1/2 the level of a new forecast lies at most, with probability ``coverage``.

    Distributional conformal prediction (Chernozhukov, Wüthrich & Zhu 2021, eq. 3): of the calibration rows' levels it
    is the distance from 1/2 that has ``ceil((n + 1) coverage)`` of them within.

    Parameters
    ----------
    pit : ndarray of shape (n,)
        Levels ``F(y | x)`` of calibration rows, by models that have not seen them.
    coverage : float

    Returns
    -------
    float
        Less than 1/2, however few rows there are.
    """
    distance = np.sort(np.abs(pit - 0.5))
    n = len(distance)
    rank = int(np.ceil((n + 1) * coverage))
    half_width = distance[rank - 1] if rank <= n else max(distance[-1], 0.5 - 1 / (4 * (n + 1)))
    return min(float(half_width), 0.5 - 1e-12)
