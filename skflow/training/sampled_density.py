"""Fits one flow to rows that no one process has in memory: a sample of them decides about it, and all train it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..preprocessing.copies import row_hashes
from .data import Source
from .density import DensityFitting, Start
from .table import Fold


class HeldOut:
    """Rows that are to be left out of training, and their copies with them.

    Where the rows of the sample agree by chance, as those of a few categories do, a copy is a row of its own.

    Parameters
    ----------
    X : ndarray of shape (m, d)
        The sample.
    number : ndarray of shape (m,), int
        Which of all rows they are.
    index : ndarray of int
        Which of the sample are held out.
    n_groups : int
        How many groups of copies the sample has.
    """

    def __init__(self, X: np.ndarray, number: np.ndarray, index: np.ndarray, n_groups: int):
        keys = row_hashes(X)
        self.by_value = len(np.unique(keys)) >= n_groups
        self.keys = np.sort((keys if self.by_value else number.astype(np.uint64))[index])

    def __len__(self) -> int:
        return len(self.keys)

    def has(self, X: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Which of some rows, given their numbers, are held out or copies of such; bool of shape (n,)."""
        if not len(self.keys):
            return np.zeros(len(X), dtype=bool)
        keys = row_hashes(X) if self.by_value else number.astype(np.uint64)
        return self.keys[np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)] == keys


class SampledFitting(DensityFitting):
    """Fits a flow given a sample of the rows, as its table, and a source of all of them: see `DensityFitting`.

    Of the sample a part is held out, as many rows as of a table of all rows, but at most half; preprocessing and starts
    come from the rest.

    Parameters
    ----------
    n_rows : int
        Of all.
    """

    def __init__(self, *args, n_rows: int, **kwargs):
        self.n_rows = n_rows
        super().__init__(*args, **kwargs)

    def _split(self):
        estimator, table = self.estimator, self.table
        if not estimator.early_stopping:
            return [table.everything]
        return table.split(min(0.5, estimator.validation_fraction * self.n_rows / len(table)))

    def _settings(self, n):
        return super()._settings(max(1, round(n * self._n_train() / len(self.folds[0].train))))

    def _plan(self, n):
        return super()._plan(self._n_train())

    def _n_train(self):
        return self.n_rows - len(self.folds[0].held_out)

    def _start(self, fold, preprocessing, embedding) -> Start:
        start = super()._start(fold, preprocessing, embedding)
        return replace(start, train=self._source(fold, start))

    def _source(self, fold: Fold, start: Start) -> Source:
        """What gives all rows but those held out, on the scale that the start fits to the sample."""
        raise NotImplementedError
