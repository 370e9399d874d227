"""Dequantisation: noise where values are tied."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.standardize import location_and_spread

MAX_ROWS_TO_INSPECT = 10_000  # enough to see a grid of up to 50,000 values
LARGEST = np.finfo(float).max / 4  # the difference of two such numbers is a number


class Dequantisation:
    """Noise for the columns of a table whose values are tied: a density of repeated values has no upper bound.

    A column where more than a tenth of the values are repeated gets uniform noise one grid step wide, the step being
    the median gap between neighbouring values. A constant column gets normal noise of a thousandth of its value. Scores
    are computed without noise.

    Parameters
    ----------
    uniform, normal : dict of int to float
        The width of the noise, or its standard deviation, of the columns that have any.
    """

    def __init__(self, uniform: dict[int, float], normal: dict[int, float]):
        self.uniform = uniform
        self.normal = normal

    @classmethod
    def fit(cls, X: np.ndarray, numbers: np.ndarray | None = None) -> Dequantisation:
        """Look for ties in a table.

        Parameters
        ----------
        X : ndarray of shape (n, d)
            NaN where nothing is observed.
        numbers : ndarray of shape (d,), bool, optional
            Which columns are numbers; the others stay as they are. By default all.
        """
        some = X[:: -(-len(X) // MAX_ROWS_TO_INSPECT)]  # a table may be sorted
        ordered = np.sort(np.ascontiguousarray(some.T), axis=1)  # NaN comes last, and differs from itself
        repeated = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
        tied = repeated >= 0.1 * (~np.isnan(ordered)).sum(1)
        uniform, normal = {}, {}
        for j in np.flatnonzero(tied if numbers is None else tied & numbers).tolist():
            values = ordered[j].astype(float)
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            location, spread = (float(v) for v in location_and_spread(torch.from_numpy(values)[:, None]))
            gaps = np.diff(np.clip(values, -LARGEST, LARGEST))
            wide = gaps[gaps > 1e-4 * spread] if spread else gaps[:0]
            if len(wide):
                uniform[j] = float(np.median(wide))
            else:
                normal[j] = 1e-3 * (abs(location) or 1.0)
        return cls(uniform, normal)

    def spread(self, X: np.ndarray, rng: np.random.RandomState) -> Tensor:
        """Rows in float64, with noise where the table had ties; no two calls add the same."""
        x = torch.tensor(X, dtype=torch.float64)
        for j in sorted({*self.uniform, *self.normal}):
            if j in self.uniform:
                noise = self.uniform[j] * (rng.uniform(size=len(X)) - 0.5)
            else:
                noise = self.normal[j] * rng.standard_normal(len(X))
            x[:, j] += torch.from_numpy(noise)
        most = torch.finfo(x.dtype).max
        return x.clamp_(-most, most)
