"""Which rows belong together: copies of each other, and what the user says; a split must not part them."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

NEAR = 0.01  # of the mean gap between the values of a column: rows that near in every column are copies
LAGS = 8  # of copies that are not exact, how many neighbours along a line through the table are looked at
ROWS_AT_A_TIME = 100_000
TIED = 0.1  # of the distinct rows have values in a column that others have too
FEW, MAX_STEPS = 20, 10_000  # values of a column that may be a category; steps of a grid that values may lie on
DISPERSED = 3.0  # the variance of the numbers of copies, in units of their mean: repetition makes about one
WONDER = 0.1  # of the pairs of copies; if chance, with independent columns, makes as many, they are chance's


def groups_of_copies(X: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Number the rows so that those that belong together have the same number.

    Rows belong together where they agree, as exactly as they can be told to, in every column, or lie in the same one of
    the user's ``groups``, and then those that these belong together with, and so on. The rows of a table of a few
    categories agree by chance, and would leave too few groups to split: there, agreement says nothing.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    groups : ndarray of shape (n,), int, optional

    Returns
    -------
    group : ndarray of shape (n,), int
        From 0 to the number of groups less one.
    """
    n = len(X)
    pairs = _pairs(X)
    if pairs.size and _by_chance(X, _components(n, pairs)):
        pairs = pairs[:, :0]
    if groups is not None:
        order = np.argsort(groups, kind="stable")
        same = groups[order][1:] == groups[order][:-1]
        pairs = np.append(pairs, np.stack([order[:-1], order[1:]])[:, same], 1)
    return _components(n, pairs) if pairs.size else np.arange(n)


def row_hashes(X: np.ndarray) -> np.ndarray:
    """A number of 64 bits for every row, the same for rows that agree in every column; shape (n,)."""
    out = np.zeros(len(X), dtype=np.uint64)
    for column in X.T:
        out ^= (column.astype(np.float64) + 0.0).view(np.uint64)  # minus zero is zero
        out *= np.uint64(0x9E3779B97F4A7C15)
        out ^= out >> np.uint64(32)
    return out


def by_group(order: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random order of the rows with groups together, and where in it each group begins.

    Parameters
    ----------
    order : ndarray of shape (n,), int
        A permutation; where every row is a group of its own, it stays as it is.
    group : ndarray of shape (n,), int

    Returns
    -------
    order : ndarray of shape (n,), int
    first : ndarray of shape (n_groups,), int
    """
    place = np.empty(group.max() + 1, dtype=int)
    place[group[order[::-1]]] = np.arange(len(order))[::-1]
    order = order[np.argsort(place[group[order]], kind="stable")]
    return order, np.flatnonzero(np.append(True, np.diff(group[order]) != 0))


def _components(n, pairs):
    return connected_components(coo_matrix((np.ones(pairs.shape[1], bool), pairs), (n, n)), directed=False)[1]


def _pairs(X):
    """Pairs of rows that are copies: neighbours in the order of a random direction that agree in every column."""
    n, d = X.shape
    low, high = (np.quantile(X, q, axis=0, method="nearest").astype(float) for q in (0.25, 0.75))
    with np.errstate(over="ignore"):
        spread = np.minimum(high - low, np.finfo(float).max)
    near = NEAR / n * spread
    unit = np.where(spread > 0, spread, 1.0)
    direction = np.random.RandomState(0).uniform(0.5, 1.0, d) / d
    line = np.empty(n)
    for start in range(0, n, ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        with np.errstate(over="ignore", invalid="ignore"):
            line[part] = np.nan_to_num(np.clip((X[part] - low) / unit, -1e300, 1e300) @ direction)
    order = np.argsort(line, kind="stable")
    line = line[order]
    reach = NEAR / n + 1e-12 * np.abs(line)
    alone, pairs = np.ones(n, dtype=bool), []
    for lag in range(1, min(LAGS, n - 1) + 1):
        i = np.flatnonzero(alone[:-lag] & (line[lag:] - line[:-lag] <= reach[lag:]))
        with np.errstate(over="ignore"):
            i = i[(np.abs(X[order[i]].astype(float) - X[order[i + lag]]) <= near).all(1)]
        alone[i] = False
        pairs.append(order[np.stack([i, i + lag])])
    return np.concatenate(pairs, 1) if pairs else np.empty((2, 0), dtype=int)


def _by_chance(X, group):
    """Whether it is no wonder that rows agree: every column has few values, and the rows are not copied evenly."""
    size = np.bincount(group).astype(float)
    distinct = X[np.unique(group, return_index=True)[1]]
    if not all(_is_tied(column) for column in distinct.T):
        return False
    chance = np.prod([np.square(np.unique(column, return_counts=True)[1] / len(X)).sum() for column in X.T])
    return bool(size.var() > DISPERSED * size.mean() or chance * len(X) ** 2 > WONDER * (size * (size - 1)).sum())


def _is_tied(column):
    """Whether the distinct rows share values in this column, or its values lie on a grid."""
    values = np.unique(column.astype(float))
    if len(values) <= max(FEW, (1 - TIED) * len(column)):
        return True
    with np.errstate(over="ignore"):
        gaps, length = np.diff(values), values[-1] - values[0]
    n_steps = np.round(length / gaps.min())
    if not n_steps <= MAX_STEPS:
        return False
    place = (values - values[0]) / length * n_steps
    return bool((np.abs(place - np.round(place)) < 0.01).all())
