"""The average of a flow over orderings of the columns."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..bijections.bijection import Bijection
from ..bijections.order_agnostic import OrderAgnostic
from ..flow import Flow
from .distribution import Distribution


class OrderAverage(Distribution):
    """The mean of the k densities that a flow with `OrderAgnostic` layers has (Germain et al. 2015, eq. 14).

    It is as normalised as each of them. A row is drawn by drawing an ordering first; training looks at one ordering,
    drawn anew, for every batch (their section 4.2).

    Parameters
    ----------
    flow : Flow

    Attributes
    ----------
    n_orderings : int
        k.
    """

    def __init__(self, flow: Flow):
        super().__init__()
        self.flow = flow
        self.n_orderings = max(len(m.orders) for m in flow.modules() if isinstance(m, OrderAgnostic))

    @property
    def bijection(self) -> Bijection:
        """That of the first ordering, under which the density is that ordering's."""
        return self.flow.bijection

    @property
    def base(self) -> Distribution:
        """The base distribution of all orderings."""
        return self.flow.base

    def member(self, j: int) -> Flow:
        """The flow of the j-th ordering."""
        return Flow(_with_order(self.bijection, lambda orders: orders[j]), self.base)

    def log_prob(self, x, context=None):
        terms = [self.member(j).log_prob(x, context) for j in range(self.n_orderings)]
        return torch.logsumexp(torch.stack(terms), 0) - math.log(self.n_orderings)

    def stochastic_log_prob(self, x, context=None, generator=None):
        def draw(orders):
            return torch.randperm(orders.shape[1], generator=generator, device="cpu").to(orders.device)

        return Flow(_with_order(self.bijection, draw), self.base).log_prob(x, context)

    def sample(self, n, context=None, generator=None):
        z = self.base.sample(n, context, generator)
        ordering = torch.randint(self.n_orderings, (n,), generator=generator, device="cpu").to(z.device)
        x = torch.empty_like(z)
        for j in ordering.unique().tolist():
            rows = (ordering == j).nonzero()[:, 0]
            some = None if context is None else context[rows]
            x[rows] = self.member(j).bijection.inverse(z[rows], some)[0]
        return x

    def to_latent(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map rows to the latent space of the first ordering, where its density is the standard normal."""
        return self.flow.to_latent(x, context)

    def from_latent(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `to_latent`."""
        return self.flow.from_latent(z, context)


def average_over_orderings(flow: Flow) -> Distribution:
    """The average of ``flow`` over the orderings that its layers keep; itself where they have none."""
    return OrderAverage(flow) if any(isinstance(m, OrderAgnostic) for m in flow.modules()) else flow


def _with_order(module: nn.Module, choose: Callable[[Tensor], Tensor]) -> nn.Module:
    """A module of the same parameters whose layers have the order that ``choose`` takes of theirs, shape (k, d)."""
    twin = copy.copy(module)
    if isinstance(module, OrderAgnostic):
        twin.chosen = choose(module.orders)
    twin._modules = {name: _with_order(child, choose) for name, child in module._modules.items()}
    return twin
