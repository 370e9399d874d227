"""Who conditions on whom: the schemes that turn a univariate map and a network into a bijection of n features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .bijection import Bijection
from .networks import DenseNetwork, MaskedNetwork
from .univariate import Univariate


@torch.no_grad()
def set_start(network: nn.Module, univariate: Univariate, x: Tensor | None = None) -> None:
    """Let ``network`` start from the univariate map's own start, read off rows ``x`` (d, n) where they are given."""
    bias = network.output.bias.view(-1, univariate.n_params)
    bias.copy_(univariate.start(x).t().expand_as(bias))


def _columns(context: Tensor | None) -> Tensor | None:
    return None if context is None else context.t()


class Elementwise(Bijection):
    """Each feature through a curve of its own, its parameters free or, given a context, from a dense network."""

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        super().__init__()
        self.univariate = univariate
        if n_context:
            self.network = DenseNetwork(n_context, n_features, univariate.n_params, hidden_layer_sizes)
            set_start(self.network, univariate)
        else:
            self.params = nn.Parameter(univariate.start()[:, :, None].repeat(1, n_features, 1))
        self.n_context = n_context

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


class Coupling(Bijection):
    """The first half of the features conditions the map of the second half (Dinh et al. 2014, sec. 3.2)."""

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        super().__init__()
        if n_features < 2:
            raise ValueError("A coupling needs at least 2 features; use Elementwise for one feature.")
        self.univariate = univariate
        self.n_kept = n_features // 2
        self.network = DenseNetwork(
            self.n_kept + n_context, n_features - self.n_kept, univariate.n_params, hidden_layer_sizes
        )
        set_start(self.network, univariate)

    def initialise(self, x, context=None):
        set_start(self.network, self.univariate, x.t()[self.n_kept :])

    def _params(self, kept, context):
        return self.network(kept if context is None else torch.cat([context.t(), kept]))

    def forward(self, x, context=None):
        kept, moved = x.t()[: self.n_kept], x.t()[self.n_kept :]
        moved, log_slope = self.univariate.forward(moved, self._params(kept, context))
        return torch.cat([kept, moved]).t(), log_slope.sum(0)

    def inverse(self, z, context=None):
        kept, moved = z.t()[: self.n_kept], z.t()[self.n_kept :]
        moved, log_slope = self.univariate.inverse(moved, self._params(kept, context))
        return torch.cat([kept, moved]).t(), log_slope.sum(0)


class MaskedAutoregressive(Bijection):
    """Every feature conditions the maps of those after it (Papamakarios et al. 2017, eq. 3).

    Scoring takes one pass of the network. The inverse goes feature by feature, in the work of one pass.
    """

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        super().__init__()
        self.univariate = univariate
        self.network = MaskedNetwork(n_features, n_context, univariate.n_params, hidden_layer_sizes)
        set_start(self.network, univariate)

    def initialise(self, x, context=None):
        set_start(self.network, self.univariate, x.t())

    def forward(self, x, context=None):
        z, log_slope = self.univariate.forward(x.t(), self.network(x.t(), _columns(context)))
        return z.t(), log_slope.sum(0)

    def inverse(self, z, context=None):
        rollout = self.network.rollout(len(z), _columns(context), z)
        log_abs_det = z.new_zeros(len(z))
        for i, z_i in enumerate(z.t()):
            x_i, log_slope = self.univariate.inverse(z_i, rollout.params(i))
            rollout.append(x_i)
            log_abs_det = log_abs_det + log_slope
        return rollout.features().t(), log_abs_det
