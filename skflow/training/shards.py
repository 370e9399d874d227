"""Fits one flow to the rows of several processes, each of which has its own: a sample of all of them decides."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from . import distributed
from .data import ShardSource
from .sampled_density import HeldOut, SampledFitting
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


class ShardFitting(SampledFitting):
    """Fits a flow to the rows of all processes, none of which sees those of another: see `SampledFitting`.

    All of them have the same sample of the rows. Every step is made with rows of every process.

    Parameters
    ----------
    shard : Rows
        Of this process, those of positive weight.
    sample : Rows
        Of all processes, what the table is made of.
    n_rows : int
        Of all processes.
    """

    def __init__(self, *args, shard: Rows, sample: Rows, **kwargs):
        self.shard = shard
        super().__init__(*args, **kwargs)
        self.sample = sample.some(np.flatnonzero(self.table.present))
        self.x = self.table.dequantisation.spread(
            shard.X, np.random.RandomState([self.seed, distributed.current().part.rank])
        )

    def _rest(self, held_out: np.ndarray) -> np.ndarray:
        """The rows of this process that are not held out, nor belong to one that is."""
        rows, sample = self.shard, self.sample
        out = HeldOut(sample.X, sample.number, held_out, self.table.n_groups).has(rows.X, rows.number)
        if rows.group is not None:
            out |= np.isin(rows.group, sample.group[held_out])
        return np.flatnonzero(~out)

    @torch.no_grad()
    def _source(self, fold, start) -> ShardSource:
        index, preprocessing = self._rest(fold.held_out), start.preprocessing
        z = torch.empty(len(index), self.x.shape[1])
        weight = None if self.shard.weight is None else torch.from_numpy(self.shard.weight[index])
        total = 0.0
        for k, rows in enumerate(torch.from_numpy(index).split(ROWS_AT_A_TIME)):
            part = slice(k * ROWS_AT_A_TIME, k * ROWS_AT_A_TIME + len(rows))
            z[part], log_abs_det = preprocessing(self.x[rows])
            total += float(log_abs_det.sum() if weight is None else weight[part] @ log_abs_det)
        mass, n = (float(len(index)) if weight is None else float(weight.sum())), len(index)
        total, mass, n = distributed.current().sum(total, mass, n)
        if weight is not None:
            weight = (weight * (n / mass)).float().to(self.device)
        return ShardSource(z.to(self.device), None, weight, total / mass, len(index) / n)
