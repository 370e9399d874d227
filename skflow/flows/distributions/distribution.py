"""The abstraction of a density: what can be scored and drawn from."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


class Distribution(nn.Module):
    """A density on R^d, or one for every context of shape (n_context,)."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density in nats of rows ``x`` (n, d), given ``context`` (n, n_context); shape (n,)."""
        raise NotImplementedError

    def sample(self, n: int, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows, one for each row of ``context`` where it is given; shape (n, d)."""
        raise NotImplementedError

    def stochastic_log_prob(self, x: Tensor, context: Tensor | None = None, generator=None) -> Tensor:
        """What training raises: `log_prob`, or a lower bound that draws from ``generator`` what that averages over."""
        return self.log_prob(x, context)

    @functools.cached_property
    def width(self) -> int:
        """Numbers per row of the widest layer, from which memory and work per row follow."""
        return max([p.numel() // p.shape[-1] for p in self.parameters() if p.dim() > 1], default=1)

    def n_parameters(self) -> int:
        """Number of free parameters, without those that a module counts in ``n_idle`` (entries that a mask hides)."""
        idle = sum(m.n_idle() for m in self.modules() if hasattr(m, "n_idle"))
        return sum(p.numel() for p in self.parameters()) - idle


class BaseDistribution(Distribution):
    """A distribution that can be mapped to independent standard normals, one map for every context."""

    def to_normal(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The Rosenblatt transform: rows of this distribution become rows of independent standard normals."""
        raise NotImplementedError

    def from_normal(self, u: Tensor, context: Tensor | None = None) -> Tensor:
        """The inverse of `to_normal`."""
        raise NotImplementedError
