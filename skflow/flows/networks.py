"""The networks that emit a univariate map's parameters: dense and masked, with derivatives written out by hand.

Rows come in tiles (see `skflow.flows.tiles`): activations have the shape (tiles, units, batch), so that one batched
product serves all tiles, a thread works on tiles that its cache holds, and sums over rows, taken tile by tile, are the
same to the last bit on any number of threads. Units of a masked layer are sorted by degree, so its weight is
block-triangular: it is multiplied band by band of units, without the inputs that no unit of a band sees.

`Network.record` writes both directions out as plain arithmetic, without a graph (see `skflow.flows.tape`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .tape import Tape

UNITS_PER_BAND = 64  # below this a smaller matrix product costs as much as the larger one it replaces
MAX_BANDS = 6
_relu_gradient = torch.ops.aten.threshold_backward.grad_input


class DenseLinear(nn.Module):
    """An affine layer.

    Attributes
    ----------
    affine : Parameter of shape (n_out, 1 + n_in)
        The bias and the weight: inputs come with a row of ones on top, so that a product adds the bias as well.
    bands : list of (start, stop, n_seen)
        Bands of units, and the number of leading inputs, the ones among them, that each can see.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(n_in, 1))
        # Drawn in one precision, so that the default one has no say in the numbers.
        affine = torch.empty(n_out, 1 + n_in, dtype=torch.float32).uniform_(-bound, bound)
        self.affine = nn.Parameter(affine.to(torch.get_default_dtype()))
        self.bands = [(0, n_out, 1 + n_in)]

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


class Connections(NamedTuple):
    """Who sees whom between two layers of units that are sorted by degree.

    Attributes
    ----------
    mask : Tensor of shape (n_out, 1 + n_in)
        One where a unit of degree m sees an input of degree at most m, or the ones on top.
    gain : Tensor of shape (n_out, 1)
        By how much the weights of a unit start larger, as it sees fewer inputs.
    bands : list of (start, stop, n_seen)
        See `DenseLinear`.
    """

    mask: Tensor
    gain: Tensor
    bands: list[tuple[int, int, int]]

    @classmethod
    def between(cls, in_degrees: Tensor, out_degrees: Tensor, group: int = 1) -> Connections:
        """From the degrees; units come in groups of ``group``, which no band divides."""
        n_in, n_out = len(in_degrees), len(out_degrees)
        mask = torch.ones(n_out, 1 + n_in, dtype=torch.float32)
        mask[:, 1:] = out_degrees[:, None] >= in_degrees
        n_seen, n_groups = mask.sum(1), n_out // group
        n_bands = max(1, min(MAX_BANDS, n_out // UNITS_PER_BAND, n_groups))
        edges = [round(i * n_groups / n_bands) * group for i in range(n_bands + 1)]
        bands = [(start, stop, int(n_seen[stop - 1])) for start, stop in zip(edges, edges[1:])]
        return cls(mask, (n_in / (n_seen - 1).clamp_min(1)).sqrt()[:, None], bands)


class MaskedLinear(DenseLinear):
    """An affine layer where units see some of the inputs.

    Attributes
    ----------
    mask : Tensor of shape (n_out, 1 + n_in)
        One where ``affine`` counts.
    """

    def __init__(self, connections: Connections, *, zero: bool = False):
        mask, gain, bands = connections
        super().__init__(mask.shape[1] - 1, len(mask))
        self.bands = bands
        self.register_buffer("mask", mask.to(self.affine.dtype), persistent=False)
        with torch.no_grad():
            self.affine.mul_(0.0 if zero else gain).mul_(mask)

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


class RowOrder(NamedTuple):
    """How the rows of a curve's values, one for every tile and feature, are sorted: by band of features first.

    Attributes
    ----------
    order, undo : Tensor of shape (R,), int, or None
        From tile by tile to band by band, and back; None where these are the same.
    tile : Tensor of shape (R,), int
        The tile of each row.
    """

    order: Tensor | None
    undo: Tensor | None
    tile: Tensor


@functools.lru_cache(maxsize=256)
def _row_order(n_tiles: int, bands: tuple[tuple[int, int], ...], device: torch.device) -> RowOrder:
    with torch.inference_mode(False):
        n_features = bands[-1][1]
        numbers = torch.arange(n_tiles * n_features, device=device).view(n_tiles, n_features)
        order = torch.cat([numbers[:, start:stop].flatten() for start, stop in bands])
        if n_tiles == 1 or len(bands) == 1:
            return RowOrder(None, None, order // n_features)
        return RowOrder(order, torch.argsort(order), order // n_features)


def _parts(flat: Tensor, bands: Sequence[tuple[int, int, int]], t: int, n: int) -> list[Tensor]:
    """Contiguous tiles (t, stop - start, n), one for every band: only into such are products shared among threads."""
    return [flat[t * start * n : t * stop * n].view(t, stop - start, n) for start, stop, _ in bands]


def _with_ones(tape: Tape, t: int, n_units: int, n: int) -> Tensor:
    """Memory for inputs, the row of ones on top."""
    h = tape.keep(t, 1 + n_units, n)
    h[:, 0] = 1
    if not tape.keeps:
        tape.add(h[:, 0].fill_, 1)  # other links write there as well
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
    """

    def __init__(self, hidden: Sequence[nn.Module], output: nn.Module, n_params: int):
        super().__init__()
        self.n_params = n_params
        self.hidden = nn.ModuleList(hidden)
        self.output = output

    def layers(self) -> list[nn.Module]:
        """The layers in order, the output's last."""
        return [*self.hidden, self.output]

    def row_order(self, n_tiles: int, device: torch.device) -> RowOrder:
        """How the rows of the parameters are sorted."""
        bands = tuple((start // self.n_params, stop // self.n_params) for start, stop, _ in self.output.bands)
        return _row_order(n_tiles, bands, device)

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


def _degrees(n_features: int, n_context: int, hidden_layer_sizes: tuple[int, ...]) -> list[Tensor]:
    lowest = 0 if n_context or n_features == 1 else 1  # degree 0 sees the context alone
    degrees = [torch.cat([torch.zeros(n_context, dtype=torch.long), torch.arange(1, n_features + 1)])]
    for size in hidden_layer_sizes:
        spread = torch.arange(size) * (n_features - lowest) // max(size, 1) + lowest
        degrees.append(spread.clamp_max(max(n_features - 1, 0)))
    return degrees


@functools.lru_cache(maxsize=16)
def _connections(
    n_features: int, n_context: int, n_params: int, hidden_layer_sizes: tuple[int, ...]
) -> list[Connections]:
    """Of every layer of a masked network; layers of one shape share them."""
    with torch.inference_mode(False):
        degrees = _degrees(n_features, n_context, hidden_layer_sizes)
        outputs = torch.arange(n_features).repeat_interleave(n_params)
        hidden = [Connections.between(a, b) for a, b in zip(degrees, degrees[1:])]
        return [*hidden, Connections.between(degrees[-1], outputs, n_params)]


@functools.lru_cache(maxsize=16)
def _counts(n_features: int, n_context: int, hidden_layer_sizes: tuple[int, ...]) -> list[list[int]]:
    """The numbers of units of degree 0, 1, ..., n_features - 1, level by level."""
    degrees = _degrees(n_features, n_context, hidden_layer_sizes)
    return [torch.bincount(units, minlength=n_features)[:n_features].tolist() for units in degrees]


class MaskedNetwork(Network):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9).

    The input is a context and then the features; the parameters of feature i depend on the features before i and on the
    whole context.
    """

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        *hidden, output = _connections(n_features, n_context, n_params, tuple(hidden_layer_sizes))
        super().__init__(map(MaskedLinear, hidden), MaskedLinear(output, zero=True), n_params)
        self.n_features = n_features
        self.n_context = n_context
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)

    def counts(self) -> list[list[int]]:
        """The numbers of inputs and of hidden units of degree 0, 1, ..., n_features - 1, level by level."""
        return _counts(self.n_features, self.n_context, self.hidden_layer_sizes)

    def rollout(self, like: Tensor, context: Tensor | None) -> _Rollout:
        """Start an evaluation feature by feature, for the sequential direction.

        ``like`` has the shape (t, n_features, n) of the features to come, ``context`` that of (t, n_context, n).
        """
        return (_GraphRollout if torch.is_grad_enabled() else _Rollout)(self, like, context)


class _Rollout:
    """Evaluates a masked network one feature at a time, in the work of a single pass.

    Units are sorted by degree, so the parameters of feature i need only the hidden units of degree up to i, and of
    those only the ones of degree i have not been computed before.
    """

    def __init__(self, network: MaskedNetwork, like: Tensor, context: Tensor | None):
        (t, d, n), counts, layers = like.shape, network.counts(), network.layers()
        inputs = [like.new_empty(t, layer.affine.shape[1], n) for layer in layers]
        for h in inputs:
            h[:, 0] = 1
        if context is not None:
            inputs[0][:, 1:-d] = context
        self._features = inputs[0][:, -d:]
        self._rows = self._features.unbind(1)
        seen = [list(itertools.accumulate(count, initial=1))[1:] for count in counts]
        sizes = [*counts[1:], [network.n_params] * d]
        units = [h[:, 1:].split(size, 1) for h, size in zip(inputs[1:], sizes)]
        scratch = {size: like.new_empty(t, size, n) for size in {size for some in sizes for size in some}}
        affines = [layer.masked().expand(t, -1, -1).split(size, 1) for layer, size in zip(layers, sizes)]
        self._steps = [
            [
                (a[i][:, :, : k[i]], h[:, : k[i]], scratch[a[i].shape[1]], u[i] if u else None)
                for a, k, h, u in zip(affines, seen, inputs, [*units, None])
                if a[i].shape[1]
            ]
            for i in range(d)
        ]

    def params(self, i: int) -> Tensor:
        """Parameters of feature i (counted from zero), shape (n_params, t, n); features before i are known.

        The next call writes over them.
        """
        for a, b, out, units in self._steps[i]:
            torch.bmm(a, b, out=out)
            if units is not None:
                torch.clamp_min(out, 0, out=units)
        return out.transpose(0, 1)

    def append(self, i: int, x: Tensor) -> None:
        """Tell the values of feature i, shape (t, n)."""
        self._rows[i].copy_(x)

    def features(self) -> Tensor:
        """All features, shape (t, n_features, n)."""
        return self._features


class _GraphRollout:
    """`_Rollout` where gradients must flow through: rows are concatenated instead of written."""

    def __init__(self, network, like, context):
        self.n_features, self.n_params = network.n_features, network.n_params
        self.affine = [layer.masked() for layer in network.layers()]
        self.rows = [like.new_ones(len(like), 1, like.shape[2]) for _ in self.affine]
        if context is not None:
            self.rows[0] = torch.cat([self.rows[0], context], 1)
        # starts[l][i]: the number of units of layer l with a degree below i
        self.starts = [list(itertools.accumulate(count, initial=0)) for count in network.counts()]

    def params(self, i):
        for level in range(1, len(self.rows)):
            first, last = self.starts[level][i], self.starts[level][i + 1]
            if last > first:
                n_seen = 1 + self.starts[level - 1][i + 1]
                units = torch.relu(self.affine[level - 1][first:last, :n_seen] @ self.rows[level - 1][:, :n_seen])
                self.rows[level] = torch.cat([self.rows[level], units], 1)
        n_seen, p = 1 + self.starts[-1][i + 1], self.n_params
        return (self.affine[-1][i * p : (i + 1) * p, :n_seen] @ self.rows[-1][:, :n_seen]).transpose(0, 1)

    def append(self, i, x):
        self.rows[0] = torch.cat([self.rows[0], x[:, None]], 1)

    def features(self):
        return self.rows[0][:, self.rows[0].shape[1] - self.n_features :]
