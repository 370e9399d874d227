"""Boosted regression trees, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_LEAVES = 31  # of a tree: as many as a 32-bit integer has bits beside its sign
TREES_AT_A_TIME = 128  # whose tables stay in the cache
ROWS_AT_A_TIME = 1024


class Tree(NamedTuple):
    """A tree by its nodes, the root first: rows of ``x[feature] <= threshold`` go to the left.

    Attributes
    ----------
    feature, threshold, value : ndarray of shape (n_nodes,)
    left, right : ndarray of shape (n_nodes,), int
        The numbers of the children; negative at a leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


class BoostedTrees(nn.Module):
    """``y = b + sum_t v_t[leaf of x in tree t]`` (Friedman 2001, eq. 18).

    No tree is walked through (QuickScorer, Lucchese et al. 2015, algorithm 1). The leaves of a tree are numbered from
    left to right, and a node whose test fails rules out those on its left, an interval; what is left of a bit for every
    leaf has the leaf of the row as its lowest. Of the nodes of one feature those fail whose thresholds lie below the
    number: the first ones by threshold, so that one search finds what they rule out in all trees.

    Parameters
    ----------
    tree, feature : Tensor of shape (n_nodes,), int
        Of every node that tests: the number of its tree, and the feature.
    threshold : Tensor of shape (n_nodes,)
    ruled_out : Tensor of shape (n_nodes, 2), int
        The first of the leaves on its left, and the one behind the last.
    value : Tensor of shape (n_trees, n_leaves)
        Of the leaves, from left to right; trees of fewer leaves end with zeros.
    intercept : Tensor of shape ()
        The b.
    """

    def __init__(
        self, tree: Tensor, feature: Tensor, threshold: Tensor, ruled_out: Tensor, value: Tensor, intercept: Tensor
    ):
        super().__init__()
        self.register_buffer("tree", tree)
        self.register_buffer("feature", feature)
        self.register_buffer("threshold", threshold)
        self.register_buffer("ruled_out", ruled_out)
        self.register_buffer("value", value)
        self.register_buffer("intercept", intercept)

    @classmethod
    def of(cls, trees: Iterable[Tree], intercept: float) -> BoostedTrees:
        """From trees by their nodes.

        Raises
        ------
        ValueError
            For a tree of more than 31 leaves.
        """
        nodes, values = [], []
        for number, tree in enumerate(trees):
            leaves: list[int] = []
            for node, first, stop in _in_order(tree, leaves):
                nodes.append((number, tree.feature[node], tree.threshold[node], first, stop))
            if len(leaves) > MAX_LEAVES:
                raise ValueError(f"A tree has {len(leaves)} leaves; at most {MAX_LEAVES} can be evaluated.")
            values.append(tree.value[leaves])
        most = max(map(len, values))
        table = np.array(nodes, dtype=float).reshape(-1, 5)
        numbers = torch.from_numpy(table[:, [0, 1, 3, 4]].astype(np.int64))
        return cls(
            numbers[:, 0].contiguous(),
            numbers[:, 1].contiguous(),
            torch.tensor(table[:, 2]),
            numbers[:, 2:].contiguous(),
            torch.tensor(np.array([np.pad(value, (0, most - len(value))) for value in values], dtype=float)),
            torch.tensor(intercept, dtype=torch.float64),
        )

    @classmethod
    def mean(cls, models: Sequence[BoostedTrees]) -> BoostedTrees:
        """The one that gives the mean of what several give: all of their trees."""
        starts = np.cumsum([0, *(len(model.value) for model in models[:-1])]).tolist()
        most = max(model.value.shape[1] for model in models)
        return cls(
            torch.cat([model.tree + start for model, start in zip(models, starts)]),
            torch.cat([model.feature for model in models]),
            torch.cat([model.threshold for model in models]),
            torch.cat([model.ruled_out for model in models]),
            torch.cat([F.pad(model.value, (0, most - model.value.shape[1])) for model in models]) / len(models),
            torch.stack([model.intercept for model in models]).mean(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The mean of y given rows ``x`` (n, p); shape (n,)."""
        columns = x.t().contiguous()
        out = self.intercept.repeat(len(x))
        n_trees, n_leaves = self.value.shape
        for start in range(0, n_trees, TREES_AT_A_TIME):
            value = self.value[start : start + TREES_AT_A_TIME]
            first_leaf = torch.arange(len(value)) * n_leaves
            tables = self._tables(columns, start, len(value))
            for i in range(0, len(x), ROWS_AT_A_TIME):
                left = torch.full((len(x[i : i + ROWS_AT_A_TIME]), len(value)), -1, dtype=torch.int32)
                for rank, table in tables:
                    left &= table[rank[i : i + ROWS_AT_A_TIME]]
                lowest = (left & -left).float().view(torch.int32).bitwise_right_shift(23) - 127  # by its exponent
                out[i : i + ROWS_AT_A_TIME] += value.take(lowest + first_leaf).sum(1)
        return out

    def _tables(self, columns, start, n):
        """For every feature: how many thresholds each row exceeds, and what so many rule out in each of some trees."""
        of_trees = (self.tree >= start) & (self.tree < start + n)
        tree, feature, threshold = (v[of_trees] for v in (self.tree - start, self.feature, self.threshold))
        first, stop = self.ruled_out[of_trees].t()
        keeps = (~((1 << stop) - (1 << first))).int()
        tables = []
        for j in feature.unique().tolist():
            own = (feature == j).nonzero()[:, 0]
            order = own[threshold[own].argsort()]
            table = np.full((len(order) + 1, n), -1, dtype=np.int32)
            table[np.arange(1, len(order) + 1), tree[order].numpy()] = keeps[order].numpy()
            np.bitwise_and.accumulate(table, axis=0, out=table)
            rank = torch.searchsorted(threshold[order], columns[j])
            tables.append((rank, torch.from_numpy(table)))
        return tables


def _in_order(tree, leaves):
    """Every node that tests, with the first of the leaves on its left and the one behind the last."""
    found = []

    def visit(node):
        if tree.left[node] < 0:
            leaves.append(node)
            return
        first = len(leaves)
        visit(tree.left[node])
        found.append((node, first, len(leaves)))
        visit(tree.right[node])

    visit(0)
    return found
