"""Bijections fitted from data: the first links of a flow, which carry a table to the scale that a network expects."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .bijection import Bijection

MAX_ROWS_TO_SCALE = 5_000  # statistics of a longer table are read off its first rows
NARROW = 1e-3  # of the outer tenths' spread is the quartiles', where half of the numbers as good as agree
GROSS = 20.0  # spreads, beyond which numbers have no say in mean and standard deviation


def location_and_spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Median of each column, and a spread that no fill value, of whatever size, can move; zero for a constant column.

    The quartiles', on the scale of a standard deviation; where half of the numbers agree, or nearly do, the outer
    tenths'; where those agree too, what sets the other numbers apart, if there are at least two.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    location, spread : Tensor of shape (d,)
    """
    ordered = torch.from_numpy(np.sort(x.t().contiguous().numpy(), axis=1))
    n, most = ordered.shape[1], torch.finfo(x.dtype).max / 8

    def between(low, high, normal):
        return (ordered[:, high] / normal - ordered[:, low] / normal).clamp_max(most)

    median = 0.5 * ordered[:, (n - 1) // 2] + 0.5 * ordered[:, n // 2]
    quartiles = between(n // 4, (3 * n - 1) // 4, 1.349)
    tenths = between(n // 10, (9 * n - 1) // 10, 2.563)
    spread = torch.where(quartiles > NARROW * tenths, quartiles, tenths)
    for j in (spread == 0).nonzero()[:, 0]:
        apart = (ordered[j] - median[j]).abs()
        apart = apart[apart > 0]
        if len(apart) > 1 or n < 5 and len(apart):
            spread[j] = (apart.median() * (len(apart) / n) ** 0.5).clamp_max(most)
    return median, spread


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, numbers beyond 20 spreads pulled in to there.

    Parameters
    ----------
    x : Tensor of shape (n, d)

    Returns
    -------
    mean, deviation : Tensor of shape (d,)
    """
    location, spread = location_and_spread(x)
    reach = (GROSS * spread).clamp_max(torch.finfo(x.dtype).max / 4)
    x = x.clamp(location - reach, location + reach)
    mean = (x / len(x)).sum(0)
    return mean, root_mean_square((x - mean).t())


def _range(x):
    """The least and the greatest number of a tensor's precision: what lies beyond has no name but infinity."""
    info = torch.finfo(x.dtype)
    return info.min, info.max


def root_mean_square(x):
    """Along the last axis, without squares that overflow or vanish."""
    largest = x.abs().amax(-1).clamp_min(torch.finfo(x.dtype).tiny)
    return largest * (x / largest[..., None]).square().mean(-1).sqrt()


class Standardize(Bijection):
    """``z = (x - shift) / scale``, column by column.

    A number further away than z can tell (6e28 in single precision) counts as one at that distance.
    """

    def __init__(self, shift: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def _apply(self, fn, recurse=True):
        """In a lower precision too the scale stays a number that can be divided by."""
        super()._apply(fn, recurse)
        info = torch.finfo(self.scale.dtype)
        self.scale = self.scale.clamp(info.tiny, info.max)
        return self

    @classmethod
    def fit(cls, x: Tensor, robust: bool = True) -> Standardize:
        """Location and spread of each column, as `location_and_spread` has them; the scale of a constant column is one.

        Where ``robust`` is false, mean and standard deviation, as `mean_and_deviation` has them.
        """
        x = x[:MAX_ROWS_TO_SCALE]
        shift, scale = location_and_spread(x) if robust else mean_and_deviation(x)
        tiny = torch.finfo(x.dtype).eps * shift.abs()
        return cls(shift, torch.where(scale > tiny, scale, torch.ones_like(scale)))

    def reach(self, dtype: torch.dtype) -> float:
        """The greatest distance that is told apart from greater ones: what comes of it in a flow does not overflow."""
        return torch.finfo(dtype).max ** 0.75

    def forward(self, x, context=None):
        reach = self.reach(x.dtype)
        return ((x - self.shift) / self.scale).clamp(-reach, reach), -self.scale.log().sum().expand(len(x))

    def inverse(self, z, context=None):
        x = (z * self.scale + self.shift).clamp(*_range(z))
        return x, self.scale.log().sum().expand(len(z))


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
        x = torch.minimum(torch.maximum(x, self.low), self.high).clamp(*_range(z))
        return x, log_slope.sum(1)
