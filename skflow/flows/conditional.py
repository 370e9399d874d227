"""Who conditions on whom: the schemes that turn a univariate map and a network into a bijection of n features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .bijection import Bijection
from .networks import DenseNetwork, MaskedNetwork, Network
from .univariate import Univariate


@torch.no_grad()
def set_start(network: nn.Module, univariate: Univariate, x: Tensor | None = None) -> None:
    """Let ``network`` start from the univariate map's own start, read off rows ``x`` (d, n) where they are given."""
    bias = network.output.bias.view(-1, univariate.n_params)
    bias.copy_(univariate.start(x).t().expand_as(bias))


def network_input(x: Tensor, context: Tensor | None) -> Tensor:
    """Features (n_features, n) behind the context (n, n_context), where there is one."""
    return x if context is None else torch.cat([context.t(), x])


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


class MaskedAutoregressive(Conditional):
    """Every feature conditions the maps of those after it (Papamakarios et al. 2017, eq. 3).

    Scoring takes one pass of the network. The inverse goes feature by feature, in the work of one pass.
    """

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        network = MaskedNetwork(n_features, n_context, univariate.n_params, hidden_layer_sizes)
        super().__init__(univariate, network, 0, n_features)

    def inverse(self, z, context=None):
        evaluation = self.network.feature_by_feature(None if context is None else context.t(), len(z))
        features, log_abs_det = [], z.new_zeros(len(z))
        for i, z_i in enumerate(z.t().contiguous()):
            x_i, log_slope = self.univariate.inverse(z_i, evaluation.params(i))
            evaluation.tell(x_i)
            features.append(x_i)
            log_abs_det = log_abs_det + log_slope
        return torch.stack(features).t(), log_abs_det
