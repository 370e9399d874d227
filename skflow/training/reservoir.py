"""What is remembered of rows that come in batches: a sample of them all, and whether it has outgrown the first ones."""

from __future__ import annotations

import copy

import numpy as np
import torch

from ..flows.bijections.standardize import location_and_spread

CAPACITY = 2000  # rows
OUTGROWN = 2.0  # times as wide, or as narrow, as at the start a column may get, and move half as many spreads


def places_in_reservoir(
    rng: np.random.RandomState, n_seen: int, n: int, capacity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which of ``n`` more rows enter a sample of so many, and whose place each takes (Vitter 1985, algorithm R).

    After ``n_seen`` rows and these, all rows are equally likely to be in the sample; the first ones fill it.

    Returns
    -------
    rows : ndarray of int
        From 0 to ``n``.
    places : ndarray of the same shape, int
        From 0 to ``capacity``; of a place that is taken twice the latter row counts.
    """
    rows = np.arange(n)
    free = max(capacity - n_seen, 0)
    places = np.append(n_seen + rows[:free], (rng.uniform(size=n - len(rows[:free])) * (n_seen + rows[free:] + 1)))
    places = places.astype(int)
    taken = places < capacity
    return rows[taken], places[taken]


class Stream:
    """A sample of the rows seen so far, all of them equally likely to be in it.

    Preprocessing and base distribution are fixed when a flow starts. Whenever the number of rows has doubled, it is
    asked whether it should start again: as long as all rows are remembered, and later where a column has left the range
    that it had.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    X : ndarray of shape (m, d)
        What is remembered, with its ``weight`` (m,).
    n_seen : int
    starts : bool
        Whether the flow should start again from what is remembered now.
    left : ndarray of int
        The columns for which it should although it had started from enough rows.
    """

    def __init__(self, seed: int):
        self.rng = np.random.RandomState(seed)
        self.n_seen = self.next_look = 0
        self.X = self.weight = self.start = None

    def joined(self, X: np.ndarray, weight: np.ndarray | None) -> Stream:
        """This stream with a batch more; this one itself stays as it is.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        weight : ndarray of shape (n,) or None
        """
        new = copy.deepcopy(self)
        new._remember(X, np.ones(len(X)) if weight is None else weight)
        new.starts, new.left = False, np.arange(0)
        if new.n_seen >= new.next_look:
            new.next_look = 2 * new.n_seen
            new._look()
        return new

    def _remember(self, X, weight):
        rows, places = places_in_reservoir(self.rng, self.n_seen, len(X), CAPACITY)
        first = rows[: max(CAPACITY - self.n_seen, 0)]
        joined = (X[first], weight[first])
        self.X, self.weight = joined if self.X is None else map(np.concatenate, zip((self.X, self.weight), joined))
        later = slice(len(first), None)
        self.X[places[later]], self.weight[places[later]] = X[rows[later]], weight[rows[later]]
        self.n_seen += len(X)

    def _look(self):
        location, spread = (v.numpy() for v in location_and_spread(torch.tensor(self.X, dtype=torch.float64)))
        if self.start is None or self.start[-1] < CAPACITY:
            self.starts = True
        else:
            old_location, old_spread, _ = self.start
            wider, narrower = np.maximum(spread, old_spread), np.minimum(spread, old_spread)
            moved = np.abs(location - old_location) > 0.5 * OUTGROWN * wider
            self.left = np.flatnonzero(moved | (wider > OUTGROWN * narrower))
            self.starts = len(self.left) > 0
        if self.starts:
            self.start = location, spread, self.n_seen
