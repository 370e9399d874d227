"""Location and spread of columns, and the bijection that takes them off."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .bijection import Bijection
from .bounded import number_range

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
        x = (z * self.scale + self.shift).clamp(*number_range(z))
        return x, self.scale.log().sum().expand(len(z))
