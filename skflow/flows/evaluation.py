"""The log-density of a flow, over and over: in training, and chunk by chunk in scoring."""

from __future__ import annotations

import torch
from torch import Tensor

from .flow import Flow
from .tape import Tape
from .tiles import fill_tiles, from_tiles, to_tiles


class Evaluation:
    """`Flow.log_prob` without a graph, recorded once for a number of rows, over memory of its own.

    Parameters may change from one call to the next, but not move: their values are read where they are now.

    Parameters
    ----------
    flow : Flow
    like : Tensor of shape (n, d)
        Any rows, of the precision and device of those to come, and as many as will come at most.
    keeps : bool, default=False
        Whether `gradients` will be asked for; the flow is then `Flow.differentiated`.
    """

    @torch.no_grad()
    def __init__(self, flow: Flow, like: Tensor, keeps: bool = False):
        self.flow = flow
        if flow.n_orderings > 1:
            return
        self._x = to_tiles(like)
        self._tape = Tape(self._x, keeps)
        z, log_abs_det, self._bijection_back = flow.bijection.record(self._tape, self._x)
        self._log_prob, self._base_back = flow.base.record(self._tape, z)
        if log_abs_det is not None:
            self._tape.add(self._log_prob.add_, log_abs_det)
        self._back: Tape | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Log-densities in nats of rows ``x`` (n, d); shape (n,)."""
        if self.flow.n_orderings > 1:
            return self.flow.log_prob(x)
        fill_tiles(self._x, x)
        self._tape.run()
        return from_tiles(self._log_prob, len(x)).clone()

    @torch.no_grad()
    def gradients(self, grad_log_prob: Tensor) -> list[Tensor | None]:
        """From the gradient of the last call's log-densities (n,), those of ``flow.parameters()`` in their order.

        They are written over by the next call; None stands for a parameter that is not trained.
        """
        if self._back is None:
            self._grad_log_prob, self._back = to_tiles(grad_log_prob), Tape(self._x)
            grad_z, of_base = self._base_back(self._back, self._grad_log_prob)
            of_bijection = self._bijection_back(self._back, grad_z, self._grad_log_prob, False)[2]
            self._gradients = of_bijection + of_base
        fill_tiles(self._grad_log_prob.zero_(), grad_log_prob)
        self._back.run()
        return self._gradients
