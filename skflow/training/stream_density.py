"""Fits one flow to a stream: a sample in memory decides about it, and all rows train it."""

from __future__ import annotations

import math

from .fit import Fit
from .sampled_density import HeldOut, SampledFitting
from .selection import best_start
from .stream import Rows, Sample, StreamSource


class StreamFitting(SampledFitting):
    """Fits a flow to a stream: see `SampledFitting`. Every step, those of the trial too, is made with rows of it.

    Parameters
    ----------
    rows : Rows
    sample : Sample
        Of those rows, what the table is made of.
    """

    def __init__(self, *args, rows: Rows, sample: Sample):
        self.rows = rows
        self.sample = sample
        super().__init__(*args, n_rows=sample.n_rows)

    def _source(self, fold, start) -> StreamSource:
        sample, table = self.sample, self.table
        held_out = HeldOut(sample.X, sample.number, fold.held_out, table.n_groups)
        rest = table.dequantisation, start.preprocessing, self.device, start.train.log_abs_det
        return StreamSource(self.rows, self.n_rows, held_out, *rest)

    def from_scratch(self) -> Fit:
        """Train from the best of several starts; the steps of the trial count as none of the passes."""
        winner = best_start(self._candidates(self.folds), self.plan, self.on_iteration)
        if not winner.interrupted:
            winner = winner.restarted()
            winner.advance(math.inf, self.on_iteration)
        return winner.finish()
