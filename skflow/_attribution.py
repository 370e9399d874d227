"""Why: a row's distance from a typical score, split over its features by repairing them one after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

N_VALUES = 16
ROWS_PER_CHUNK = 100_000
LOWEST = -1e15  # stands for a density of zero while features are compared


def repair_values(X: np.ndarray) -> np.ndarray:
    """What a feature may be repaired to: quantiles of its column, shape (d, N_VALUES)."""
    p = (np.arange(N_VALUES) + 0.5) / N_VALUES
    return np.quantile(X, p, axis=0, method="nearest").T


def repair_contributions(
    score: Callable[[np.ndarray], np.ndarray], X: np.ndarray, values: np.ndarray, target: float
) -> np.ndarray:
    """Split ``score(x) - target`` of every row over the features, exactly.

    A row below the target is repaired: of all features, the one whose best value raises the score most is set to that
    value, and what the step gains counts against it; then the next, until the target is reached. The last step counts
    only as far as the target. What no single feature can gain is shared equally.

    The surplus of a row above the target is shared in proportion to what each feature would lose, on average over its
    values: the more a row's score depends on a feature, the more of the surplus is that feature's.

    Parameters
    ----------
    score : callable
        From rows (n, d) to scores (n,).
    X : ndarray of shape (n, d)
    values : ndarray of shape (d, v)
        Candidates for each feature.
    target : float

    Returns
    -------
    ndarray of shape (n, d)
        Negative for what speaks against a row; each sums to ``score(x) - target``.
    """
    start = score(X)
    outside, start = np.isneginf(start), np.maximum(start, LOWEST)
    out = np.zeros(X.shape)
    above = start >= target
    surplus = (start - target)[above]
    if above.any():
        loss = start[above][:, None] - _swapped(score, X[above], values).mean(2)
        loss = np.maximum(loss, 0)
        total = loss.sum(1, keepdims=True)
        share = np.divide(loss, total, out=np.full_like(loss, 1 / X.shape[1]), where=total > 0)
        out[above] = share * surplus[:, None]
    rows = np.flatnonzero(~above)
    current, state = start[rows], X[rows].copy()
    for _ in range(2 * X.shape[1]):
        if not len(rows):
            break
        gains = _swapped(score, state, values) - current[:, None, None]
        flat = gains.reshape(len(rows), -1)
        best = flat.argmax(1)
        feature, value = np.unravel_index(best, gains.shape[1:])
        gain = flat[np.arange(len(rows)), best]
        useful = gain > 1e-9 * (target - current)
        out[rows[useful], feature[useful]] -= np.minimum(gain, target - current)[useful]
        state[np.arange(len(rows)), feature] = values[feature, value]
        going = useful & (current + gain < target)
        rows, current, state = rows[going], (current + gain)[going], state[going]
    out = _close(out, start - target)
    out[outside, out[outside].argmin(1)] = -np.inf
    return out


def _close(out, total):
    """Share what is left equally, and leave the rounding error to the largest contribution."""
    out += ((total - out.sum(1)) / out.shape[1])[:, None]
    largest = np.abs(out).argmax(1)
    out[np.arange(len(out)), largest] += total - out.sum(1)
    return out


def _swapped(score, X, values):
    """Scores with one feature after the other set to each of its values, shape (n, d, v)."""
    d, v = values.shape
    size = max(1, ROWS_PER_CHUNK // (d * v))
    parts = []
    for start in range(0, len(X), size):
        rows = X[start : start + size]
        table = np.broadcast_to(rows[:, None, None], (len(rows), d, v, d)).copy()
        feature = np.arange(d)
        table[:, feature, :, feature] = values[:, None, :]
        parts.append(np.maximum(score(table.reshape(-1, d)), LOWEST).reshape(len(rows), d, v))
    return np.concatenate(parts)
