"""The networks that emit a univariate map's parameters: dense and masked, with derivatives written out by hand.

Activations are laid out (units, batch): the batch is contiguous, rows are units. Units of a masked layer are sorted by
degree, so its weight is block-triangular and only the blocks that hold weights are multiplied.

`Network.evaluate` and `Network.pull_back` are plain arithmetic, without a graph, into memory that the next evaluation
of as many rows may take over. On small tensors most of the time of a training step would go into building a graph and
into finding memory: a whole chain is a single node (see `skflow.flows.bijection`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

UNITS_PER_BAND = 64  # below this a smaller matrix product costs as much as the larger one it replaces
MAX_BANDS = 6
MAX_TERMS = 512  # of a sum: longer ones are shared out among threads, so that their rounding depends on the number


class DenseLinear(nn.Module):
    """An affine layer on activations of shape (units, batch).

    Attributes
    ----------
    affine : Parameter of shape (n_out, 1 + n_in)
        The bias and the weight: inputs come with a row of ones on top, so that a product adds the bias as well.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(n_in, 1))
        # Drawn in one precision, so that the default one has no say in the numbers.
        affine = torch.empty(n_out, 1 + n_in, dtype=torch.float32).uniform_(-bound, bound)
        self.affine = nn.Parameter(affine.to(torch.get_default_dtype()))

    @property
    def bias(self) -> Tensor:
        """Shape (n_out,)."""
        return self.affine[:, 0]

    @property
    def weight(self) -> Tensor:
        """Shape (n_out, n_in)."""
        return self.affine[:, 1:]

    def evaluate(self, h: Tensor, out: Tensor, place: _Place) -> None:
        """``weight @ h + bias`` for ``h`` with a row of ones on top, written into ``out``."""
        place.affine = self.affine
        torch.mm(self.affine, h, out=out)

    def pull_back(self, h: Tensor, grad: Tensor, grad_h: Tensor | None, place: _Place) -> None:
        """Gradients from that of the output: of the inputs into ``grad_h``, of ``affine`` into ``place``."""
        _product(grad, h.t(), place.grad_like(self.affine))
        if grad_h is not None:
            _product(place.affine[:, 1:].t(), grad, grad_h)


class MaskedLinear(DenseLinear):
    """An affine layer whose unit of degree m sees only the inputs of degree at most m (both sorted).

    Attributes
    ----------
    mask : Tensor of shape (n_out, 1 + n_in)
        One where ``affine`` counts.
    rows : list of (start, stop, n_seen)
        Bands of units, and the number of leading inputs, the ones among them, that each can see.
    columns : list of (start, stop, first)
        Bands of inputs, and the first unit that can see any of each.
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, zero: bool = False):
        n_in, n_out = len(in_degrees), len(out_degrees)
        super().__init__(n_in, n_out)
        mask = torch.ones(n_out, 1 + n_in)
        mask[:, 1:] = out_degrees[:, None] >= in_degrees
        self.register_buffer("mask", mask, persistent=False)
        n_seen = mask.sum(1)
        share = 0.0 if zero else (n_in / (n_seen - 1).clamp_min(1)).sqrt()[:, None]  # fewer inputs, larger weights
        with torch.no_grad():
            self.affine.mul_(share).mul_(mask)
        seen, seen_by = n_seen.long().tolist(), mask.sum(0).long().tolist()
        self.rows = [(start, stop, seen[stop - 1]) for start, stop in _bands(n_out)]
        self.columns = [(start, stop, n_out - seen_by[1 + start]) for start, stop in _bands(n_in)]

    def evaluate(self, h, out, place):
        """``(affine * mask) @ h``, band by band, without the products that the mask makes zero."""
        affine = place.affine = self.affine if place.again else self.masked()
        if len(self.rows) == 1:
            torch.mm(affine, h, out=out)
            return
        for start, stop, n_seen in self.rows:
            torch.mm(affine[start:stop, :n_seen], h[:n_seen], out=out[start:stop])

    def pull_back(self, h, grad, grad_h, place):
        _product(grad, h.t(), place.grad_like(self.affine)).mul_(self.mask)
        if grad_h is None:
            return
        weight = place.affine[:, 1:]
        if len(self.columns) == 1:
            _product(weight.t(), grad, grad_h)
            return
        for start, stop, first in self.columns:
            _product(weight[first:, start:stop].t(), grad[first:], grad_h[start:stop])

    @torch.no_grad()
    def clear_idle(self) -> None:
        """Set the entries of ``affine`` that the mask hides to zero, where their gradient leaves them."""
        self.affine.mul_(self.mask)

    def n_idle(self) -> int:
        """Number of entries of ``affine`` that the mask hides."""
        return int((self.mask == 0).sum())

    def masked(self) -> Tensor:
        """``affine`` with the entries that the degrees forbid at zero."""
        return self.affine * self.mask


def _product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """``a @ b``, written into ``out``, to the same bits on any number of threads."""
    torch.mm(a[:, :MAX_TERMS], b[:MAX_TERMS], out=out)
    for start in range(MAX_TERMS, len(b), MAX_TERMS):
        out.addmm_(a[:, start : start + MAX_TERMS], b[start : start + MAX_TERMS])
    return out


def _bands(n: int) -> list[tuple[int, int]]:
    n_bands = max(1, min(MAX_BANDS, n // UNITS_PER_BAND))
    edges = [round(i * n / n_bands) for i in range(n_bands + 1)]
    return list(zip(edges, edges[1:]))


class _Place:
    """What a layer keeps from `evaluate` for `pull_back`: the weights that it used, and where their gradient goes.

    In evaluations over the same memory ``again`` is true, and masked weights are taken for cleared ones.
    """

    affine: Tensor
    grad: Tensor | None = None
    again = False

    def grad_like(self, affine: Tensor) -> Tensor:
        """The memory of the gradient."""
        if self.grad is None:
            self.grad = torch.empty_like(affine, requires_grad=False)
        return self.grad


class _Activations:
    """Memory for one evaluation of ``n`` rows and its derivative.

    Attributes
    ----------
    inputs : list of Tensor of shape (1 + n_units, n)
        The input of every layer, with a row of ones on top.
    units : list of Tensor of shape (n_units, n)
        The same without the ones.
    out : Tensor of shape (n_out * n_params, n)
    params : Tensor of shape (n_params, n_out, n)
        The same memory as ``out``.
    places : list
        One a layer.
    """

    def __init__(self, network: Network, like: Tensor):
        n, layers = like.shape[1], network.layers()
        self.inputs = [like.new_empty(layer.affine.shape[1], n) for layer in layers]
        self.units = [h[1:] for h in self.inputs]
        for h in self.inputs:
            h[0] = 1
        self.out = like.new_empty(len(layers[-1].affine), n)
        self.params = self.out.unflatten(0, (-1, network.n_params)).transpose(0, 1)
        self.places = [_Place() for _ in layers]
        self.grads: list[Tensor] = []

    def seen(self) -> None:
        """Note that an evaluation writes over an earlier one."""
        for place in self.places:
            place.again = True


class Network(nn.Module):
    """A multilayer perceptron from (n_in, batch) to (n_params, n_out, batch); its last layer starts at zero.

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

    def forward(self, h: Tensor) -> Tensor:
        return _Evaluated.apply(self, h, *self.parameters())

    @torch.no_grad()
    def evaluate(self, parts: Sequence[Tensor], memory: _Activations | None = None) -> tuple[Tensor, _Activations]:
        """The parameters, and what `pull_back` needs; without a graph.

        ``parts`` are the input from top to bottom. ``memory`` is what an earlier evaluation of as many rows returned,
        to be written over; since then the weights must have moved along their gradients only (see `clear_idle`).
        """
        if memory is None:
            memory = _Activations(self, parts[0])
        else:
            memory.seen()
        top = 0
        for part in parts:
            memory.units[0][top : top + len(part)].copy_(part)
            top += len(part)
        for layer, h, unit, place in zip(self.hidden, memory.inputs, memory.units[1:], memory.places):
            layer.evaluate(h, unit, place)
            unit.relu_()
        self.output.evaluate(memory.inputs[-1], memory.out, memory.places[-1])
        return memory.params, memory

    def pull_back(self, memory: _Activations, grad: Tensor, to_input: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients with respect to the input (where wanted) and the parameters, from that of the output."""
        if not memory.grads:
            memory.grads = [torch.empty_like(unit) for unit in memory.units]
        grad = grad.transpose(0, 1).flatten(0, 1)
        layers = self.layers()
        for i in range(len(layers) - 1, -1, -1):
            grad_h = memory.grads[i] if i or to_input else None
            layers[i].pull_back(memory.inputs[i], grad, grad_h, memory.places[i])
            if i:
                torch.ops.aten.threshold_backward.grad_input(grad_h, memory.units[i], 0, grad_input=grad_h)
            grad = grad_h
        return grad, [place.grad for place in memory.places]


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, network, h, *parameters):
        params, ctx.memory = network.evaluate([h])
        ctx.network = network
        return params

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad, grads = ctx.network.pull_back(ctx.memory, grad, ctx.needs_input_grad[1])
        # Copies: a second derivative of the same evaluation writes over the memory.
        return None, None if grad is None else grad.clone(), *(g.clone() for g in grads)


class DenseNetwork(Network):
    """A perceptron where everything sees everything."""

    def __init__(self, n_in: int, n_out: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        sizes = [n_in, *hidden_layer_sizes]
        hidden = [DenseLinear(a, b) for a, b in zip(sizes, sizes[1:])]
        super().__init__(hidden, DenseLinear(sizes[-1], n_out * n_params, zero=True), n_params)


class MaskedNetwork(Network):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9).

    Maps a context and the features, (n_context + n_features, batch), to parameters (n_params, n_features, batch); the
    parameters of feature i depend on the features before i and on the whole context.
    """

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        lowest = 0 if n_context or n_features == 1 else 1  # degree 0 sees the context alone
        degrees = [torch.cat([torch.zeros(n_context), torch.arange(1, n_features + 1)])]
        for size in hidden_layer_sizes:
            spread = torch.arange(size) * (n_features - lowest) // max(size, 1) + lowest
            degrees.append(spread.clamp_max(max(n_features - 1, 0)))
        outputs = torch.arange(n_features).repeat_interleave(n_params)
        hidden = [MaskedLinear(a, b) for a, b in zip(degrees, degrees[1:])]
        super().__init__(hidden, MaskedLinear(degrees[-1], outputs, zero=True), n_params)
        self.n_features = n_features
        self.degrees = degrees

    def rollout(self, n: int, context: Tensor | None, like: Tensor) -> _Rollout:
        """Start an evaluation feature by feature, for the sequential direction."""
        return _Rollout(self, n, context, like)


class _Rollout:
    """Evaluates a masked network one feature at a time, in the work of a single pass.

    Units are sorted by degree, so the parameters of feature i need only the hidden units of degree up to i - 1, and of
    those only the last have not been computed before.
    """

    def __init__(self, network, n, context, like):
        self.n_features, self.n_params = network.n_features, network.n_params
        self.affine = [layer.masked() for layer in network.layers()]
        self.rows = [_Rows(1 + len(m), n, like) for m in network.degrees]
        if context is not None:
            self.rows[0].append(context)
        # starts[l][i]: the number of units of layer l with a degree below i
        numbers = torch.arange(network.n_features + 2)
        self.starts = [torch.searchsorted(m.long(), numbers).tolist() for m in network.degrees]

    def params(self, i: int) -> Tensor:
        """Parameters of feature i (counted from zero), shape (n_params, batch); features before i are known."""
        for level in range(1, len(self.rows)):
            first, last = self.starts[level][i] if i else 0, self.starts[level][i + 1]
            if last > first:
                n_seen = 1 + self.starts[level - 1][i + 1]
                below = self.rows[level - 1].first(n_seen)
                self.rows[level].append_units(self.affine[level - 1][first:last, :n_seen], below)
        n_seen, p = 1 + self.starts[-1][i + 1], self.n_params
        return self.affine[-1][i * p : (i + 1) * p, :n_seen] @ self.rows[-1].first(n_seen)

    def append(self, x: Tensor) -> None:
        """Tell the value of the next feature, shape (batch,)."""
        self.rows[0].append(x[None])

    def features(self) -> Tensor:
        """The features told so far, shape (n_features, batch)."""
        rows = self.rows[0]
        return rows.first(rows.filled)[rows.filled - self.n_features :]


class _Rows:
    """Rows that grow, one of ones first: written into one buffer, or concatenated where gradients must flow through."""

    def __init__(self, n_rows, n, like):
        self.functional = torch.is_grad_enabled()
        self.data = like.new_empty(1 if self.functional else n_rows, n)
        self.data[0] = 1
        self.filled = 1

    def append(self, rows):
        if self.functional:
            self.data = torch.cat([self.data, rows])
        else:
            self.data[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def append_units(self, affine, below):
        if self.functional:
            self.append(torch.relu(affine @ below))
            return
        start, self.filled = self.filled, self.filled + len(affine)
        torch.mm(affine, below, out=self.data[start : self.filled]).relu_()

    def first(self, n):
        return self.data[:n]
