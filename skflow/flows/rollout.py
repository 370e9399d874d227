"""A masked network evaluated feature by feature: how autoregressive flows run in their sequential direction."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


class Rollout:
    """Evaluates a masked network one feature at a time, in the work of a single pass.

    Units are sorted by degree, so the parameters of feature i need only the hidden units of degree up to i, and of
    those only the ones of degree i have not been computed before.

    Parameters
    ----------
    affines : list of Tensor
        Of every layer the masked weights, behind the bias.
    counts : list of list of int
        See `skflow.flows.degrees.counts_by_degree`.
    n_params : int
    like : Tensor of shape (t, n_features, n)
        As the features to come.
    context : Tensor of shape (t, n_context, n) or None
    """

    def __init__(
        self, affines: list[Tensor], counts: list[list[int]], n_params: int, like: Tensor, context: Tensor | None
    ):
        t, d, n = like.shape
        inputs = [like.new_empty(t, affine.shape[1], n) for affine in affines]
        for h in inputs:
            h[:, 0] = 1
        if context is not None:
            inputs[0][:, 1:-d] = context
        self._features = inputs[0][:, -d:]
        self._rows = self._features.unbind(1)
        seen = [list(itertools.accumulate(count, initial=1))[1:] for count in counts]
        sizes = [*counts[1:], [n_params] * d]
        units = [h[:, 1:].split(size, 1) for h, size in zip(inputs[1:], sizes)]
        scratch = {size: like.new_empty(t, size, n) for size in {size for some in sizes for size in some}}
        pieces = [affine.expand(t, -1, -1).split(size, 1) for affine, size in zip(affines, sizes)]
        self._steps = [
            [
                (a[i][:, :, : k[i]], h[:, : k[i]], scratch[a[i].shape[1]], u[i] if u else None)
                for a, k, h, u in zip(pieces, seen, inputs, [*units, None])
                if a[i].shape[1]
            ]
            for i in range(d)
        ]

    def params(self, i: int) -> Tensor:
        """Parameters of feature i (counted from zero), shape (n_params, t, n); features before i are known.

        The next call writes over them.
        """
        for a, b, out, units in self._steps[i]:
            torch.bmm(a, b, out=out)
            if units is not None:
                torch.clamp_min(out, 0, out=units)
        return out.transpose(0, 1)

    def append(self, i: int, x: Tensor) -> None:
        """Tell the values of feature i, shape (t, n)."""
        self._rows[i].copy_(x)

    def features(self) -> Tensor:
        """All features, shape (t, n_features, n)."""
        return self._features


class GraphRollout:
    """`Rollout` where gradients must flow through: rows are concatenated instead of written."""

    def __init__(self, affines, counts, n_params, like, context):
        self.n_features, self.n_params, self.affines = like.shape[1], n_params, affines
        self.rows = [like.new_ones(len(like), 1, like.shape[2]) for _ in affines]
        if context is not None:
            self.rows[0] = torch.cat([self.rows[0], context], 1)
        # starts[l][i]: the number of units of layer l with a degree below i
        self.starts = [list(itertools.accumulate(count, initial=0)) for count in counts]

    def params(self, i):
        for level in range(1, len(self.rows)):
            first, last = self.starts[level][i], self.starts[level][i + 1]
            if last > first:
                n_seen = 1 + self.starts[level - 1][i + 1]
                units = torch.relu(self.affines[level - 1][first:last, :n_seen] @ self.rows[level - 1][:, :n_seen])
                self.rows[level] = torch.cat([self.rows[level], units], 1)
        n_seen, p = 1 + self.starts[-1][i + 1], self.n_params
        return (self.affines[-1][i * p : (i + 1) * p, :n_seen] @ self.rows[-1][:, :n_seen]).transpose(0, 1)

    def append(self, i, x):
        self.rows[0] = torch.cat([self.rows[0], x[:, None]], 1)

    def features(self):
        return self.rows[0][:, self.rows[0].shape[1] - self.n_features :]
