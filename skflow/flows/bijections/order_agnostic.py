"""Order-agnostic autoregressive layers: one network for every ordering of the columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..networks.degrees import masks, unit_degrees
from ..networks.dense import DenseNetwork
from ..univariate.univariate import Univariate
from .bijection import Bijection
from .conditional import network_input, set_start

N_ORDERINGS = 8


class OrderAgnostic(Bijection):
    """An autoregressive layer for orderings drawn afresh for every mini-batch (Germain et al. 2015, section 4.2).

    The layer keeps k orderings drawn when it was built, and is the bijection of the first of them. An `OrderAverage`
    averages the densities of all k.

    Parameters
    ----------
    n_features, n_context : int
    univariate : Univariate
    hidden_layer_sizes : sequence of int
    n_orderings : int, default=8
        k.
    """

    def __init__(
        self,
        n_features: int,
        n_context: int,
        univariate: Univariate,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        n_orderings: int = N_ORDERINGS,
    ):
        super().__init__()
        self.univariate = univariate
        self.network = OrderedNetwork(n_features, n_context, univariate.n_params, hidden_layer_sizes)
        set_start(self.network, univariate)
        self.register_buffer("orders", torch.stack([torch.randperm(n_features) for _ in range(n_orderings)]))
        self.chosen: Tensor | None = None

    @property
    def order(self) -> Tensor:
        """The ordering in use: column ``order[i]`` is the i-th to be conditioned on."""
        return self.orders[0] if self.chosen is None else self.chosen

    @property
    def reads_rows(self):
        return self.univariate.reads_rows

    def initialise(self, x, context=None):
        set_start(self.network, self.univariate, x.t())

    def forward(self, x, context=None):
        x = x.t().contiguous()
        params = self.network(network_input(x, context), self.order)
        z, log_slope = self.univariate.forward(x, params)
        return z.t(), log_slope.sum(0)

    def inverse(self, z, context=None):
        known = list(torch.zeros_like(z.t()))
        log_abs_det = z.new_zeros(len(z))
        for i in self.order.tolist():
            params = self.network(network_input(torch.stack(known), context), self.order)[:, i]
            known[i], log_slope = self.univariate.inverse(z[:, i], params)
            log_abs_det = log_abs_det + log_slope
        return torch.stack(known, 1), log_abs_det


class OrderedNetwork(DenseNetwork):
    """A masked network whose masks follow from an ordering given at call time."""

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        super().__init__(n_context + n_features, n_features, n_params, hidden_layer_sizes)
        self.n_context = n_context
        inputs, *hidden = unit_degrees(n_features, n_context, hidden_layer_sizes)
        for i, degrees in enumerate([inputs, *hidden]):
            self.register_buffer(f"degrees{i}", degrees, persistent=False)

    def forward(self, h: Tensor, order: Tensor) -> Tensor:
        """Parameters (n_params, n_features, n) of inputs (n_context + n_features, n)."""
        inputs, *hidden = (getattr(self, f"degrees{i}") for i in range(len(self.layers())))
        inputs = torch.cat([inputs[: self.n_context], torch.argsort(order) + 1])
        affines = [layer.affine * mask for layer, mask in zip(self.layers(), masks([inputs, *hidden], self.n_params))]
        return self.evaluate(affines, h)
