"""Latent trees: a hidden state for every column, and the states in a tree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .distribution import LOG_2PI, Distribution

ROWS_TO_DRAW = 65_536  # at a time


class LatentTree(Distribution):
    """A density of numbers and categories whose every marginal and conditional is known in closed form.

    Column j has a hidden state ``h_j`` of K values; the states form a tree, and given its state a column is normal or
    categorical and independent of all others::

        p(x) = sum over h of p(h_root) prod_j p(h_j | h_parent(j)) p(x_j | h_j)

    It has both a latent class model (all states equal) and the tree of Chow & Liu (1968; states that are the columns'
    own values) as special cases [1]_. Sums over states run from the leaves to the root [2]_. NaN stands for what has
    not been observed: it is summed out, exactly.

    A category that is no known one counts with the probability ``unseen`` of its column, whatever the others are.

    Parameters
    ----------
    parent : Tensor of shape (d,), int
        Of every column; -1 for the root.
    n_categories : Tensor of shape (d,), int
        Zero for numbers; the values of a category are 0, 1, ..., and every other value an unknown one.
    root_logits : Tensor of shape (K,)
        As all logits, up to a constant for each distribution.
    transition_logits : Tensor of shape (d, K, K)
        From the parent's state (rows) to the column's own; what stands for the root is not used.
    means, log_deviations : Tensor of shape (p, K)
        Of the numbers, in the order of their columns.
    category_logits : Tensor of shape (C, K)
        Of all known categories of all columns, one after the other.
    unseen : Tensor of shape (q,)

    References
    ----------
    .. [1] Zhang, "Hierarchical Latent Class Models for Cluster Analysis", JMLR 5 (2004); Liu & Van den Broeck,
       "Tractable Regularization of Probabilistic Circuits", NeurIPS 2021, section 6 (hidden Chow-Liu trees).
    .. [2] Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, section 4.2.
    """

    def __init__(
        self,
        parent: Tensor,
        n_categories: Tensor,
        root_logits: Tensor,
        transition_logits: Tensor,
        means: Tensor,
        log_deviations: Tensor,
        category_logits: Tensor,
        unseen: Tensor,
    ):
        super().__init__()
        self.register_buffer("parent", parent)
        self.register_buffer("n_categories", n_categories)
        self.register_buffer("unseen", unseen)
        self.root_logits = nn.Parameter(root_logits)
        self.transition_logits = nn.Parameter(transition_logits)
        self.means = nn.Parameter(means)
        self.log_deviations = nn.Parameter(log_deviations)
        self.category_logits = nn.Parameter(category_logits)
        self.order = _from_the_root(parent.tolist())
        self._sizes = n_categories.tolist()

    def n_idle(self) -> int:
        """Number of entries that are not free: those of the root's transition, and one of every distribution's."""
        d, k = len(self.parent), len(self.root_logits)
        n_columns = sum(size > 0 for size in self._sizes)
        return k * k + (d - 1) * k + 1 + n_columns * k

    @property
    def log_root(self) -> Tensor:
        """Log-probabilities of the root's states, shape (K,)."""
        return torch.log_softmax(self.root_logits, 0)

    @property
    def log_transition(self) -> Tensor:
        """Log-probabilities of every column's states given those of its parent, shape (d, K, K)."""
        return torch.log_softmax(self.transition_logits, 2)

    def _log_categories(self) -> list[Tensor]:
        """Log-probabilities of every column's categories given its state, (size, K) each."""
        sizes = [size for size in self._sizes if size]
        return [torch.log_softmax(logits, 0) for logits in self.category_logits.split(sizes)] if sizes else []

    def leaves(self, x: Tensor) -> list[Tensor]:
        """Log-density of every column given each of its states, (n, K) each; zero where nothing is observed."""
        leaves: list[Tensor] = []
        log_categories = self._log_categories()
        number = category = 0
        for j, size in enumerate(self._sizes):
            v = x[:, j, None]
            if size:
                code = torch.where((v >= 0) & (v < size), v, 0.0).long()[:, 0]
                unseen = self.unseen[category]
                known = torch.log1p(-unseen) + log_categories[category][code]
                leaf = torch.where(v == code[:, None], known, unseen.log())
                category += 1
            else:
                z = (torch.nan_to_num(v) - self.means[number]) * torch.exp(-self.log_deviations[number])
                leaf = -0.5 * z * z - self.log_deviations[number] - 0.5 * LOG_2PI
                number += 1
            leaves.append(torch.where(v.isnan(), 0.0, leaf))
        return leaves

    def messages(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:
        """From the leaves to the root.

        Returns
        -------
        log_prob : Tensor of shape (n,)
        below : list of Tensor of shape (n, K)
            For every column the log-density of what is at or below it in the tree, given each of its states.
        passed : list of Tensor of shape (n, K)
            The same given each state of its parent; None for the root.
        """
        below: list[Tensor] = self.leaves(x)
        passed: list[Tensor | None] = [None] * len(below)
        transition = self.log_transition.exp()
        for j in self.order[:0:-1]:
            most = below[j].amax(1, keepdim=True)
            passed[j] = ((below[j] - most).exp() @ transition[j].t()).log() + most
            below[int(self.parent[j])] = below[int(self.parent[j])] + passed[j]
        return torch.logsumexp(below[self.order[0]] + self.log_root, 1), below, passed

    def log_prob(self, x, context=None):
        return self.messages(x)[0]

    def sample(self, n, context=None, generator=None):
        like = self.root_logits
        parts = []
        for begin in range(0, n, ROWS_TO_DRAW):
            shape = min(ROWS_TO_DRAW, n - begin), len(self.parent), 2
            noise = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device)
            parts.append(self.fill(torch.full(shape[:2], torch.nan).to(like), noise))
        return torch.cat(parts)

    @torch.no_grad()
    def fill(self, x: Tensor, noise: Tensor, row: Tensor | None = None) -> Tensor:
        """Draw what is NaN in rows from its distribution given the rest of the row.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        noise : Tensor of shape (m, d, 2)
            Uniform numbers, for the state and the value of every column.
        row : Tensor of shape (m,), int, optional
            Which row each of the m draws completes; by default one each.

        Returns
        -------
        Tensor of shape (m, d)
        """
        below = self.messages(x)[1]
        rows = slice(None) if row is None else row
        state: list[Tensor | None] = [None] * len(below)
        log_transition, log_categories = self.log_transition, self._log_categories()
        for j in self.order:
            p = int(self.parent[j])
            prior = self.log_root if p < 0 else log_transition[j][state[p]]
            state[j] = _drawn(below[j][rows] + prior, noise[:, j, 0])
        filled = x[rows].clone()
        number = category = 0
        for j, size in enumerate(self._sizes):
            hole = filled[:, j].isnan().nonzero()[:, 0]
            h, u = state[j][hole], noise[hole, j, 1]
            if size:
                filled[hole, j] = _drawn(log_categories[category].t()[h], u).to(filled)
                category += 1
            else:
                deviation = self.log_deviations[number][h].exp()
                filled[hole, j] = self.means[number][h] + deviation * torch.special.ndtri(u)
                number += 1
        return filled


def _from_the_root(parent):
    """Columns in an order in which none comes before its parent."""
    order = [parent.index(-1)]
    for i in order:
        order.extend(j for j, p in enumerate(parent) if p == i)
    return order


def _drawn(logits, uniform):
    """A category for every row, by the inverse of its distribution function."""
    cumulative = torch.softmax(logits, 1).cumsum(1)
    return (uniform[:, None] * cumulative[:, -1:] > cumulative).sum(1).clamp_max(logits.shape[1] - 1)
