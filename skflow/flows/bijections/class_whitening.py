"""An affine map for every class, each of which makes its class white."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .bijection import Bijection


class ClassWhitening(Bijection):
    """``z = P_c (x - m_c)`` for rows of class c, which the context says one-hot.

    Parameters
    ----------
    means : Tensor of shape (C, d)
    precision_factors : Tensor of shape (C, d, d) or (1, d, d)
        The lower-triangular P_c with positive diagonals; one for all classes where there is one.
    """

    def __init__(self, means: Tensor, precision_factors: Tensor):
        super().__init__()
        self.register_buffer("means", means)
        # By rows in memory, on which the rounding of a product depends: as a copy or a file has it.
        self.register_buffer("precision_factors", precision_factors.contiguous())

    def forward(self, x, context=None):
        def whiten(rows, mean, factor):
            return (rows - mean) @ factor.t()

        return self._by_class(whiten, x, context), self._log_abs_det(x, context)

    def inverse(self, z, context=None):
        def colour(rows, mean, factor):
            return torch.linalg.solve_triangular(factor, rows.t(), upper=False).t() + mean

        return self._by_class(colour, z, context), -self._log_abs_det(z, context)

    def _log_abs_det(self, x, context):
        log_scale = self.precision_factors.diagonal(dim1=1, dim2=2).log().sum(1).expand(len(self.means))
        return log_scale.to(x.dtype)[context.argmax(1)]

    def _by_class(self, function: Callable[[Tensor, Tensor, Tensor], Tensor], rows, context):
        label = context.argmax(1)
        factors = self.precision_factors.expand(len(self.means), -1, -1)
        out = torch.zeros_like(rows)
        for c in label.unique().tolist():
            own = (label == c).nonzero()[:, 0]
            out = out.index_copy(0, own, function(rows[own], self.means[c], factors[c]))
        return out
