"""The table of a fit: its rows, their weights and context, and what is held out."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..preprocessing.copies import by_group, groups_of_copies
from ..preprocessing.dequantisation import dequantise
from . import hyperparameters as hp
from .data import TableSource

ROWS_AT_A_TIME = 2048


@dataclass(frozen=True)
class Fold:
    """Row numbers of a training and of a validation part, each in random order."""

    train: np.ndarray
    held_out: np.ndarray


class Table:
    """The rows of positive weight in float64; copies of each other, or rows of one group, stay together.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight, groups : ndarray of shape (n,) or None
    context : ndarray of shape (n, n_context) or None
    rng : RandomState
    dequantised : bool, default=True
        Whether ties are smoothed.
    numbers : ndarray of shape (d,), bool, optional
        Which columns are numbers, by default all; the others are codes of categories.

    Attributes
    ----------
    present : ndarray of shape (n,), bool
        The rows of positive weight; the attributes below are theirs.
    x, context : Tensor
    weight : ndarray or None
        None where all are equal.
    group : ndarray of int
    n_groups : int
    """

    def __init__(
        self,
        X: np.ndarray,
        weight: np.ndarray | None,
        groups: np.ndarray | None,
        context: np.ndarray | None,
        rng: np.random.RandomState,
        *,
        dequantised: bool = True,
        numbers: np.ndarray | None = None,
    ):
        self.present = np.ones(len(X), dtype=bool) if weight is None else weight > 0
        if not self.present.all():
            X, weight = X[self.present], weight[self.present]
            groups, context = (None if v is None else v[self.present] for v in (groups, context))
        self.x = dequantise(X, rng, numbers) if dequantised else torch.tensor(X, dtype=torch.float64)
        self.weight: np.ndarray | None = None
        if weight is not None:
            self.weigh(weight)
        self.context = None if context is None else torch.tensor(context, dtype=torch.float64)
        self.rng = rng
        self.group = groups_of_copies(np.nan_to_num(X) if context is None else np.hstack([X, context]), groups)
        self.n_groups = int(self.group.max()) + 1

    def __len__(self) -> int:
        return len(self.x)

    def weigh(self, weight: np.ndarray) -> None:
        """Multiply the weights of the rows."""
        weight = weight if self.weight is None else self.weight * weight
        self.weight = None if (weight == weight[0]).all() else weight

    @functools.cached_property
    def _by_group(self):
        return by_group(self.rng.permutation(len(self)), self.group)

    @property
    def everything(self) -> Fold:
        """All rows to train on."""
        order = self._by_group[0]
        return Fold(order, order[:0])

    def split(self, validation_fraction: float) -> list[Fold]:
        """Folds to train and validate on; all rows to train on where nothing is to be held out, or nothing can be.

        Parameters
        ----------
        validation_fraction : float
            Share of the rows in the validation part, of 50,000 rows at most; zero for none. Of a table of fewer than
            400 rows two parts of a fifth are held out, one at a time.
        """
        n, (order, first) = len(self), self._by_group
        if not validation_fraction or n < hp.MIN_ROWS_TO_SPLIT or self.n_groups <= 2:
            return [self.everything]
        n_folds = 2 if self.n_groups < hp.ROWS_TO_SPLIT_ONCE else 1
        size = max(1, round((hp.FOLD_FRACTION if n_folds > 1 else validation_fraction) * n))
        size = min(size, hp.MAX_HELD_OUT)
        begins = np.append(first, n)
        cuts = begins[np.searchsorted(begins, [i * size for i in range(n_folds + 1)])]
        # A group of most rows is learnt from, never held out.
        parts = [slice(a, b) for a, b in zip(cuts, cuts[1:]) if 0 < b - a <= n // 2]
        return [Fold(np.delete(order, part), order[part]) for part in parts] or [self.everything]

    def typical(self, index: np.ndarray) -> np.ndarray:
        """Rows drawn from ``index`` in proportion to their weights: quantiles and mixtures know no weights."""
        if self.weight is None:
            return index
        weight = self.weight[index]
        return self.rng.choice(index, len(index), p=weight / weight.sum())

    def weight_of(self, index: np.ndarray, device: torch.device) -> Tensor | None:
        """Weights of some rows with a mean of one, in single precision."""
        if self.weight is None:
            return None
        return torch.tensor(self.weight[index] / self.weight[index].mean()).float().to(device)

    @torch.no_grad()
    def embedded(self, index: np.ndarray, embedding: Bijection | None) -> Tensor | None:
        """The context of some rows as a network sees it, in single precision."""
        return None if self.context is None else embedding(self.context[index])[0].float()

    @torch.no_grad()
    def source(
        self, index: np.ndarray, preprocessing: Bijection, embedding: Bijection | None, device: torch.device
    ) -> TableSource | None:
        """Some rows on the scale of the network; None for no rows."""
        if not len(index):
            return None
        z = torch.empty(len(index), self.x.shape[1], dtype=torch.float32)
        log_abs_det = torch.empty(len(index), dtype=torch.float64)
        for rows, *out in zip(*(v.split(ROWS_AT_A_TIME) for v in (torch.from_numpy(index), z, log_abs_det))):
            for into, value in zip(out, preprocessing(self.x[rows])):
                into.copy_(value)
        if self.weight is not None:
            log_abs_det *= torch.tensor(self.weight[index] / self.weight[index].mean())
        context = self.embedded(index, embedding)
        context = None if context is None else context.to(device)
        return TableSource(z.to(device), context, self.weight_of(index, device), float(log_abs_det.mean()))
