"""Fits the first links of a flow, which carry a table to the scale that a network expects."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..flows.bijections.bounded import Bounded
from ..flows.bijections.chain import Chain
from ..flows.bijections.columnwise import Columnwise
from ..flows.bijections.log_tails import log_tails
from ..flows.bijections.marginal_gaussianization import MarginalGaussianization
from ..flows.bijections.standardize import (
    MAX_ROWS_TO_SCALE,
    Standardize,
    location_and_spread,
    mean_and_deviation,
    root_mean_square,
)
from .marginals import ALL_LEVELS, LEVELS, MAX_ROWS, MAX_ROWS_TO_COMPARE, far_from_normal, fit_marginals

TAIL = 5.0  # standard deviations, where the logarithmic tails begin
WINSORISED_TAIL = 100.0  # where they begin if the scale is winsorised
WINSORISED = 0.05  # share of the numbers at each end that are pulled in
NARROW = 1e-3  # of its standard deviation is the winsorised one of a column that as good as agrees but for a tenth
CONSTANT = 0.01  # of its value is the spread of a constant column


@torch.no_grad()
def fit_preprocessing(
    x: Tensor,
    rows: np.ndarray,
    low: Tensor | None,
    high: Tensor | None,
    *,
    kind: str = "gaussianized",
    levels: Sequence[tuple[int, float]] = LEVELS,
) -> Chain:
    """Bounds, scale, columns far from normal turned normal, and tails pulled in, so that no square overflows.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    rows : ndarray of int
        The numbers of those to fit to, in random order: of many, the first ones are enough.
    low, high : Tensor of shape (d,) or None
    kind : {"gaussianized", "linear", "winsorised"}, default="gaussianized"
        "gaussianized" scales by quantiles and Gaussianizes the columns that gain from it;
        "linear", by mean and standard deviation, keeps straight lines between rows straight; so does "winsorised", by
        median and winsorised deviation of all rows, which a twentieth of outliers at each end does not move.
    levels : sequence of (fineness, least gain)
        See `far_from_normal`.
    """
    some = x[rows if kind == "winsorised" else rows[:MAX_ROWS_TO_SCALE]]
    links: list[Bijection] = []
    if low is not None:
        links.append(Bounded.fit(some, low, high))
        some = links[0](some)[0]
    scale = _winsorised(some) if kind == "winsorised" else Standardize.fit(some, robust=kind == "gaussianized")
    links.append(scale)
    if kind == "gaussianized":
        parts = far_from_normal(scale(some[:MAX_ROWS_TO_COMPARE])[0], levels)
        z = Chain(links)(x[rows[:MAX_ROWS]])[0] if parts else None
        links.extend(fit_marginals(z, *part) for part in parts)
    tail = WINSORISED_TAIL if kind == "winsorised" else TAIL
    return Chain([*links, log_tails(torch.full_like(some[0], tail), low, high)])


@torch.no_grad()
def fit_columnwise(x: Tensor, numbers: Tensor, rows: np.ndarray, low: Tensor | None, high: Tensor | None) -> Columnwise:
    """Bounds, scale, normal scores and tails of every column of numbers, from what is observed in it.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        NaN where nothing is observed.
    numbers : Tensor of shape (d,), bool
    rows : ndarray of int
        In random order.
    low, high : Tensor of shape (d,) or None
    """
    maps: list[Bijection] = []
    columns = numbers.nonzero()[:, 0]
    for j in columns.tolist():
        some = x[rows, j]
        some = some[~some.isnan()][:, None]
        some = some if len(some) else some.new_zeros(1, 1)
        bounds = (None, None) if low is None else (low[j : j + 1], high[j : j + 1])
        maps.append(fit_preprocessing(some, np.arange(len(some)), *bounds, levels=ALL_LEVELS))
    return Columnwise(columns, maps)


def is_gaussianized(preprocessing: Chain) -> bool:
    """Whether any column is turned normal."""
    return any(isinstance(link, MarginalGaussianization) for link in preprocessing.links)


def _winsorised(x):
    """Median and winsorised deviation of each column."""
    shift, scale = location_and_spread(x)[0], winsorised_deviation(x)
    tiny = torch.finfo(x.dtype).eps * shift.abs()
    deviation = mean_and_deviation(x)[1]
    scale = torch.where(scale > NARROW * deviation, scale, deviation)
    constant = torch.where(shift != 0, CONSTANT * shift.abs(), 1.0)
    return Standardize(shift, torch.where(scale > tiny, scale, constant))


def winsorised_deviation(x: Tensor, share: float = WINSORISED) -> Tensor:
    """Standard deviation of each column with a share of the numbers at each end pulled in, consistent for normal ones.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    share : float, default=0.05
    """
    low, high = (
        torch.from_numpy(np.quantile(x.numpy(), q, axis=0, method=method))
        for q, method in ((share, "higher"), (1 - share, "lower"))
    )
    inner = torch.minimum(torch.maximum(x, low), high)
    mean = (inner / len(x)).sum(0)
    edge = -special.ndtri(share)
    square = 1 - 2 * share - 2 * edge * math.exp(-0.5 * edge**2) / math.sqrt(2 * math.pi) + 2 * share * edge**2
    return root_mean_square((inner - mean).t()) / math.sqrt(square)
