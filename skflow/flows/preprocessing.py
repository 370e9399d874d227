"""Bijections fitted from data: the first links of a flow, which carry a table to the scale that a network expects."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .bijection import Bijection

MAX_ROWS_TO_SCALE = 5_000  # statistics of a longer table are read off its first rows


def _quartiles(x):
    ordered = torch.from_numpy(np.sort(x.t().contiguous().numpy(), axis=1))
    n = ordered.shape[1]
    return ordered[:, n // 4], 0.5 * (ordered[:, (n - 1) // 2] + ordered[:, n // 2]), ordered[:, (3 * n - 1) // 4]


class Standardize(Bijection):
    """``z = (x - shift) / scale``, column by column."""

    def __init__(self, shift: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    @classmethod
    def fit(cls, x: Tensor, robust: bool = True) -> Standardize:
        """Median and spread of each column: the quartiles' where they differ, else the standard deviation, else one.

        The quartiles ignore outliers of any size; a column where half of the rows agree has none and falls back. Where
        ``robust`` is false, mean and standard deviation, as long as they are finite.
        """
        x = x[:MAX_ROWS_TO_SCALE]
        shift = x.mean(0)
        scale = (x - shift).square_().mean(0).sqrt()
        if robust or not scale.isfinite().all():
            low, shift, high = _quartiles(x)
            quartiles, deviation = (high - low) / 1.349, (x - shift).square_().mean(0).sqrt()
            scale = torch.where(quartiles > 1e-3 * deviation, quartiles, deviation)
        tiny = torch.finfo(x.dtype).eps * shift.abs()
        return cls(shift, torch.where(scale > tiny, scale, torch.ones_like(scale)))

    def forward(self, x, context=None):
        return (x - self.shift) / self.scale, -self.scale.log().sum().expand(len(x))

    def inverse(self, z, context=None):
        return z * self.scale + self.shift, self.scale.log().sum().expand(len(z))


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


class Bounded(Bijection):
    """Columns with declared bounds, to the whole line: the log-determinant outside is minus infinity.

    A column in (low, high) goes through the logit of its share; with one bound, ``x - low = softplus(z)``, which leaves
    values far from the bound alone. ``unit`` sets the scale of that curve. A value on the bound, or closer to it than
    ``margin`` units, is moved that far inside, so that its density is finite.
    """

    margin = 1e-9

    def __init__(self, low: Tensor, high: Tensor, unit: Tensor):
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("unit", unit)

    @classmethod
    def fit(cls, x: Tensor, low: Tensor, high: Tensor) -> Bounded:
        """The unit of a half-bounded column is its median distance from the bound."""
        bound = torch.where(low.isfinite(), low, high)
        distance = (x - torch.where(bound.isfinite(), bound, 0)).abs().median(0).values
        width = torch.where(low.isfinite() & high.isfinite(), high - low, distance)
        return cls(low, high, torch.where(width > 0, width, torch.ones_like(width)))

    def _kinds(self):
        below, above = self.low.isfinite(), self.high.isfinite()
        return below & above, below & ~above, ~below & above

    def forward(self, x, context=None):
        both, lower, upper = self._kinds()
        margin = max(self.margin, 4 * torch.finfo(x.dtype).eps)
        to_low = torch.where(self.low.isfinite(), (x - self.low) / self.unit, 1)
        to_high = torch.where(self.high.isfinite(), (self.high - x) / self.unit, 1)
        outside = ((to_low < 0) | (to_high < 0)).any(1)
        to_low, to_high = to_low.clamp_min(margin), to_high.clamp_min(margin)
        z = torch.where(both, to_low.log() - to_high.log(), x)
        log_slope = torch.where(both, (1 / to_low + 1 / to_high).log() - self.unit.log(), 0)
        for kind, distance, sign in ((lower, to_low, 1), (upper, to_high, -1)):
            inverse_softplus = distance + torch.log(-torch.expm1(-distance))
            z = torch.where(kind, sign * inverse_softplus, z)
            log_slope = torch.where(kind, -torch.log(-torch.expm1(-distance)) - self.unit.log(), log_slope)
        log_abs_det = log_slope.sum(1)
        return z, torch.where(outside, -torch.inf, log_abs_det)

    def inverse(self, z, context=None):
        both, lower, upper = self._kinds()
        share = torch.sigmoid(z)
        low, high = (torch.where(bound.isfinite(), bound, 0.0) for bound in (self.low, self.high))  # no NaN gradients
        x = torch.where(both, low + (high - low) * share, z)
        log_slope = torch.where(both, F.logsigmoid(z) + F.logsigmoid(-z) + self.unit.log(), 0)
        for kind, bound, sign in ((lower, self.low, 1), (upper, self.high, -1)):
            x = torch.where(kind, bound + sign * self.unit * F.softplus(sign * z), x)
            log_slope = torch.where(kind, F.logsigmoid(sign * z) + self.unit.log(), log_slope)
        x = torch.minimum(torch.maximum(x, self.low), self.high)
        return x, log_slope.sum(1)
