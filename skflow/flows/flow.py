"""A flow: a chain of bijections in front of a base distribution."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from .agnostic import OrderAgnostic
from .base_distribution import BaseDistribution
from .bijection import Bijection


class Flow(nn.Module):
    """A normalised density by the change of variables: log p(x) = log p_base(f(x)) + log |det df/dx|.

    Where f has `OrderAgnostic` layers of k orderings each, the density is the mean of the k densities that they give
    (Germain et al. 2015, eq. 14): as normalised as each of them. A row is then drawn by drawing an ordering first.

    Parameters
    ----------
    bijection : Bijection
        f, from data to the space of the base distribution.
    base : BaseDistribution

    Attributes
    ----------
    n_orderings : int
        k; one where nothing is averaged.
    """

    def __init__(self, bijection: Bijection, base: BaseDistribution):
        super().__init__()
        self.bijection = bijection
        self.base = base
        self.n_orderings = max((len(m.orders) for m in bijection.modules() if isinstance(m, OrderAgnostic)), default=1)

    def log_prob(self, x: Tensor, context: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Log-density in nats of rows ``x`` (n, d), given ``context`` (n, n_context); shape (n,).

        With a ``generator``, as in training, open column orderings are drawn from it instead of averaged over.
        """
        if self.n_orderings == 1:
            return self._log_prob(self.bijection, x, context)
        if generator is not None:
            drawn = self.bijection.with_orders(
                lambda orders: torch.randperm(orders.shape[1], generator=generator, device="cpu").to(orders.device)
            )
            return self._log_prob(drawn, x, context)
        terms = [self._log_prob(self.of_ordering(j), x, context) for j in range(self.n_orderings)]
        return torch.logsumexp(torch.stack(terms), 0) - math.log(self.n_orderings)

    def _log_prob(self, bijection, x, context):
        z, log_abs_det = bijection(x, context)
        return self.base.log_prob(z) + log_abs_det

    def of_ordering(self, j: int) -> Bijection:
        """The bijection of the j-th column ordering; where there is only one, that."""
        return self.bijection if self.n_orderings == 1 else self.bijection.with_orders(lambda orders: orders[j])

    def draw_orderings(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """The number of the column ordering by which each of ``n`` rows is to be drawn."""
        if self.n_orderings == 1:
            return torch.zeros(n, dtype=torch.long, device="cpu")
        return torch.randint(self.n_orderings, (n,), generator=generator, device="cpu")

    def sample(self, n: int, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows, one for each row of ``context`` where it is given; shape (n, d)."""
        z = self.base.sample(n, generator)
        if self.n_orderings == 1:
            return self.bijection.inverse(z, context)[0]
        ordering = self.draw_orderings(n, generator).to(z.device)
        x = torch.empty_like(z)
        for j in range(self.n_orderings):
            rows = (ordering == j).nonzero()[:, 0]
            x[rows] = self.of_ordering(j).inverse(z[rows], None if context is None else context[rows])[0]
        return x

    def to_latent(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map rows to a latent space where the flow's own density is the standard normal.

        Where the density is an average over column orderings, this is the map of the first ordering, and the standard
        normal belongs to that one's density.
        """
        return self.base.to_normal(self.bijection(x, context)[0])

    def from_latent(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `to_latent`."""
        return self.bijection.inverse(self.base.from_normal(z), context)[0]

    @functools.cached_property
    def width(self) -> int:
        """Numbers per row of the widest layer, from which memory and work per row follow."""
        return max([p.numel() // p.shape[-1] for p in self.parameters() if p.dim() > 1], default=1)

    def n_parameters(self) -> int:
        """Number of free parameters, without those that a module counts in ``n_idle`` (entries that a mask hides)."""
        idle = sum(m.n_idle() for m in self.modules() if hasattr(m, "n_idle"))
        return sum(p.numel() for p in self.parameters()) - idle
