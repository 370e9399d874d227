"""Who conditions on whom: the schemes that turn a univariate map and a network into a bijection of n features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .bijection import Bijection, as_one_node
from .networks import DenseNetwork, MaskedNetwork, Network
from .tape import Tape
from .tiles import from_tiles, to_tiles
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
            return self.network(context.t()[None])
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

    @property
    def tiled(self):
        return self.differentiated

    def forward(self, x, context=None):
        if self.differentiated:
            return as_one_node(self, x, context)
        return self._map(self.univariate.forward, x, context)

    def record(self, tape, x, context=None):
        if not self.differentiated:
            return super().record(tape, x, context)
        tape.next_link()
        params, network_back = self.network.record(tape, self._seen(x, context))
        moving, rows = self._record_moving(tape, x), self.network.row_order(x)
        moved, log_abs_det, curve_back = self.univariate.record(tape, moving, params, rows)
        z = self._record_beside_kept(tape, x, moved)

        def record_back(tape, grad_z, grad_log_abs_det, to_input):
            tape.next_link()
            grad_params = tape.scratch(*params.transpose(0, 1).shape).transpose(0, 1)
            grad_moved = self._record_moving(tape, grad_z)
            grad_moving = curve_back(tape, grad_moved, grad_log_abs_det, grad_params)
            n_context = 0 if context is None else context.shape[1]
            grad_input, grads = network_back(tape, grad_params, to_input or n_context > 0)
            grad_context = grad_input[:, :n_context] if n_context else None
            if not to_input:
                return None, grad_context, grads
            grad_x = self._record_beside_kept(tape, grad_z, grad_moving)
            tape.add(grad_x[:, : self.n_seen].add_, grad_input[:, n_context:])
            return grad_x, grad_context, grads

        return z, log_abs_det, record_back

    def _record_moving(self, tape: Tape, x: Tensor) -> Tensor:
        """The features of tiles that move."""
        if not self.n_kept:
            return x
        moving = tape.keep(len(x), x.shape[1] - self.n_kept, x.shape[2])
        tape.add(moving.copy_, x[:, self.n_kept :])
        return moving

    def _record_beside_kept(self, tape: Tape, x: Tensor, moved: Tensor) -> Tensor:
        """Tiles of all features."""
        if not self.n_kept:
            return moved
        z = tape.output(*x.shape)
        tape.add(torch.cat, [x[:, : self.n_kept], moved], 1, out=z)
        return z

    def _map(self, direction: Callable, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows through the curves, in one direction, whose parameters the features seen in ``x`` give."""
        n, x = len(x), to_tiles(x)
        rows = self.network.row_order(x)
        params = self.network(torch.cat(self._seen(x, None if context is None else to_tiles(context)), 1))
        moved = x[:, self.n_kept :].reshape(-1, x.shape[2])
        moved = moved if rows.order is None else moved.index_select(0, rows.order)
        moved, log_slope = (
            (v if rows.undo is None else v.index_select(0, rows.undo)).view(len(x), -1, x.shape[2])
            for v in direction(moved, params)
        )
        return from_tiles(torch.cat([x[:, : self.n_kept], moved], 1), n), from_tiles(log_slope.sum(1), n)

    def _seen(self, x, context):
        """What the network sees of tiles, from top to bottom."""
        seen = x[:, : self.n_seen]
        return [seen] if context is None else [context, seen]


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
        n, z, context = len(z), to_tiles(z), None if context is None else to_tiles(context)
        if self.differentiated and (compiled := self.network.invert_compiled(self.univariate, z, context)):
            return tuple(from_tiles(v, n) for v in compiled)
        rollout = self.network.rollout(z, context)
        log_slopes = []
        for i, z_i in enumerate(z.unbind(1)):
            x_i, log_slope = self.univariate.inverse(z_i, rollout.params(i))
            rollout.append(i, x_i)
            log_slopes.append(log_slope)
        return from_tiles(rollout.features(), n), from_tiles(torch.stack(log_slopes).sum(0), n)
