"""Dequantisation: noise where values are tied."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.standardize import location_and_spread

MAX_ROWS_TO_INSPECT = 10_000  # enough to see a grid of up to 50,000 values
LARGEST = np.finfo(float).max / 4  # the difference of two such numbers is a number


def dequantise(X: np.ndarray, rng: np.random.RandomState, numbers: np.ndarray | None = None) -> Tensor:
    """The rows in float64, tied values spread over their grid: a density of repeated values has no upper bound.

    A column where more than a tenth of the values are repeated gets uniform noise one grid step wide, the step being
    the median gap between neighbouring values. A constant column gets normal noise of a thousandth of its value. Scores
    are computed without noise.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        NaN where nothing is observed.
    rng : RandomState
    numbers : ndarray of shape (d,), bool, optional
        Which columns are numbers; the others stay as they are. By default all.
    """
    some = X[:: -(-len(X) // MAX_ROWS_TO_INSPECT)]  # a table may be sorted
    ordered = np.sort(np.ascontiguousarray(some.T), axis=1)  # NaN comes last, and differs from itself
    repeated = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
    tied = repeated >= 0.1 * (~np.isnan(ordered)).sum(1)
    x = torch.tensor(X, dtype=torch.float64)
    for j in np.flatnonzero(tied if numbers is None else tied & numbers):
        values = ordered[j].astype(float)
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        location, spread = (float(v) for v in location_and_spread(torch.from_numpy(values)[:, None]))
        gaps = np.diff(np.clip(values, -LARGEST, LARGEST))
        wide = gaps[gaps > 1e-4 * spread] if spread else gaps[:0]
        if len(wide):
            noise = np.median(wide) * (rng.uniform(size=len(X)) - 0.5)
        else:
            noise = 1e-3 * (abs(location) or 1.0) * rng.standard_normal(len(X))
        x[:, j] += torch.from_numpy(noise)
    most = torch.finfo(x.dtype).max
    return x.clamp_(-most, most)
