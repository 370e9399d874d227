"""Adaptive cubature: the integral of a density over one or two columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]


class _Cells(NamedTuple):
    """Boxes with the integral over each and an estimate of its error."""

    low: np.ndarray
    high: np.ndarray
    value: np.ndarray
    error: np.ndarray


def integrate(score: Score, rows: np.ndarray, accuracy: float, budget: int = 1_500_000):
    """Integral of the density over one or two columns, and how far off it may be.

    Adaptive cubature: boxes between quantiles of ``rows``, widening by powers of ten up to 1e12 spreads beyond them;
    those with the greatest errors are halved in every direction until the errors add up to less than ``accuracy``. A
    box's error is the difference of Gauss-Legendre rules with 5 and with 3 nodes a side.
    """
    d = rows.shape[1]
    edges = [_edges(column, *((64, 2.0) if d == 1 else (12, 6.0))) for column in rows.T]
    corners = np.meshgrid(*[np.arange(len(e) - 1) for e in edges], indexing="ij")
    index = np.stack([c.ravel() for c in corners], 1)
    low = np.stack([edges[j][index[:, j]] for j in range(d)], 1)
    high = np.stack([edges[j][index[:, j] + 1] for j in range(d)], 1)
    cells = _evaluate(score, low, high)
    used, per_cell = len(low) * (5**d + 3**d), 5**d + 3**d
    while cells.error.sum() > accuracy and used < budget:
        # Halve the cells that hold most of the error, at least an eighth of what is left at once.
        order = np.argsort(-cells.error)
        n_worst = 1 + int(np.searchsorted(np.cumsum(cells.error[order]), 0.9 * cells.error.sum()))
        n_worst = min(n_worst, max(1, (budget - used) // (2**d * per_cell) + 1))
        worst, rest = order[:n_worst], order[n_worst:]
        middle = 0.5 * (cells.low[worst] + cells.high[worst])
        parts = []
        for side in np.ndindex(*[2] * d):
            side = np.array(side, dtype=bool)
            low = np.where(side, middle, cells.low[worst])
            parts.append(_evaluate(score, low, np.where(side, cells.high[worst], middle)))
        cells = _Cells(*map(np.concatenate, zip([v[rest] for v in cells], *parts)))
        used += n_worst * 2**d * per_cell
    return float(cells.value.sum()), float(cells.error.sum())


def _edges(column, n, ratio):
    """Quantiles and far ends (1e12 spreads), with points between: no interval is much wider than the one beside it."""
    low, high = column.min(), column.max()
    spread = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-300)
    edges = np.unique(np.quantile(column, np.linspace(0, 1, n)))
    if len(edges) == 1:
        edges = np.array([low, low + spread])
    edges = np.concatenate([[low - 1e12 * spread], edges, [high + 1e12 * spread]])
    while True:
        width = np.diff(edges)
        left, right = np.append(np.inf, width[:-1]), np.append(width[1:], np.inf)
        wide = np.flatnonzero(width > 1.5 * ratio * np.minimum(left, right))
        if not len(wide):
            return edges
        step = np.minimum(ratio * np.minimum(left, right), 0.5 * width)[wide]
        edges = np.sort(np.append(edges, np.where((left < right)[wide], edges[wide] + step, edges[wide + 1] - step)))


def _evaluate(score, low, high):
    rules = []
    for n_nodes in (5, 3):
        nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
        nodes, weights = (nodes + 1) / 2, weights / 2
        d = low.shape[1]
        grid = np.stack([g.ravel() for g in np.meshgrid(*[nodes] * d, indexing="ij")], 1)
        weight = np.prod(np.stack([g.ravel() for g in np.meshgrid(*[weights] * d, indexing="ij")], 1), 1)
        points = low[:, None] + (high - low)[:, None] * grid
        density = np.exp(np.concatenate([score(part) for part in _chunks(points.reshape(-1, d))]))
        volume = (high - low).prod(1)
        rules.append((density.reshape(len(low), -1) @ weight) * volume)
    return _Cells(low, high, rules[0], np.abs(rules[0] - rules[1]))


def _chunks(rows, size=200_000):
    return [rows[i : i + size] for i in range(0, len(rows), size)]
