"""Columns with bounds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .bijection import Bijection


def number_range(x):
    """The least and the greatest number of a tensor's precision: what lies beyond has no name but infinity."""
    info = torch.finfo(x.dtype)
    return info.min, info.max


class Bounded(Bijection):
    """Columns with declared bounds, to the whole line: the log-determinant outside is minus infinity.

    A column in (low, high) goes through the logit of its share; with one bound, ``x - low = softplus(z)``, which leaves
    values far from the bound alone. ``unit`` sets the scale of that map. A value on the bound, or closer to it than
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
        """The unit of a half-bounded column is the median distance of the numbers that are not on the bound."""
        bound = torch.where(low.isfinite(), low, high)
        distance = (x - torch.where(bound.isfinite(), bound, 0)).abs().clamp_max(torch.finfo(x.dtype).max / 2)
        distance = distance.where(distance > 0, torch.nan).nanmedian(0).values.nan_to_num()
        width = torch.where(low.isfinite() & high.isfinite(), high - low, distance).clamp_max(torch.finfo(x.dtype).max)
        return cls(low, high, torch.where(width > 0, width, torch.ones_like(width)))

    def _kinds(self):
        below, above = self.low.isfinite(), self.high.isfinite()
        return below & above, below & ~above, ~below & above

    def forward(self, x, context=None):
        both, lower, upper = self._kinds()
        margin = max(self.margin, 4 * torch.finfo(x.dtype).eps)
        half, unit = 0.5 * x, 0.5 * self.unit  # the difference of two numbers may be none, that of their halves is one
        to_low = torch.where(self.low.isfinite(), (half - 0.5 * self.low) / unit, 1)
        to_high = torch.where(self.high.isfinite(), (0.5 * self.high - half) / unit, 1)
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
        x = torch.where(both, low * (1 - share) + high * share, z)
        log_slope = torch.where(both, F.logsigmoid(z) + F.logsigmoid(-z) + self.unit.log(), 0)
        for kind, bound, sign in ((lower, self.low, 1), (upper, self.high, -1)):
            x = torch.where(kind, 2 * (0.5 * bound + sign * (0.5 * self.unit) * F.softplus(sign * z)), x)
            log_slope = torch.where(kind, F.logsigmoid(sign * z) + self.unit.log(), log_slope)
        x = torch.minimum(torch.maximum(x, self.low), self.high).clamp(*number_range(z))
        return x, log_slope.sum(1)
