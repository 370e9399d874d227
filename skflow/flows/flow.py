"""A flow: a bijection in front of a base distribution."""

from __future__ import annotations

from torch import Tensor

from .bijections.bijection import Bijection
from .distributions.distribution import Distribution


class Flow(Distribution):
    """A normalised density by the change of variables: log p(x) = log p_base(f(x)) + log |det df/dx|.

    Parameters
    ----------
    bijection : Bijection
        f, from data to the space of the base distribution.
    base : Distribution
    """

    def __init__(self, bijection: Bijection, base: Distribution):
        super().__init__()
        self.bijection = bijection
        self.base = base

    def log_prob(self, x, context=None):
        z, log_abs_det = self.bijection(x, context)
        return self.base.log_prob(z, context) + log_abs_det

    def sample(self, n, context=None, generator=None):
        return self.bijection.inverse(self.base.sample(n, context, generator), context)[0]

    def to_latent(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map rows to a latent space where the flow's own density is the standard normal.

        The base has to be a `BaseDistribution`: an average of densities has no such space.
        """
        return self.base.to_normal(self.bijection(x, context)[0], context)

    def from_latent(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `to_latent`."""
        return self.bijection.inverse(self.base.from_normal(z, context), context)[0]
