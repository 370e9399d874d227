"""Fits `MarginalGaussianization` to the columns that are not normal already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.marginal_gaussianization import LOG_2PI, MarginalGaussianization

MIN_ROWS = 30
MIN_GAIN = 0.01  # nats a row by which a spline must beat a normal distribution on rows that it has not seen
# How many times as many knots as a smooth density asks for, and by how many nats a row they must beat fewer.
LEVELS = (1, MIN_GAIN), (4, 0.1)
ALL_LEVELS = (1, MIN_GAIN), (2, MIN_GAIN), (4, MIN_GAIN), (8, MIN_GAIN), (16, MIN_GAIN)
MAX_ROWS_TO_COMPARE = 4_000
MAX_ROWS_TO_SCORE = 1_000  # of each half, when splines are compared with normal distributions
MAX_ROWS = 200_000  # quantiles of a larger table are read off a regular subsample
MIN_STEP = 1e-6  # least distance between knots, in units of the column's spread
MAX_TAIL_INDEX = 1.5


def far_from_normal(x: Tensor, levels: Sequence[tuple[int, float]] = LEVELS) -> list[tuple[Tensor, int]]:
    """Numbers of the columns that gain from being Gaussianized, by how fine their splines are to be.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows in random order, each column with a spread of about one.
    levels : sequence of (fineness, least gain)
        A column has to gain as much over what it had so far, and at the first of them to be Gaussianized at all.

    Returns
    -------
    list of (columns, fineness)
        Columns (c,), where a spline fitted to one half of the rows gives the other half a higher likelihood than a
        normal distribution does, and, for the finer ones, than one with fewer knots: columns with values of very
        different scales. None of the parts is empty.
    """
    if len(x) < MIN_ROWS:
        return []
    n_half = min(len(x), MAX_ROWS_TO_COMPARE) // 2
    halves = x[:n_half], x[n_half : 2 * n_half]
    train, test = torch.cat(halves, 1), torch.cat(halves[::-1], 1)[:MAX_ROWS_TO_SCORE]
    best = torch.cat(_normal(train, test).chunk(2, 1))
    fineness = torch.zeros(x.shape[1], dtype=torch.long, device=x.device)
    for level, least in levels:
        score = torch.cat(_spline(train, test, level).chunk(2, 1))
        gaining = _gains(score - best, least) & ((fineness > 0) | (level == levels[0][0]))
        fineness[gaining] = level
        best = torch.where(gaining, score, best)
    columns = torch.arange(x.shape[1], device=x.device)
    return [(columns[fineness == level], level) for level, _ in levels if (fineness == level).any()]


def _gains(gain, least):
    """Whether a gain (n, d) is sure to be more than the least one, for every column."""
    # Outliers make the gain of a row as large as they are far: they count in the mean, not in its standard error.
    error = gain.clamp(-1, 1).std(0) / len(gain) ** 0.5
    return gain.mean(0) > least + 2 * error


def _normal(train, test):
    mean, std = train.mean(0), train.std(0).clamp_min(1e-30)
    return -0.5 * ((test - mean) / std) ** 2 - std.log() - 0.5 * LOG_2PI


def _spline(train, test, fineness):
    return fit_marginals(train, torch.arange(train.shape[1], device=train.device), fineness).column_log_density(test)


def fit_marginals(x: Tensor, columns: Tensor, fineness: int = 1) -> MarginalGaussianization:
    """Gaussianize some columns of ``x``, rows in random order.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Each column with a spread of about one.
    columns : Tensor of shape (c,), int
    fineness : int, default=1
        How many times as many knots as a smooth density asks for.
    """
    n = len(x)
    n_knots = fineness * int(min(64, max(6, round(1.5 * n ** (1 / 3)))))
    n_tail = max(8, round(0.01 * n)) if n > 100 else max(2, n // 10)
    ordered = torch.from_numpy(np.sort(x.t()[columns].contiguous().numpy(), axis=1)).t()  # numpy sorts ten times faster
    z_edge = torch.special.ndtri(torch.tensor(n_tail / n, dtype=x.dtype, device=x.device))
    knots_z = torch.linspace(float(z_edge), float(-z_edge), n_knots, dtype=x.dtype, device=x.device)
    knots_x = _increasing(_quantiles(ordered, torch.special.ndtr(knots_z)))
    secants = knots_z.diff()[:, None] / knots_x.diff(dim=0)
    inner = 2 * secants[1:] * secants[:-1] / (secants[1:] + secants[:-1])
    tails, edges = [], []
    for excess, secant in (
        (knots_x[0] - ordered[:n_tail], secants[0]),
        (ordered[-n_tail:] - knots_x[-1], secants[-1]),
    ):
        xi, sigma = fit_generalised_pareto(excess.clamp_min(0))
        density = torch.exp(-0.5 * z_edge * z_edge - 0.5 * LOG_2PI)
        slope = n_tail / n / sigma / density
        edges.append(torch.minimum(torch.maximum(slope, 0.1 * secant), 10 * secant))
        tails.append(xi)
    slopes = torch.cat([edges[0][None], inner, edges[1][None]])
    return MarginalGaussianization(
        columns, knots_x.t().contiguous(), knots_z, slopes.t().contiguous(), torch.stack(tails, 1)
    )


def _quantiles(ordered, p):
    n = len(ordered)
    position = (p * n - 0.5).clamp(0, n - 1)
    below = position.floor().long()
    above = (below + 1).clamp_max(n - 1)
    share = (position - below)[:, None]
    return (1 - share) * ordered[below] + share * ordered[above]


def _increasing(knots):
    ramp = MIN_STEP * torch.arange(len(knots), dtype=knots.dtype, device=knots.device)[:, None]
    return (knots - ramp).cummax(0).values + ramp


def fit_generalised_pareto(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of a generalised Pareto distribution, column by column, by profile likelihood.

    For a given ``theta = xi / sigma`` the likelihood is greatest at ``xi = mean(log1p(theta t))`` (Davison 1984), so
    the search has one dimension. The exponential distribution is kept unless a heavy tail gains more than a nat in all.

    Parameters
    ----------
    excess : Tensor of shape (m, c), non-negative

    Returns
    -------
    xi, sigma : Tensor of shape (c,)
        With 0 <= xi <= MAX_TAIL_INDEX.
    """
    excess = excess[:: max(1, len(excess) // 1000)]
    mean = excess.mean(0).clamp_min(MIN_STEP)
    theta = torch.logspace(-2, 4, 60, dtype=excess.dtype, device=excess.device)[:, None] / mean
    xi = torch.log1p(theta[:, None] * excess).mean(1)
    log_likelihood = -len(excess) * ((xi / theta).log() + xi + 1)
    log_likelihood = torch.where(xi <= MAX_TAIL_INDEX, log_likelihood, -torch.inf)
    best, index = log_likelihood.max(0)
    heavy = best > -len(excess) * (mean.log() + 1) + 1
    xi_best, theta_best = xi.gather(0, index[None])[0], theta.gather(0, index[None])[0]
    return torch.where(heavy, xi_best, 0.0), torch.where(heavy, xi_best / theta_best, mean)
