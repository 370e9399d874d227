"""Who conditions on whom: the schemes that turn a univariate map and a network into a bijection of n features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .bijection import Bijection, as_one_node
from .networks import DenseNetwork, MaskedNetwork, Network
from .univariate import DifferentiatedUnivariate, Univariate


@torch.no_grad()
def set_start(network: nn.Module, univariate: Univariate, x: Tensor | None = None) -> None:
    """Let ``network`` start from the univariate map's own start, read off rows ``x`` (d, n) where they are given."""
    bias = network.output.bias.view(-1, univariate.n_params)
    bias.copy_(univariate.start(x).t().expand_as(bias))


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
    """Base of the schemes where features condition the curves of others.

    The first ``n_kept`` features pass unchanged. A network looks at the context and at the first ``n_seen`` features,
    and emits the parameters of the curves that the features after the kept ones go through.
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

    @property
    def differentiated(self):
        return isinstance(self.univariate, DifferentiatedUnivariate)

    def forward(self, x, context=None):
        if self.differentiated:
            return as_one_node(self, x, context)
        x = x.t()
        moved, log_slope = self.univariate.forward(x[self.n_kept :], self._params(x, context))
        return self._beside_kept(x, moved), log_slope.sum(0)

    def evaluate(self, x, context=None, memory=None):
        x, (of_curve, of_network) = x.t(), memory or (None, None)
        parts = [x[: self.n_seen]] if context is None else [context.t(), x[: self.n_seen]]
        params, of_network = self.network.evaluate(parts, of_network)
        moved, log_slope, of_curve = self.univariate.evaluate(x[self.n_kept :], params, of_curve)
        return self._beside_kept(x, moved), log_slope.sum(0), (of_curve, of_network)

    def pull_back(self, memory, grad_z, grad_log_abs_det, to_input=True):
        of_curve, of_network = memory
        grad_z, n_context = grad_z.t(), len(of_network.units[0]) - self.n_seen
        grad_moved, grad_params = self.univariate.pull_back(of_curve, grad_z[self.n_kept :], grad_log_abs_det)
        grad_input, grads = self.network.pull_back(of_network, grad_params, to_input or n_context > 0)
        grad_context = grad_input[:n_context].t() if n_context else None
        if not to_input:
            return None, grad_context, grads
        grad_x = torch.cat([grad_z[: self.n_kept], grad_moved]) if self.n_kept else grad_moved
        grad_x[: self.n_seen].add_(grad_input[n_context:])
        return grad_x.t(), grad_context, grads

    def _params(self, x, context):
        """What the network says of ``x`` of shape (n_features, n)."""
        seen = x[: self.n_seen]
        return self.network(seen if context is None else torch.cat([context.t(), seen]))

    def _beside_kept(self, x, moved):
        return (torch.cat([x[: self.n_kept], moved]) if self.n_kept else moved).t()


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
        z = z.t()
        moved, log_slope = self.univariate.inverse(z[self.n_kept :], self._params(z, context))
        return self._beside_kept(z, moved), log_slope.sum(0)


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
        rollout = self.network.rollout(len(z), None if context is None else context.t(), z)
        log_slopes = []
        for i, z_i in enumerate(z.t().unbind()):
            x_i, log_slope = self.univariate.inverse(z_i, rollout.params(i))
            rollout.append(x_i)
            log_slopes.append(log_slope)
        return rollout.features().t(), torch.stack(log_slopes).sum(0)
