"""Every column through a bijection of its own; what is not observed stays so."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .bijection import Bijection


class Columnwise(Bijection):
    """Some columns of a table, each through its own map of one variable; the others, such as categories, pass.

    NaN stands for what has not been observed: it stays NaN, and adds nothing to the log-determinant.

    Parameters
    ----------
    columns : Tensor of shape (p,), int
    maps : iterable of p Bijection
        Each of one column.
    """

    def __init__(self, columns: Tensor, maps: Iterable[Bijection]):
        super().__init__()
        self.register_buffer("columns", columns)
        self.maps = nn.ModuleList(maps)

    def forward(self, x, context=None):
        return self._map(x, [link.forward for link in self.maps])

    def inverse(self, z, context=None):
        return self._map(z, [link.inverse for link in self.maps])

    def _map(self, v, directions):
        out, log_abs_det = list(v.unbind(1)), v.new_zeros(len(v))
        for j, direction in zip(self.columns.tolist(), directions):
            rows = (~v[:, j].isnan()).nonzero()[:, 0]
            mapped, log_slope = direction(v[rows, j, None])
            out[j] = v[:, j].index_put((rows,), mapped[:, 0])
            log_abs_det = log_abs_det.index_add(0, rows, log_slope)
        return torch.stack(out, 1), log_abs_det
