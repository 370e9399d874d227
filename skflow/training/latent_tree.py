"""Fits latent trees by expectation-maximisation: their structure, their start, and when they have learnt enough."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..flows.distributions.latent_tree import LatentTree
from . import hyperparameters as hp


class TreeFitting:
    """Trees of one table, NaN where nothing is observed.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        Numbers with a spread of about one, and codes of categories.
    n_categories : ndarray of shape (d,), int
        Zero for numbers.
    weight : Tensor of shape (n,) or None
    rng : RandomState
    """

    def __init__(self, z: Tensor, n_categories: np.ndarray, weight: Tensor | None, rng: np.random.RandomState):
        self.z, self.n_categories, self.rng = z, n_categories, rng
        self.weight = torch.ones(len(z), dtype=z.dtype) if weight is None else weight
        some = z[: hp.TREE_ROWS_TO_COMPARE].numpy()
        self._classes = [_classes(column, size) for column, size in zip(some.T, n_categories)]
        self.parent = chow_liu_parents(self._classes)
        self._frequencies = [self._frequency(j) for j in range(len(n_categories)) if n_categories[j]]
        observed = torch.stack(
            [self.weight[~z[:, j].isnan()].sum() for j in range(z.shape[1]) if n_categories[j]] or [z.new_zeros(())]
        )
        self._unseen = hp.UNSEEN_ROWS / (observed + 1) if self._frequencies else z.new_empty(0)

    def _frequency(self, j):
        rows = ~self.z[:, j].isnan()
        size = int(self.n_categories[j])
        count = torch.bincount(self.z[rows, j].long(), self.weight[rows], minlength=size)
        return (count + hp.PSEUDO_COUNT) / (count.sum() + hp.PSEUDO_COUNT * size)

    def start(self, n_states: int, kind: str) -> LatentTree:
        """A tree whose states begin as "classes" of rows, or as "values" of every column by itself."""
        if kind == "classes":
            return self._from_classes(n_states)
        return self._from_values(n_states)

    def _from_values(self, k):
        n = min(len(self.z), hp.TREE_ROWS_TO_COMPARE)
        shares = []
        for j, size in enumerate(self.n_categories):
            state = _states(self.z[:n, j].numpy(), int(size), k, self.rng)
            shares.append(_softened(state, k))
        weight = self.weight[:n, None]
        transition = torch.stack(
            [(weight * shares[j if p < 0 else p]).t() @ shares[j] for j, p in enumerate(self.parent)]
        )
        return self._maximised(self.z[:n], self.weight[:n], shares, transition)

    def _from_classes(self, k):
        from sklearn.cluster import KMeans

        n = min(len(self.z), hp.TREE_ROWS_TO_COMPARE)
        columns = []
        for j, size in enumerate(self.n_categories):
            v = self.z[:n, j].numpy()
            columns.append(v[:, None] == np.arange(size) if size else np.nan_to_num(v)[:, None])
        rows = np.hstack(columns).astype(float)
        k_means = KMeans(min(k, n), n_init=1, max_iter=50, random_state=self.rng.randint(2**31 - 1))
        share = _softened(k_means.fit_predict(rows), k)
        total = (self.weight[:n, None] * share).sum(0)
        near = torch.diag(total) + hp.SOFTNESS * total[:, None] * total / total.sum()
        d = len(self.n_categories)
        return self._maximised(self.z[:n], self.weight[:n], [share] * d, near.expand(d, k, k))

    def _maximised(self, z, weight, shares, transition):
        statistics = _Statistics(len(shares[0][0]), self.n_categories, z)
        statistics.add_leaves(z, weight, shares)
        statistics.transition += transition
        root = self.parent.index(-1)
        statistics.root += (weight[:, None] * shares[root]).sum(0)
        return self._tree(statistics)

    def _tree(self, s):
        """The tree of greatest posterior probability, given expected counts."""
        k = len(s.root)
        root = s.root + hp.PSEUDO_COUNT_OF_STATES / k
        s.transition[self.parent.index(-1)] = 1.0  # is not used
        marginal = s.transition.sum(1, keepdim=True)
        transition = s.transition + hp.PSEUDO_COUNT_OF_STATES * marginal / marginal.sum(2, keepdim=True)
        mean_of_all = s.first.sum(1, keepdim=True) / s.count.sum(1, keepdim=True).clamp_min(1e-9)
        mean = (s.first + hp.PSEUDO_COUNT_OF_MEAN * mean_of_all) / (s.count + hp.PSEUDO_COUNT_OF_MEAN)
        scatter = (s.second - 2 * mean * s.first + mean**2 * s.count).clamp_min(0)
        variance = (scatter + hp.PSEUDO_COUNT_OF_VARIANCE * hp.PRIOR_VARIANCE) / (s.count + hp.PSEUDO_COUNT_OF_VARIANCE)
        categories = [
            count + hp.PSEUDO_COUNT_OF_CATEGORIES * frequency[:, None]
            for count, frequency in zip(s.categories, self._frequencies)
        ]
        logs = [(c / c.sum(0)).log() for c in categories]
        tree = LatentTree(
            torch.tensor(self.parent),
            torch.from_numpy(self.n_categories),
            (root / root.sum()).log(),
            (transition / transition.sum(2, keepdim=True)).log(),
            mean,
            0.5 * variance.log(),
            torch.cat(logs) if logs else mean.new_empty(0, k),
            self._unseen,
        )
        return tree.requires_grad_(False)

    def improved(self, tree: LatentTree) -> LatentTree:
        """After one more step of expectation and maximisation (Dempster, Laird & Rubin 1977)."""
        statistics = _Statistics(len(tree.root_logits), self.n_categories, self.z)
        for z, weight in zip(self.z.split(hp.TREE_ROWS_AT_A_TIME), self.weight.split(hp.TREE_ROWS_AT_A_TIME)):
            _, below, passed = tree.messages(z)
            statistics.add_expected(tree, z, weight, below, passed)
        return self._tree(statistics)

    def fit(self, n_states: int, kind: str, n_iter: int) -> LatentTree:
        """From the start through a given number of steps."""
        tree = self.start(n_states, kind)
        for _ in range(n_iter):
            tree = self.improved(tree)
        return tree

    def fit_until_best(self, n_states: int, kind: str, held_out: Tensor) -> tuple[LatentTree, int]:
        """The tree of greatest likelihood on rows held out, and after how many steps it was reached."""
        tree = self.start(n_states, kind)
        best, best_score, best_iter = tree, float(tree.log_prob(held_out).mean()), 0
        for i in range(1, hp.TREE_MAX_ITER + 1):
            tree = self.improved(tree)
            if i % hp.TREE_ITER_TO_CHECK:
                continue
            score = float(tree.log_prob(held_out).mean())
            if score > best_score + hp.TREE_TOL:
                best, best_score, best_iter = tree, score, i
            elif i - best_iter >= hp.TREE_PATIENCE:
                break
        return best, best_iter


class _Statistics:
    """Expected counts and moments of every state of every column."""

    def __init__(self, k, n_categories, like):
        p = int((n_categories == 0).sum())
        self.n_categories = n_categories
        self.root = like.new_zeros(k)
        self.transition = like.new_zeros(len(n_categories), k, k)
        self.count, self.first, self.second = like.new_zeros(3, p, k)
        self.categories = [like.new_zeros(size, k) for size in n_categories.tolist() if size]

    def add_leaves(self, z, weight, shares):
        number = category = 0
        for j, size in enumerate(self.n_categories):
            rows = (~z[:, j].isnan()).nonzero()[:, 0]
            share, v = weight[rows, None] * shares[j][rows], z[rows, j]
            if size:
                self.categories[category].index_add_(0, v.long(), share)
                category += 1
            else:
                self.count[number] += share.sum(0)
                self.first[number] += v @ share
                self.second[number] += v**2 @ share
                number += 1

    def add_expected(self, tree, z, weight, below, passed):
        shares: list[Tensor | None] = [None] * len(below)
        transitions = tree.log_transition.exp()
        for j in tree.order:
            most = below[j].amax(1, keepdim=True)
            likelihood = (below[j] - most).exp()
            p = int(tree.parent[j])
            if p < 0:
                shares[j] = torch.softmax(below[j] + tree.log_root, 1)
                self.root += weight @ shares[j]
                continue
            transition = transitions[j]
            reached = shares[p] / (passed[j] - most).exp()
            self.transition[j] += transition * ((weight[:, None] * reached).t() @ likelihood)
            shares[j] = likelihood * (reached @ transition)
        self.add_leaves(z, weight, shares)


def _classes(column, size):
    """The values of a category, or of a number which tenth it lies in; -1 where nothing is observed."""
    observed = ~np.isnan(column)
    out = np.full(len(column), -1)
    if size:
        out[observed] = column[observed]
    elif observed.any():
        edges = np.unique(np.quantile(column[observed], np.linspace(0, 1, hp.TREE_CLASSES + 1)[1:-1]))
        out[observed] = np.searchsorted(edges, column[observed], "right")
    return out


def chow_liu_parents(classes: list[np.ndarray]) -> list[int]:
    """The parent of every column in a tree of greatest mutual information (Chow & Liu 1968); -1 for the root.

    Parameters
    ----------
    classes : list of d ndarray of shape (n,), int
        Values of every column; -1 where nothing is observed.
    """
    d = len(classes)
    indicators = [(c[:, None] == np.arange(c.max() + 1)).astype(np.float32) for c in classes]
    information = np.zeros((d, d))
    for i in range(d):
        for j in range(i):
            information[i, j] = information[j, i] = _mutual_information(indicators[i].T @ indicators[j])
    parent = np.full(d, -1)
    root = int(information.sum(1).argmax())
    best, near = information[root].copy(), np.full(d, root)
    outside = np.arange(d) != root
    while outside.any():  # Prim's algorithm
        j = int(np.where(outside, best, -np.inf).argmax())
        parent[j], outside[j] = near[j], False
        closer = outside & (information[j] > best)
        best[closer], near[closer] = information[j][closer], j
    return parent.tolist()


def _mutual_information(count):
    """In nats, less what independent columns would show on the average (Miller 1955)."""
    n = count.sum(dtype=float)
    if n < 1:
        return 0.0
    joint = count / n
    a, b = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    some = joint > 0
    information = float((joint[some] * np.log(joint[some] / (a * b)[some])).sum())
    return information - ((a > 0).sum() - 1) * ((b > 0).sum() - 1) / (2 * n)


def _states(column, size, k, rng):
    """A state for every value: a category has one or several, or a rare one shares its state with others."""
    observed = ~np.isnan(column)
    out = np.full(len(column), -1)
    v = column[observed]
    if not len(v):
        return out
    if not size:
        out[observed] = np.searchsorted(np.quantile(v, np.linspace(0, 1, k + 1)[1:-1]), v, "right")
        return out
    v = v.astype(int)
    frequency = np.bincount(v, minlength=size).astype(float)
    if size >= k:
        rank = np.argsort(np.argsort(-frequency, kind="stable"), kind="stable")
        out[observed] = np.minimum(rank, k - 1)[v]
        return out
    n_states = np.ones(size, int)
    for _ in range(k - size):
        n_states[np.argmax(frequency / n_states)] += 1
    first = np.concatenate([[0], n_states.cumsum()[:-1]])
    out[observed] = first[v] + (rng.uniform(size=len(v)) * n_states[v]).astype(int)
    return out


def _softened(state, k):
    """Shares of the states, most of it for the given one; all alike where there is none."""
    share = torch.full((len(state), k), hp.SOFTNESS / k, dtype=torch.float64)
    known = np.flatnonzero(state >= 0)
    share[known, state[known]] += 1 - hp.SOFTNESS
    share[np.flatnonzero(state < 0)] = 1 / k
    return share
