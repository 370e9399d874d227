"""Objectives: what a training minimises, with its gradient."""

from __future__ import annotations

import torch

from .. import engine
from ..engine import Pace
from ..flows.distributions.distribution import Distribution
from .data import Batch
from .parameters import ParameterVector


class MaximumLikelihood:
    """Minus the weighted mean log-density; the gradient is the engine's where it has a program.

    Parameters
    ----------
    flow : Distribution
    kernels : bool
        Whether compiled loops may be loaded.
    """

    def __init__(self, flow: Distribution, kernels: bool):
        self.flow = flow
        self.kernels = kernels
        self._pace = Pace()  # of scoring
        self._programs: dict[tuple[int, bool], engine.LogDensity | None] = {}  # by the number of rows

    def differentiate(self, params: ParameterVector, batch: Batch, generator: torch.Generator) -> float:
        """Set the gradient of ``params`` to that of the loss of a batch; the loss."""
        program = self._program(batch, gradients=True)
        if program is None:
            return self._differentiate_by_torch(params, batch, generator)
        log_prob = program(*batch.rows)
        params.take(program.gradients(-batch.share))
        return -float(log_prob @ batch.share)

    @engine.on_one_thread
    def _differentiate_by_torch(self, params, batch, generator):
        log_prob = self.flow.stochastic_log_prob(batch.x, batch.context, generator)
        loss = -(log_prob * batch.share).sum()
        params.differentiate(loss)
        return float(loss.detach())

    @torch.no_grad()
    def score(self, batches: list[Batch]) -> float:
        """The weighted mean log-density."""
        return sum(float(self._pace.call(self._log_prob(batch), *batch.rows) @ batch.share) for batch in batches)

    def _log_prob(self, batch):
        return self._program(batch, gradients=False) or engine.on_one_thread(self.flow.log_prob)

    def release(self) -> None:
        """Forget the programs: their memory, and where the parameters lay."""
        self._programs.clear()

    def _program(self, batch, gradients):
        """For as many rows as the batch has, where there is one: the last such, or a new one."""
        key = len(batch.x), gradients
        if key not in self._programs:
            self._programs[key] = engine.log_density(self.flow, *batch.rows, gradients=gradients, kernels=self.kernels)
        return self._programs[key]
