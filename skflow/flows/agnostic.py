"""Order-agnostic autoregressive layers: one network for every ordering of the columns."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .bijection import Bijection
from .conditional import set_start
from .networks import DenseLinear
from .univariate import Univariate

N_ORDERINGS = 8


class OrderAgnostic(Bijection):
    """An autoregressive layer for orderings drawn afresh for every mini-batch (Germain et al. 2015, section 4.2).

    The layer keeps k orderings drawn when it was built. By itself it is the bijection of the first of them;
    `with_orders` gives the one of another, with the same weights. A `Flow` averages the densities of all k.

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

    def with_orders(self, choose):
        layer = copy.copy(self)  # shares the parameters
        layer.chosen = choose(self.orders)
        return layer

    def forward(self, x, context=None):
        masks = self.network.masks(self.order)
        z, log_slope = self.univariate.forward(x.t(), self.network(x.t(), context, masks))
        return z.t(), log_slope.sum(0)

    def inverse(self, z, context=None):
        masks = self.network.masks(self.order)
        known = list(torch.zeros_like(z.t()))
        log_abs_det = z.new_zeros(len(z))
        for i in self.order.tolist():
            params = self.network(torch.stack(known), context, masks)[:, i]
            known[i], log_slope = self.univariate.inverse(z[:, i], params)
            log_abs_det = log_abs_det + log_slope
        return torch.stack(known, 1), log_abs_det


class OrderedNetwork(nn.Module):
    """A masked network whose masks follow from an ordering given at call time; its last layer starts at zero."""

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        super().__init__()
        self.n_features = n_features
        self.n_params = n_params
        sizes = [n_context + n_features, *hidden_layer_sizes]
        self.n_context = n_context
        self.hidden = nn.ModuleList(DenseLinear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.output = DenseLinear(sizes[-1], n_features * self.n_params, zero=True)
        lowest = 0 if n_context else 1  # degree 0 sees the context alone
        for i, size in enumerate(hidden_layer_sizes):
            degrees = torch.arange(size) * (n_features - lowest) // size + lowest
            self.register_buffer(f"degrees{i}", degrees.clamp_max(n_features - 1))

    def masks(self, order: Tensor) -> list[Tensor]:
        """Which unit of each layer sees which of the layer before (Germain et al. 2015, eq. 12 and 13)."""
        rank = torch.argsort(order) + 1
        degrees = [torch.cat([rank.new_zeros(self.n_context), rank])]
        degrees += [getattr(self, f"degrees{i}") for i in range(len(self.hidden))]
        masks = [b[:, None] >= a for a, b in zip(degrees, degrees[1:])]
        masks.append((rank - 1).repeat_interleave(self.n_params)[:, None] >= degrees[-1])
        return masks

    def forward(self, x: Tensor, context: Tensor | None, masks: list[Tensor]) -> Tensor:
        """Parameters (n_params, n_features, batch) of the columns of ``x`` (n_features, batch)."""
        h = x if context is None else torch.cat([context.t(), x])
        for layer, mask in zip(self.hidden, masks):
            h = torch.relu(torch.addmm(layer.bias[:, None], layer.weight * mask, h))
        out = torch.addmm(self.output.bias[:, None], self.output.weight * masks[-1], h)
        return out.view(self.n_features, self.n_params, -1).transpose(0, 1)
