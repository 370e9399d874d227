"""Coupling: one half of the features conditions the other."""

from __future__ import annotations

from collections.abc import Sequence

from ..networks.dense import DenseNetwork
from ..univariate.univariate import Univariate
from .conditional import Conditional


class Coupling(Conditional):
    """The first half of the features conditions the map of the second half (Dinh et al. 2014, sec. 3.2)."""

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        if n_features < 2:
            raise ValueError("A coupling needs at least 2 features; use Elementwise for one feature.")
        n_kept = n_features // 2
        network = DenseNetwork(n_kept + n_context, n_features - n_kept, univariate.n_params, hidden_layer_sizes)
        super().__init__(univariate, network, n_kept, n_kept)

    def inverse(self, z, context=None):
        return self._map(self.univariate.inverse, z, context)
