"""A bijection run the other way."""

from __future__ import annotations

from .bijection import Bijection


class Inverse(Bijection):
    """A bijection run the other way: its `inverse` maps data to latent."""

    def __init__(self, bijection: Bijection):
        super().__init__()
        self.bijection = bijection

    def forward(self, x, context=None):
        return self.bijection.inverse(x, context)

    def inverse(self, z, context=None):
        return self.bijection(z, context)
