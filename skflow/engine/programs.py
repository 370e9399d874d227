"""Programs: the log-density of a flow, and a bijection in either direction, over and over on other rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..flows.flow import Flow
from . import bijections, distributions
from .tape import Form, Tape
from .tiles import fill_tiles, from_tiles, to_tiles

Forms = Mapping[type, Form]


class LogDensity:
    """`Flow.log_prob` without a graph, recorded once for a number of rows, over memory of its own.

    Parameters may change from one call to the next, but not move: their values are read where they are now.

    Parameters
    ----------
    flow : Flow
    forms : mapping of type to Form
    like : Tensor of shape (n, d)
        Any rows, of the precision and device of those to come, and as many as will come at most.
    context : Tensor of shape (n, n_context), optional
        Any, of the same kind as those to come.
    keeps : bool, default=False
        Whether `gradients` will be asked for.
    """

    @torch.no_grad()
    def __init__(self, flow: Flow, forms: Forms, like: Tensor, context: Tensor | None = None, keeps: bool = False):
        self._x, self._context = to_tiles(like), None if context is None else to_tiles(context)
        self._tape = Tape(self._x, forms, keeps)
        z, log_abs_det, self._bijection_back = bijections.record(self._tape, flow.bijection, self._x, self._context)
        self._log_prob, self._base_back = distributions.record(self._tape, flow.base, z, self._context)
        if log_abs_det is not None:
            self._tape.add(self._log_prob.add_, log_abs_det)
        self._back: Tape | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-densities in nats of rows ``x`` (n, d); shape (n,)."""
        _fill(self._x, x, self._context, context)
        self._tape.run()
        return from_tiles(self._log_prob, len(x)).clone()

    @torch.no_grad()
    def gradients(self, grad_log_prob: Tensor) -> list[Tensor | None]:
        """From the gradient of the last call's log-densities (n,), those of ``flow.parameters()`` in their order.

        They are written over by the next call; None stands for a parameter that is not trained.
        """
        if self._back is None:
            self._grad_log_prob, self._back = torch.zeros_like(self._log_prob), Tape(self._x)
            grad_z, of_base = self._base_back(self._back, self._grad_log_prob)
            _, of_bijection = self._bijection_back(self._back, grad_z, self._grad_log_prob, False)
            self._gradients = of_bijection + of_base
        fill_tiles(self._grad_log_prob.zero_(), grad_log_prob)
        self._back.run()
        return self._gradients


class Map:
    """A bijection in one direction, recorded as a `LogDensity` is: rows to rows and log-determinants."""

    @torch.no_grad()
    def __init__(
        self, bijection: Bijection, forms: Forms, like: Tensor, context: Tensor | None = None, inverse: bool = False
    ):
        self._x, self._context = to_tiles(like), None if context is None else to_tiles(context)
        self._tape = Tape(self._x, forms)
        record = bijections.record_inverse if inverse else bijections.record
        self._z, self._log_abs_det = record(self._tape, bijection, self._x, self._context)[:2]

    @torch.no_grad()
    def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the bijection gives for rows ``x`` (n, d)."""
        _fill(self._x, x, self._context, context)
        self._tape.run()
        zero = self._log_abs_det is None
        log_abs_det = x.new_zeros(len(x)) if zero else from_tiles(self._log_abs_det, len(x)).clone()
        return from_tiles(self._z, len(x)).clone(), log_abs_det


def _fill(x_tiles, x, context_tiles, context):
    fill_tiles(x_tiles, x)
    if context is not None:
        fill_tiles(context_tiles, context)
