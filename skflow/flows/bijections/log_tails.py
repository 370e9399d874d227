"""Logarithmic tails."""

from __future__ import annotations

import torch
from torch import Tensor

from .bijection import Bijection


def tails(x: Tensor, inner: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Where numbers differ from ``inner``, the nearest ones within; what becomes of them, and how far in logarithms."""
    index = (inner != x).nonzero(as_tuple=True)
    excess = x[index] - inner[index]
    log_excess = torch.log1p(excess.abs())
    return index, inner[index] + torch.copysign(log_excess, excess), log_excess


class LogTails(Bijection):
    """The identity on [low, high], logarithmic beyond: ``z = high + log(1 + x - high)`` above, likewise below.

    A row at a million standard deviations comes to rest twenty away from the others, so that it cannot cost a flow
    thousands of nats.

    Parameters
    ----------
    low, high : Tensor of shape (d,)
        Where the tails begin, column by column; infinite for none.
    """

    def __init__(self, low: Tensor, high: Tensor):
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, x, context=None):
        inner = torch.clamp(x, self.low, self.high)
        index, tail, log_excess = tails(x, inner)
        z = x.index_put(index, tail) if len(tail) else x
        return z, x.new_zeros(len(x)).index_add(0, index[0], -log_excess)

    def inverse(self, z, context=None):
        inner = torch.clamp(z, self.low, self.high)
        log_excess = z - inner
        above, below = torch.expm1(log_excess.clamp_min(0)), torch.expm1((-log_excess).clamp_min(0))
        return inner + above - below, log_excess.abs().sum(1)


def log_tails(ends: Tensor, low: Tensor | None, high: Tensor | None) -> LogTails:
    """Tails that begin at plus and minus ``ends``, but none on the side of a bound.

    Towards a bound the latent column runs to infinity already; a heavier tail there would pile up mass on the bound.

    Parameters
    ----------
    ends : Tensor of shape (d,)
    low, high : Tensor of shape (d,) or None
        Bounds of the columns, infinite where there is none.
    """
    if low is None:
        return LogTails(-ends, ends)
    return LogTails(
        torch.where(low.isfinite(), -torch.inf, -ends).to(ends),
        torch.where(high.isfinite(), torch.inf, ends).to(ends),
    )
