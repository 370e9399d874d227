"""The scheme in which no feature conditions another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..networks.dense import DenseNetwork
from ..univariate.univariate import Univariate
from .bijection import Bijection
from .conditional import set_start


class Elementwise(Bijection):
    """Each feature through a map of its own, its parameters free or, given a context, from a dense network."""

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        super().__init__()
        self.univariate = univariate
        if n_context:
            self.network = DenseNetwork(n_context, n_features, univariate.n_params, hidden_layer_sizes)
            set_start(self.network, univariate)
        else:
            start = univariate.start().to(torch.get_default_dtype())
            self.params = nn.Parameter(start[:, :, None].repeat(1, n_features, 1))
        self.n_context = n_context

    @property
    def reads_rows(self):
        return self.univariate.reads_rows

    def initialise(self, x, context=None):
        if self.n_context:
            set_start(self.network, self.univariate, x.t())
        else:
            start = self.univariate.start(x.t())[:, :, None]
            self.params.data.copy_(start.expand_as(self.params))

    def _params(self, x, context):
        if self.n_context:
            return self.network(context.t())
        return self.params.expand(-1, -1, len(x))

    def forward(self, x, context=None):
        z, log_slope = self.univariate.forward(x.t(), self._params(x, context))
        return z.t(), log_slope.sum(0)

    def inverse(self, z, context=None):
        x, log_slope = self.univariate.inverse(z.t(), self._params(z, context))
        return x.t(), log_slope.sum(0)
