"""Sylvester layers, with an exact inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..univariate.univariate import soft_clip
from .bijection import Bijection
from .linear import orthonormal
from .parameters import ContextParameters, Scalar, positive_slope, start_of_zeros


class Sylvester(Bijection):
    """``z = x + Q R tanh(S Q^T x + b)`` with orthonormal Q and triangular R, S (van den Berg et al. 2018, eq. 13).

    The m columns of Q are a product of Householder reflections. R and S are upper triangular with ``R_ii S_ii > -1``,
    so the map is invertible (their theorem 2): with y = Q^T x the inverse finds y_m, ..., y_1 in turn, each from a
    scalar equation like the planar flow's.

    Parameters
    ----------
    n_features, n_context : int
    hidden_layer_sizes : sequence of int
        Of the network on the context.
    n_columns : int, optional
        m; the number of features by default, at most 16.
    """

    max_log_diagonal = 3.0

    def __init__(
        self,
        n_features: int,
        n_context: int = 0,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        n_columns: int | None = None,
    ):
        super().__init__()
        self.n_features = n_features
        self.n_columns = m = min(n_features, n_columns or 16)
        self.sizes = (n_features * m, m * m, m * m, m, m)
        start = start_of_zeros(sum(self.sizes))
        start[: n_features * m] = torch.randn(n_features * m, dtype=torch.float32)
        start[-m:] = torch.randn(m, dtype=torch.float32)
        self.parameters_ = ContextParameters(start, n_context, hidden_layer_sizes)

    def n_idle(self) -> int:
        """Number of entries of the free parameters with no effect: above the diagonal of Q, below those of R and S."""
        m = self.n_columns
        return m * (m + 1) + m * (m - 1) // 2

    def _maps(self, context):
        m = self.n_columns
        raw = self.parameters_(context).t()  # rows: one, or one for every row of the context
        q, r, s, slopes, b = raw.split(self.sizes, 1)
        q = orthonormal(q.reshape(-1, self.n_features, m))
        slopes = positive_slope(slopes)
        diagonal = soft_clip(s.reshape(-1, m, m).diagonal(dim1=1, dim2=2), self.max_log_diagonal).exp()
        r = torch.triu(r.reshape(-1, m, m), 1) + torch.diag_embed((slopes - 1) / diagonal)
        s = torch.triu(s.reshape(-1, m, m), 1) + torch.diag_embed(diagonal)
        return q, r, s, slopes, b

    def forward(self, x, context=None):
        q, r, s, slopes, b = self._maps(context)
        p = _product(s, _product(q.mT, x)) + b
        log_abs_det = Scalar(slopes)(p)[1].sum(1)
        return x + _product(q, _product(r, torch.tanh(p))), log_abs_det

    def inverse(self, z, context=None):
        q, r, s, slopes, b = self._maps(context)
        target = _product(q.mT, z)
        y: list[Tensor] = []
        h: list[Tensor] = []
        log_abs_det = z.new_zeros(len(z))
        # y_i + R_ii tanh(p_i) = target_i - sum_(j>i) R_ij tanh(p_j), where p_i = S_ii y_i + sum_(j>i) S_ij y_j + b_i
        for i in reversed(range(self.n_columns)):
            t, known = target[:, i], b[:, i].expand(len(z))
            if y:
                t = t - (r[:, i, i + 1 :] * torch.stack(h, 1)).sum(1)
                known = known + (s[:, i, i + 1 :] * torch.stack(y, 1)).sum(1)
            p, log_slope = Scalar(slopes[:, i]).solve(s[:, i, i] * t + known)
            h.insert(0, torch.tanh(p))
            y.insert(0, t - r[:, i, i] * h[0])
            log_abs_det = log_abs_det - log_slope
        return z - _product(q, _product(r, torch.stack(h, 1))), log_abs_det


def _product(matrix, rows):
    """Matrix times every row; one matrix for all, shape (1, a, b), or one a row, (n, a, b)."""
    if len(matrix) == 1:
        return rows @ matrix[0].mT
    return torch.einsum("nab,nb->na", matrix, rows)
