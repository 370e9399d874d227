"""The table of a fit: its rows and weights, what is held out, and noise where values are tied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._copies import by_group, groups_of_copies
from ._training import Part
from .flows.bijection import Bijection
from .flows.preprocessing import location_and_spread

MIN_ROWS_TO_SPLIT = 10
ROWS_TO_SPLIT_ONCE = 400  # a smaller table is split twice, so that chance has less of a say
FOLD_FRACTION = 0.2
MAX_HELD_OUT = 50_000  # rows; they are scored after every pass
ROWS_AT_A_TIME = 2048
MAX_ROWS_TO_INSPECT = 10_000  # enough to see a grid of up to 50,000 values
LARGEST = np.finfo(float).max / 4  # the difference of two such numbers is a number


@dataclass(frozen=True)
class Fold:
    """Row numbers of a training and of a validation part, each in random order."""

    train: np.ndarray
    held_out: np.ndarray


class Rows:
    """The rows of positive weight in float64, ties smoothed, and their folds.

    Rows that are copies of each other, or belong to one group, lie on one side of every split.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight, groups : ndarray of shape (n,) or None
    validation_fraction : float
        Share of the rows in a validation part, of 50,000 rows at most; zero for none. Of a table of fewer than 400 rows
        two parts of a fifth are held out, one at a time.
    rng : RandomState
    """

    def __init__(
        self,
        X: np.ndarray,
        weight: np.ndarray | None,
        groups: np.ndarray | None,
        validation_fraction: float,
        rng: np.random.RandomState,
    ):
        if weight is not None:
            present = weight > 0
            X, weight, groups = X[present], weight[present], None if groups is None else groups[present]
            weight = None if (weight == weight[0]).all() else weight
        self.x = smooth_ties(X, rng)
        self.weight = weight
        self.rng = rng
        n = len(X)
        group = groups_of_copies(X, groups)
        order, first = by_group(rng.permutation(n), group)
        self.everything = Fold(order, order[:0])
        self.folds = [self.everything]
        self.n_groups = len(first)
        if validation_fraction and n >= MIN_ROWS_TO_SPLIT and self.n_groups > 2:
            n_folds = 2 if self.n_groups < ROWS_TO_SPLIT_ONCE else 1
            size = max(1, round((FOLD_FRACTION if n_folds > 1 else validation_fraction) * n))
            size = min(size, MAX_HELD_OUT)
            begins = np.append(first, n)
            cuts = begins[np.searchsorted(begins, [i * size for i in range(n_folds + 1)])]
            # A group of most rows is learnt from, never held out.
            parts = [slice(a, b) for a, b in zip(cuts, cuts[1:]) if 0 < b - a <= n // 2]
            self.folds = [Fold(np.delete(order, part), order[part]) for part in parts] or self.folds

    def typical(self, index: np.ndarray) -> np.ndarray:
        """Rows drawn from ``index`` in proportion to their weights: quantiles and mixtures know no weights."""
        if self.weight is None:
            return index
        weight = self.weight[index]
        return self.rng.choice(index, len(index), p=weight / weight.sum())

    @torch.no_grad()
    def part(self, index: np.ndarray, preprocessing: Bijection, device: torch.device) -> Part | None:
        """Some rows on the scale of the network; None for no rows."""
        if not len(index):
            return None
        z = torch.empty(len(index), self.x.shape[1], dtype=torch.float32)
        log_abs_det = torch.empty(len(index), dtype=torch.float64)
        for rows, *out in zip(*(v.split(ROWS_AT_A_TIME) for v in (torch.from_numpy(index), z, log_abs_det))):
            for into, value in zip(out, preprocessing(self.x[rows])):
                into.copy_(value)
        if self.weight is None:
            return Part(z.to(device), None, float(log_abs_det.mean()))
        weight = torch.tensor(self.weight[index] / self.weight[index].mean())
        return Part(z.to(device), weight.float().to(device), float((log_abs_det * weight).mean()))


def smooth_ties(X: np.ndarray, rng: np.random.RandomState) -> Tensor:
    """The rows in float64, tied values spread over their grid: a density of repeated values has no upper bound.

    A column where more than a tenth of the values are repeated gets uniform noise one grid step wide, the step being
    the median gap between neighbouring values. A constant column gets normal noise of a thousandth of its value. Scores
    are computed without noise.
    """
    some = X[:: -(-len(X) // MAX_ROWS_TO_INSPECT)]  # a table may be sorted
    ordered = np.sort(np.ascontiguousarray(some.T), axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
    x = torch.tensor(X, dtype=torch.float64)
    for j in np.flatnonzero(repeated >= 0.1 * ordered.shape[1]):
        values = ordered[j].astype(float)
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
