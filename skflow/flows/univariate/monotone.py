"""Univariate maps that are given on an interval, go straight on outside it, and are inverted by a root finder."""

from __future__ import annotations

import torch
from torch import Tensor

from .root import solve_monotone
from .univariate import Univariate


class MonotoneCurve(Univariate):
    """A univariate map that need be written on [-bound, bound] alone.

    Outside, it goes straight on with the slope that it has at the bound: the density stays continuous, and the
    log-density and its gradients stay finite for any finite input. Subclasses implement `curve`.
    """

    bound: float

    def curve(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """``z`` and log dz/dx for ``x`` in [-bound, bound]; the slope is positive."""
        raise NotImplementedError

    def forward(self, x, params):
        inner = x.clamp(-self.bound, self.bound)
        z, log_slope = self.curve(inner, params)
        return torch.addcmul(z, torch.exp(log_slope), x - inner), log_slope

    def inverse(self, z, params):
        low, high = self._bracket(z.detach(), params.detach())
        x, log_slope = solve_monotone(lambda x: self.forward(x, params), z, low, high, self._guess(z, low, high))
        return x, -log_slope

    @torch.no_grad()
    def _bracket(self, z, params):
        """[-bound, bound], or the two ends of a tail where ``z`` lies in one; the tail's own line gives the far end."""
        edge = torch.full_like(z, self.bound)
        below, slope_below = self.curve(-edge, params)
        above, slope_above = self.curve(edge, params)
        down = (z - below).clamp_max(0) * torch.exp(-slope_below)
        up = (z - above).clamp_min(0) * torch.exp(-slope_above)
        # Rounding may leave the far end a hair short of the root, so it is moved out by a relative 1e-3.
        low = torch.where(up > 0, edge, 1.001 * down - edge)
        high = torch.where(down < 0, -edge, edge + 1.001 * up)
        return low, high

    @staticmethod
    def _guess(z, low, high):
        return z.detach()
