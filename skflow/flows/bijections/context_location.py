"""A location that comes with the context."""

from __future__ import annotations

from torch import Tensor

from .bijection import Bijection


class ContextLocation(Bijection):
    """``z = x - m``, where m are some columns of the context: predictions of the features.

    Parameters
    ----------
    columns : Tensor of shape (d,), int
        The number of the context's column for every feature.
    """

    def __init__(self, columns: Tensor):
        super().__init__()
        self.register_buffer("columns", columns)

    def forward(self, x, context=None):
        return x - context[:, self.columns], x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return z + context[:, self.columns], z.new_zeros(len(z))
