"""The target of a variational fit: a log-density known up to a constant, counted against a budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class BudgetExhausted(Exception):
    """The evaluations left are fewer than the rows asked about."""


class Target:
    """Evaluates a log-density on rows in data units.

    Parameters
    ----------
    log_density : callable
        Maps rows, Tensor of shape (n, d), to nats, Tensor of shape (n,); minus infinity outside the support.
    max_evaluations : int
        Rows that may be asked about in all.
    differentiable : bool, default=False
        Whether torch can follow ``log_density``.
    """

    def __init__(self, log_density: Callable[[Tensor], Tensor], max_evaluations: int, *, differentiable: bool = False):
        self.log_density = log_density
        self.max_evaluations = max_evaluations
        self.differentiable = differentiable
        self.reserved = 0  # evaluations set aside for what comes last
        self.n_evaluations = 0

    @property
    def left(self) -> int:
        """Evaluations that may still be made before what is reserved."""
        return self.max_evaluations - self.reserved - self.n_evaluations

    def __call__(self, x: Tensor) -> Tensor:
        """The log-density of rows ``x`` (n, d) in nats, shape (n,); where it is NaN or plus infinity, minus infinity.

        Raises
        ------
        BudgetExhausted
        """
        with torch.no_grad():
            return self.with_gradient(x)

    def with_gradient(self, x: Tensor) -> Tensor:
        """The same with a graph behind it."""
        if len(x) > self.left:
            raise BudgetExhausted
        self.n_evaluations += len(x)
        value = self.log_density(x)
        undefined = value.isnan() | (value == torch.inf)
        return torch.where(undefined, -torch.inf, value)
