"""Fits `HistogramGaussianization` to columns whose values are repeated more often than a smooth density says."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..flows.bijections.histogram_gaussianization import HistogramGaussianization
from .columns import NUMBER, TIED, describe_column

MAX_BINS = 20_000
MANY = 4.0  # standard deviations above what a smooth density says are far more values
MIN_GAIN = 0.02  # nats a value that the histogram has to gain over the smooth density
CONCENTRATIONS = 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 10_000.0, 100_000.0  # to try
DISCOUNTS = 0.05, 0.25, 0.5, 0.75, 0.95
LEAST_SHARE = 1e-3  # of the smooth density's mass is spread evenly over the bins, so that none is empty


def bin_edges(values: np.ndarray) -> np.ndarray | None:
    """Edges of bins, one for every point of the grid that values lie on, from the least value to the greatest.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Finite.

    Returns
    -------
    ndarray of shape (K + 1,) or None
        Where values are the points themselves, as they are far apart on their grid, edges lie half way between them.
        None where few values are repeated, or all are the same, or the grid has too many points.
    """
    column = describe_column(values, NUMBER)
    points, step = column["values"], column["step"]
    if points is None:
        n_repeated = len(values) - len(np.unique(values))
        if not step or n_repeated < TIED * len(values):
            return None
        low, high = column["range"]
        n_points = round((high - low) / step) + 1
        return low + step * (np.arange(n_points + 1) - 0.5) if n_points <= MAX_BINS else None
    if not 2 <= len(points) <= MAX_BINS:
        return None
    middles = (points[1:] + points[:-1]) / 2
    return np.concatenate([[2 * points[0] - middles[0]], middles, [2 * points[-1] - middles[-1]]])


@torch.no_grad()
def fit_histogram(
    smooth: Bijection, values: np.ndarray, edges: np.ndarray, bounds: tuple[float, float]
) -> HistogramGaussianization | None:
    """A histogram whose bins have the frequencies of the values, smoothed towards a smooth density.

    A bin of far more values than the smooth density says keeps its frequency. Among the others one of count ``c`` and
    of mass ``s`` under the smooth density has the mass ``(c - b + (a + b t) s) / (n + a)``, and
    ``(a + b t) s / (n + a)`` without a value, for n values in t bins: the forecast of a Pitman-Yor process [1]_. The
    concentration a and the discount b are those of greatest likelihood when every value is left out in turn.

    Parameters
    ----------
    smooth : Bijection
        Of one column, to normal scores.
    values : ndarray of shape (n,)
    edges : ndarray of shape (K + 1,)
    bounds : pair of float
        Edges beyond them are moved there.

    Returns
    -------
    HistogramGaussianization or None
        None where the smooth density is as good.

    References
    ----------
    .. [1] Pitman & Yor, "The two-parameter Poisson-Dirichlet distribution derived from a stable subordinator", Annals
       of Probability 25 (1997), eq. 2.
    """
    edges = np.clip(edges, *bounds)
    if (np.diff(edges.astype(np.float32)) <= 0).any():  # the finished flow may be in single precision
        return None
    n, bin_ = len(values), np.searchsorted(edges, values, "right").clip(1, len(edges) - 1) - 1
    count = np.bincount(bin_, minlength=len(edges) - 1)
    z = smooth(torch.from_numpy(edges)[:, None])[0][:, 0]
    below, above = torch.special.ndtr(z).numpy(), torch.special.ndtr(-z).numpy()
    mass = np.where(below[:-1] < 0.5, np.diff(below), -np.diff(above)).clip(0)
    mass = (1 - LEAST_SHARE) * mass + LEAST_SHARE * mass.sum() / len(mass)
    expected = n * mass
    frequent = count > expected + MANY * np.sqrt(expected + 1)
    others, rest = count * ~frequent, 1 - mass[frequent].sum()
    n_others, n_used = others.sum(), (others > 0).sum()
    kept = bin_[~frequent[bin_]]

    def forecast(count, mass, n, a, b):
        return ((count - b).clip(0) + (a + b * n_used) * mass / rest) / (n + a)

    def left_out(a, b):
        return float(np.log(forecast(count[kept] - 1, mass[kept], n_others - 1, a, b)).sum()) if len(kept) else 0.0

    score, a, b = max((left_out(a, b), a, b) for a, b in itertools.product(CONCENTRATIONS, DISCOUNTS))
    rare = (n_others + 0.5) / (n + 0.5)  # half a value more: there may be none
    score += len(kept) * np.log(rare) + (count * np.log(np.maximum(count, 1) / (n + 0.5)))[frequent].sum()
    if score / n < np.log(mass[bin_]).mean() + MIN_GAIN:
        return None
    mass = np.where(frequent, count / (n + 0.5), rare * forecast(others, mass, n_others, a, b))
    share = rare * (a + b * n_used) / (n_others + a) / rest
    parts = edges, mass, share * np.array([below[0], above[-1]]), np.array(share)
    return HistogramGaussianization(smooth, *map(torch.from_numpy, parts))


def spread_over_bins(values: Tensor, edges: Tensor, rng: np.random.RandomState) -> Tensor:
    """Values moved to random places of their bins.

    Parameters
    ----------
    values : Tensor of shape (n,)
        NaN stays so.
    edges : Tensor of shape (K + 1,)
    """
    bin_ = torch.searchsorted(edges, values.nan_to_num(float(edges[0])).contiguous(), right=True)
    bin_ = bin_.clamp(1, len(edges) - 1) - 1
    part = torch.from_numpy(rng.uniform(size=len(values)))
    return torch.where(values.isnan(), values, torch.lerp(edges[bin_], edges[bin_ + 1], part))
