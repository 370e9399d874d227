"""Fits one flow to a stream: a sample in memory decides about it, and all rows train it."""

from __future__ import annotations

import math
from dataclasses import replace

from .density import DensityFitting, Start
from .fit import Fit
from .selection import best_start
from .stream import HeldOut, Rows, Sample, StreamSource


class StreamFitting(DensityFitting):
    """Fits a flow to a stream: see `DensityFitting`.

    Of the sample a part is held out, as many rows as of a table of the stream's length but at most half; preprocessing
    and starts come from the rest. Every step, those in which starts are compared too, is made with rows of the stream.

    Parameters
    ----------
    rows : Rows
    sample : Sample
        Of those rows, what the table is made of.
    """

    def __init__(self, *args, rows: Rows, sample: Sample, **kwargs):
        self.rows = rows
        self.sample = sample
        super().__init__(*args, **kwargs)

    def _split(self):
        estimator, table = self.estimator, self.table
        if not estimator.early_stopping:
            return [table.everything]
        return table.split(min(0.5, estimator.validation_fraction * self.sample.n_rows / len(table)))

    def _n_train(self):
        return self.sample.n_rows - len(self.folds[0].held_out)

    def _settings(self, n):
        return super()._settings(max(1, round(n * self._n_train() / len(self.folds[0].train))))

    def _plan(self, n):
        return super()._plan(self._n_train())

    def _start(self, fold, preprocessing, embedding) -> Start:
        start = super()._start(fold, preprocessing, embedding)
        held_out = HeldOut(self.sample, fold.held_out, self.table.n_groups)
        train = StreamSource(
            self.rows,
            self.sample.n_rows - len(held_out),
            held_out,
            self.table.dequantisation,
            preprocessing,
            self.device,
            start.train.log_abs_det,
        )
        return replace(start, train=train)

    def from_scratch(self) -> Fit:
        """Train from the best of several starts; the steps of the trial count as none of the passes."""
        winner = best_start(self._candidates(self.folds), self.plan, self.on_iteration)
        if not winner.interrupted:
            winner = winner.restarted()
            winner.advance(math.inf, self.on_iteration)
        return winner.finish()
