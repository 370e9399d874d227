"""What the schemes share that turn a univariate map and a network into a bijection of n features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..networks.dense import Network
from ..univariate.univariate import Univariate
from .bijection import Bijection


@torch.no_grad()
def set_start(network: nn.Module, univariate: Univariate, x: Tensor | None = None) -> None:
    """Let ``network`` start from the univariate map's own start, read off rows ``x`` (d, n) where they are given."""
    bias = network.output.bias.view(-1, univariate.n_params)
    bias.copy_(univariate.start(x).t().expand_as(bias))


def network_input(x: Tensor, context: Tensor | None) -> Tensor:
    """Features (n_features, n) behind the context (n, n_context), where there is one."""
    return x if context is None else torch.cat([context.t(), x])


class Conditional(Bijection):
    """Base of the schemes where features condition the maps of others.

    The first ``n_kept`` features pass unchanged. A network looks at the context and at the first ``n_seen`` features,
    and emits the parameters of the maps that the features after the kept ones go through.
    """

    def __init__(self, univariate: Univariate, network: Network, n_kept: int, n_seen: int):
        super().__init__()
        self.univariate = univariate
        self.network = network
        self.n_kept = n_kept
        self.n_seen = n_seen
        set_start(network, univariate)

    @property
    def reads_rows(self):
        return self.univariate.reads_rows

    def initialise(self, x, context=None):
        set_start(self.network, self.univariate, x.t()[self.n_kept :])

    def forward(self, x, context=None):
        return self._map(self.univariate.forward, x, context)

    def _map(self, direction: Callable, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows through the maps, in one direction, whose parameters the features seen in ``x`` give."""
        x = x.t().contiguous()
        params = self.network(network_input(x[: self.n_seen], context))
        moved, log_slope = direction(x[self.n_kept :], params)
        return torch.cat([x[: self.n_kept], moved]).t() if self.n_kept else moved.t(), log_slope.sum(0)
