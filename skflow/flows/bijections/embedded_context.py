"""A context that goes through a map of its own first."""

from __future__ import annotations

from torch import Tensor

from .bijection import Bijection


class EmbeddedContext(Bijection):
    """A bijection whose context goes through ``embedding`` before it conditions the map.

    Parameters
    ----------
    bijection, embedding : Bijection
        The second one's log-determinant is of no consequence: a context is given.
    columns : Tensor of int, optional
        The columns of the context that it sees; all by default.
    """

    def __init__(self, bijection: Bijection, embedding: Bijection, columns: Tensor | None = None):
        super().__init__()
        self.bijection = bijection
        self.embedding = embedding
        self.register_buffer("columns", columns)

    def _embedded(self, context):
        return self.embedding(context if self.columns is None else context[:, self.columns])[0]

    @property
    def reads_rows(self):
        return self.bijection.reads_rows

    def initialise(self, x, context=None):
        self.bijection.initialise(x, self.embedding(context)[0])

    def forward(self, x, context=None):
        return self.bijection(x, self._embedded(context))

    def inverse(self, z, context=None):
        return self.bijection.inverse(z, self._embedded(context))
