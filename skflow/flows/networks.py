"""The networks that emit a univariate map's parameters: dense and masked, with derivatives written out by hand.

Rows come in tiles (see `skflow.flows.tiles`): activations have the shape (tiles, units, batch), so that one batched
product serves all tiles, a thread works on tiles that its cache holds, and sums over rows, taken tile by tile, are the
same to the last bit on any number of threads. Units of a masked layer are sorted by degree, so its weight is
block-triangular: it is multiplied band by band of units, without the inputs that no unit of a band sees.

`Network.record` writes both directions out as plain arithmetic, without a graph (see `skflow.flows.tape`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .compiled import load
from .compiled.network import CompiledNetwork
from .compiled.rollout import invert
from .compiled.team import is_shared
from .degrees import Connections, connections, counts_by_degree, starts_by_degree
from .rollout import GraphRollout, Rollout
from .row_order import RowOrder, row_order
from .tape import Tape
from .tiles import LANES
from .univariate import DifferentiatedUnivariate

_relu_gradient = torch.ops.aten.threshold_backward.grad_input


class DenseLinear(nn.Module):
    """An affine layer.

    Attributes
    ----------
    affine : Parameter of shape (n_out, 1 + n_in)
        The bias and the weight: inputs come with a row of ones on top, so that a product adds the bias as well.
    bands : list of (start, stop, n_seen)
        Bands of units, and the number of leading inputs, the ones among them, that each can see.
    mask : Tensor of shape (n_out, 1 + n_in) or None
        One where ``affine`` counts; None for everywhere.
    n_seen, first_seen : Tensor of shape (n_out,) and (1 + n_in,), int, or None
        For every unit the number of leading inputs that it can see, and for every input the first unit that sees it.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(n_in, 1))
        # Drawn in one precision, so that the default one has no say in the numbers.
        affine = torch.empty(n_out, 1 + n_in, dtype=torch.float32).uniform_(-bound, bound)
        self.affine = nn.Parameter(affine.to(torch.get_default_dtype()))
        self.bands = [(0, n_out, 1 + n_in)]
        for name in ("mask", "n_seen", "first_seen"):
            self.register_buffer(name, None, persistent=False)

    @property
    def bias(self) -> Tensor:
        """Shape (n_out,)."""
        return self.affine[:, 0]

    @property
    def weight(self) -> Tensor:
        """Shape (n_out, n_in)."""
        return self.affine[:, 1:]

    def record_used(self, tape: Tape, used: Tensor) -> None:
        """Write what inputs are multiplied with, shape (n_out, 1 + n_in), into ``used``."""
        tape.add(used.copy_, self.affine)

    def record_gradient(self, tape: Tape, grad: Tensor) -> None:
        """Turn the gradient with respect to what is used into that of ``affine``, in place."""


class MaskedLinear(DenseLinear):
    """An affine layer where units see some of the inputs."""

    def __init__(self, seen: Connections, *, zero: bool = False):
        super().__init__(seen.mask.shape[1] - 1, len(seen.mask))
        self.bands = seen.bands
        device = self.affine.device
        self.mask, self.n_seen, self.first_seen = seen.mask.to(self.affine), *(v.to(device) for v in seen[-2:])
        with torch.no_grad():
            self.affine.mul_(0.0 if zero else seen.gain.to(device)).mul_(self.mask)

    def record_used(self, tape, used):
        tape.add(torch.mul, self.affine, self.mask, out=used)

    def record_gradient(self, tape, grad):
        tape.add(grad.mul_, self.mask)

    def masked(self) -> Tensor:
        """``affine`` with the entries that the degrees forbid at zero."""
        return self.affine * self.mask

    def n_idle(self) -> int:
        """Number of entries of ``affine`` that the mask hides."""
        return int((self.mask == 0).sum())


def _parts(flat: Tensor, bands: Sequence[tuple[int, int, int]], t: int, n: int) -> list[Tensor]:
    """Contiguous tiles (t, stop - start, n), one for every band: only into such are products shared among threads."""
    return [flat[t * start * n : t * stop * n].view(t, stop - start, n) for start, stop, _ in bands]


def _with_ones(tape: Tape, t: int, n_units: int, n: int) -> Tensor:
    """Memory for inputs, the row of ones on top."""
    h = tape.keep(t, 1 + n_units, n)
    if tape.keeps:
        h[:, 0] = 1
    else:
        tape.add(h[:, 0].fill_, 1)  # time and again: other links write there as well
    return h


class Network(nn.Module):
    """A multilayer perceptron from tiles (t, n_in, n) to parameters (n_params, R, n); its last layer starts at zero.

    R = t n_out rows come in the order that `row_order` tells.

    Parameters
    ----------
    hidden : sequence of DenseLinear or MaskedLinear
    output : DenseLinear or MaskedLinear
        Its units are n_out groups of n_params.
    n_params : int

    Attributes
    ----------
    compiled : bool, default=True
        Whether compiled loops may be loaded.
    """

    compiled = True

    def __init__(self, hidden: Sequence[nn.Module], output: nn.Module, n_params: int):
        super().__init__()
        self.n_params = n_params
        self.hidden = nn.ModuleList(hidden)
        self.output = output

    def layers(self) -> list[nn.Module]:
        """The layers in order, the output's last."""
        return [*self.hidden, self.output]

    def row_order(self, like: Tensor) -> RowOrder:
        """How the rows of the parameters are sorted, for tiles like these."""
        bands = [(start // self.n_params, stop // self.n_params) for start, stop, _ in self.output.bands]
        if self.loops(like):
            bands = [(0, bands[-1][1])]
        return row_order(len(like), tuple(bands), like.device)

    def loops(self, like: Tensor) -> ModuleType | None:
        """The compiled loops, where they are of use for tiles like these."""
        numbers = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
        fits = numbers and like.dtype == self.output.affine.dtype and like.shape[2] % LANES == 0
        return load("network") if self.compiled and fits and is_shared() else None

    def forward(self, h: Tensor) -> Tensor:
        return _Evaluated.apply(self, h, *self.parameters())

    def record(self, tape: Tape, parts: Sequence[Tensor]) -> tuple[Tensor, RecordBack]:
        """Record the evaluation; ``parts`` are the input from top to bottom.

        Returns
        -------
        params : Tensor of shape (n_params, R, n)
        record_back : callable
            ``record_back(tape, grad_params, to_input)`` records the derivative, and returns the memory of the gradients
            with respect to the input, or None where it is not wanted, and to the parameters. ``grad_params`` is laid
            out as ``params`` is.
        """
        if loops := self.loops(parts[0]):
            return self._record_compiled(tape, parts, loops)
        t, _, n = parts[0].shape
        h = _with_ones(tape, t, sum(part.shape[1] for part in parts), n)
        tape.add(torch.cat, list(parts), 1, out=h[:, 1:])
        kept = []
        for layer in self.layers():
            used = tape.keep(*layer.affine.shape)
            layer.record_used(tape, used)
            kept.append((layer, used, h))
            if layer is self.output:
                out, above = tape.keep(t * len(used) * n), None
            else:
                out, above = tape.scratch(t * len(used) * n), _with_ones(tape, t, len(used), n)
            for (start, stop, n_seen), part in zip(layer.bands, _parts(out, layer.bands, t, n)):
                tape.add(torch.bmm, used[start:stop, :n_seen].expand(t, -1, -1), h[:, :n_seen], out=part)
                if above is not None:
                    tape.add(torch.clamp_min, part, 0, out=above[:, 1 + start : 1 + stop])
            h = above
        return out.view(-1, self.n_params, n).transpose(0, 1), functools.partial(_record_back, kept)

    def _record_compiled(self, tape, parts, loops):
        source = parts[0]
        if len(parts) > 1 or source.stride()[1:] != (source.shape[2], 1):
            source = tape.keep(len(source), sum(part.shape[1] for part in parts), source.shape[2])
            tape.add(torch.cat, list(parts), 1, out=source)
        network = CompiledNetwork(self.layers(), loops, tape, source)

        def record_back(tape, grad_params, to_input):
            grad_output = grad_params.transpose(0, 1).view_as(network.output)
            return network.record_back(tape, grad_output, to_input)

        return network.output.view(-1, self.n_params, source.shape[2]).transpose(0, 1), record_back


RecordBack = Callable[[Tape, Tensor, bool], tuple[Tensor | None, list[Tensor]]]


def _record_back(kept: list[tuple], tape: Tape, grad_params: Tensor, to_input: bool):
    """The derivative of a network, from the layers, the weights that they used and their inputs."""
    (t, _, n), grads = kept[0][2].shape, []
    parts = _parts(grad_params.transpose(0, 1).flatten(), kept[-1][0].bands, t, n)
    for i in range(len(kept) - 1, -1, -1):
        layer, used, h = kept[i]
        grads.append(_record_weights(tape, layer, h, parts))
        if not (i or to_input):
            return None, grads[::-1]
        below = kept[i - 1][0].bands if i else [(0, h.shape[1] - 1, 0)]
        grad = tape.scratch(t * (h.shape[1] - 1) * n)
        outs = _parts(grad, below, t, n)
        for (start, stop, _), out in zip(below, outs):
            _record_product_sum(
                tape,
                [
                    (used[first:last, 1 + start : 1 + stop].mT.expand(t, -1, -1), part)
                    for (first, last, n_seen), part in zip(layer.bands, parts)
                    if n_seen > 1 + start
                ],
                out,
            )
            if i:
                tape.add(_relu_gradient, out, h[:, 1 + start : 1 + stop], 0, grad_input=out)
        parts = outs
    return parts[0], grads[::-1]


def _record_weights(tape: Tape, layer: DenseLinear, h: Tensor, parts: list[Tensor]) -> Tensor:
    """The gradient with respect to ``affine``, from those of the bands of units: tile by tile, and then their sum."""
    grad = torch.zeros_like(layer.affine, requires_grad=False)
    for (start, stop, n_seen), part in zip(layer.bands, parts):
        total = grad[start:stop, :n_seen]
        if len(h) == 1 and total.is_contiguous():
            tape.add(torch.bmm, part, h[:, :n_seen].mT, out=total[None])
            continue
        terms = tape.scratch(len(h), *total.shape)
        tape.add(torch.bmm, part, h[:, :n_seen].mT, out=terms)
        tape.add(torch.sum, terms, 0, out=total)
    layer.record_gradient(tape, grad)
    return grad


def _record_product_sum(tape: Tape, factors: list[tuple[Tensor, Tensor]], out: Tensor) -> None:
    """The sum of the products of some pairs."""
    if not factors:
        tape.add(out.zero_)
        return
    tape.add(torch.bmm, *factors[0], out=out)
    for a, b in factors[1:]:
        tape.add(out.baddbmm_, a, b)


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, network, h, *parameters):
        tape = Tape(h, keeps=True)
        params, ctx.record_back = network.record(tape, [h])
        tape.run()
        return params

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        tape = Tape(grad)
        grad = grad.transpose(0, 1).contiguous().transpose(0, 1)
        grad, grads = ctx.record_back(tape, grad, ctx.needs_input_grad[1])
        tape.run()
        return None, grad, *grads


class DenseNetwork(Network):
    """A perceptron where everything sees everything."""

    def __init__(self, n_in: int, n_out: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        sizes = [n_in, *hidden_layer_sizes]
        hidden = [DenseLinear(a, b) for a, b in zip(sizes, sizes[1:])]
        super().__init__(hidden, DenseLinear(sizes[-1], n_out * n_params, zero=True), n_params)


class MaskedNetwork(Network):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9).

    The input is a context and then the features; the parameters of feature i depend on the features before i and on the
    whole context.
    """

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        *hidden, output = connections(n_features, n_context, n_params, tuple(hidden_layer_sizes))
        hidden = [MaskedLinear(seen) for seen in hidden]
        super().__init__(hidden, MaskedLinear(output, zero=True), n_params)
        self.n_features = n_features
        self.n_context = n_context
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)

    def invert_compiled(
        self, univariate: DifferentiatedUnivariate, z: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor] | None:
        """The features and log |det dx/dz| of tiles ``z`` in the sequential direction, where compiled loops can."""
        usable = self.loops(z) and univariate.loops(z) and not torch.is_grad_enabled()
        if not (usable and (loops := load("rollout"))):
            return None
        starts = starts_by_degree(self.n_features, self.n_context, self.n_params, self.hidden_layer_sizes)
        affines, n_seen = zip(*((layer.masked(), layer.n_seen) for layer in self.layers()))
        curve = loops.CURVES[univariate.name], univariate.constants(z.dtype)
        return invert(loops, *curve, affines, n_seen, starts, self.n_params, z, context)

    def rollout(self, like: Tensor, context: Tensor | None) -> Rollout:
        """Start an evaluation feature by feature, for the sequential direction.

        ``like`` has the shape (t, n_features, n) of the features to come, ``context`` that of (t, n_context, n).
        """
        counts = counts_by_degree(self.n_features, self.n_context, self.hidden_layer_sizes)
        affines = [layer.masked() for layer in self.layers()]
        return (GraphRollout if torch.is_grad_enabled() else Rollout)(affines, counts, self.n_params, like, context)
