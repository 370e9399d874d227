"""A context that goes through a map of its own first."""

from __future__ import annotations

from .bijection import Bijection


class EmbeddedContext(Bijection):
    """A bijection whose context goes through ``embedding`` before it conditions the map.

    Parameters
    ----------
    bijection, embedding : Bijection
        The second one's log-determinant is of no consequence: a context is given.
    """

    def __init__(self, bijection: Bijection, embedding: Bijection):
        super().__init__()
        self.bijection = bijection
        self.embedding = embedding

    @property
    def reads_rows(self):
        return self.bijection.reads_rows

    def initialise(self, x, context=None):
        self.bijection.initialise(x, self.embedding(context)[0])

    def forward(self, x, context=None):
        return self.bijection(x, self.embedding(context)[0])

    def inverse(self, z, context=None):
        return self.bijection.inverse(z, self.embedding(context)[0])
