"""Fits one flow to the rows of several processes, each of which has its own: a sample of all of them decides."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from ..preprocessing.copies import row_hashes
from . import distributed
from .data import ShardSource, TableSource
from .density import DensityFitting, Start
from .table import ROWS_AT_A_TIME

ROWS_OF_A_RANK = 2**40  # more than any has


class Rows(NamedTuple):
    """Some rows of a table that lies in several processes.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    number : ndarray of shape (n,), int
        Of every row, as `number_rows` gives them.
    weight : ndarray of shape (n,) or None
        With a mean of one over all processes.
    group : ndarray of shape (n,), int, or None
        The same for rows of one process that belong together.
    """

    X: np.ndarray
    number: np.ndarray
    weight: np.ndarray | None = None
    group: np.ndarray | None = None

    def some(self, index: np.ndarray) -> Rows:
        """Those at these places."""
        return Rows(*(None if v is None else v[index] for v in self))


def number_rows(n: int, rank: int) -> np.ndarray:
    """Numbers for the rows of a process, or for its groups, that no other process has."""
    return rank * ROWS_OF_A_RANK + np.arange(n)


class ShardFitting(DensityFitting):
    """Fits a flow to the rows of all processes, none of which sees those of another: see `DensityFitting`.

    All of them have the same sample of the rows. Of it a part is held out, as many rows as of a table of all rows, but
    at most half; preprocessing and starts come from the rest. Every step is made with rows of every process. Rows that
    are copies of those held out train on none.

    Parameters
    ----------
    shard : Rows
        Of this process, those of positive weight.
    sample : Rows
        Of all processes, what the table is made of.
    n_rows : int
        Of all processes.
    """

    def __init__(self, *args, shard: Rows, sample: Rows, n_rows: int, **kwargs):
        self.shard = shard
        self.n_rows = n_rows
        super().__init__(*args, **kwargs)
        self.sample = sample.some(np.flatnonzero(self.table.present))
        self.x = self.table.dequantisation.spread(
            shard.X, np.random.RandomState([self.seed, distributed.current().part.rank])
        )

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
        return replace(start, train=self._source(self._rest(fold.held_out), preprocessing))

    def _rest(self, held_out: np.ndarray) -> np.ndarray:
        """The rows of this process that are not held out, nor belong to one that is."""
        rows, left_out = self.shard, self.sample.some(held_out)
        keys = row_hashes(self.sample.X)
        # Where rows agree by chance, as those of a few categories do, a copy is a row of its own.
        by_value = len(np.unique(keys)) >= self.table.n_groups
        mine, theirs = (row_hashes(rows.X), keys[held_out]) if by_value else (rows.number, left_out.number)
        out = np.isin(mine, theirs)
        if rows.group is not None:
            out |= np.isin(rows.group, left_out.group)
        return np.flatnonzero(~out)

    @torch.no_grad()
    def _source(self, index, preprocessing) -> TableSource:
        z = torch.empty(len(index), self.x.shape[1])
        weight = None if self.shard.weight is None else torch.from_numpy(self.shard.weight[index])
        total = 0.0
        for start, rows in enumerate(torch.from_numpy(index).split(ROWS_AT_A_TIME)):
            part = slice(start * ROWS_AT_A_TIME, start * ROWS_AT_A_TIME + len(rows))
            z[part], log_abs_det = preprocessing(self.x[rows])
            total += float(log_abs_det.sum() if weight is None else weight[part] @ log_abs_det)
        mass, n = (float(len(index)) if weight is None else float(weight.sum())), len(index)
        total, mass, n = distributed.current().sum(total, mass, n)
        if weight is not None:
            weight = (weight * (n / mass)).float().to(self.device)
        return ShardSource(z.to(self.device), None, weight, total / mass, len(index) / n)
