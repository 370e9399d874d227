"""Mixed distributions: of categories and numbers at once."""

from __future__ import annotations

import torch
from torch import Tensor

from .distribution import Distribution
from .flow_mixture import FlowMixture


class MixedDistribution(Distribution):
    """Categories by a mixture of latent trees; numbers, given the categories, by the trees or by a flow::

        p(x, c) = p_trees(c) [(1 - w) p_trees(x | c) + w p_flow(x | c)]

    It is a density of the numbers x times a probability of the categories c. Both parts give the categories the same
    probabilities, so that wherever no number is observed the trees' closed form is that of the whole.

    Parameters
    ----------
    trees : FlowMixture
        Of `LatentTree` distributions.
    flow : Distribution or None
        Of the numbers, given indicators of the known categories; an unknown one has none. None where w is zero.
    weight : Tensor of shape ()
        w.
    n_categories : Tensor of shape (d,), int
        Zero for numbers.
    """

    def __init__(self, trees: FlowMixture, flow: Distribution | None, weight: Tensor, n_categories: Tensor):
        super().__init__()
        self.trees = trees
        self.flow = flow
        self.register_buffer("weight", weight)
        self.register_buffer("n_categories", n_categories)

    @property
    def numbers(self) -> Tensor:
        """Which columns are numbers, shape (d,), bool."""
        return self.n_categories == 0

    def indicators(self, x: Tensor) -> Tensor | None:
        """The categories of complete rows as the flow sees them, shape (n, C); None where there are none."""
        parts = [
            (x[:, j, None] == torch.arange(size, device=x.device)).to(x)
            for j, size in enumerate(self.n_categories.tolist())
            if size
        ]
        return torch.cat(parts, 1) if parts else None

    def log_prob(self, x, context=None):
        """Of rows that are complete; `trees` knows what to do with the others."""
        joint = self.trees.log_prob(x)
        if self.flow is None:
            return joint
        ratio = self.log_ratio(x, joint)
        return joint + torch.logaddexp(torch.log1p(-self.weight), self.weight.log() + ratio)

    def log_ratio(self, x: Tensor, joint: Tensor | None = None) -> Tensor:
        """Of complete rows ``log p_flow(x | c) - log p_trees(x | c)``, in nats, shape (n,).

        ``joint`` is what the trees say of the rows, where it is known already.
        """
        numbers = self.numbers
        joint = self.trees.log_prob(x) if joint is None else joint
        categories = self.trees.log_prob(torch.where(numbers, torch.nan, x))
        return self.flow.log_prob(x[:, numbers], self.indicators(x)) + categories - joint

    def sample(self, n, context=None, generator=None):
        x = self.trees.sample(n, generator=generator)
        if self.flow is not None:
            uniform = torch.rand(n, generator=generator, dtype=x.dtype).to(x.device)
            rows = (uniform < self.weight).nonzero()[:, 0]
            if len(rows):
                some, numbers = x[rows], self.numbers
                some[:, numbers] = self.flow.sample(len(rows), self.indicators(some), generator).to(x)
                x[rows] = some
        return x

    def to_normal(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Complete rows, the numbers mapped to where the flow's density, given the categories, is standard normal."""
        return self._with_numbers(z, "to_latent")

    def from_normal(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `to_normal`."""
        return self._with_numbers(u, "from_latent")

    def _with_numbers(self, v, direction):
        if self.flow is None:
            return v
        out, numbers = v.clone(), self.numbers
        out[:, numbers] = getattr(self.flow, direction)(v[:, numbers], self.indicators(v))
        return out
