"""The networks that emit a univariate map's parameters: dense and masked, with derivatives written out by hand.

Activations are laid out (units, batch): the batch is contiguous, rows are units. Units of a masked layer are sorted by
degree, so its weight is block-triangular and only the blocks that hold weights are multiplied.

`Network.evaluate` and `Network.pull_back` are plain arithmetic, without a graph. On small tensors most of the time of a
training step would go into building one: a whole chain is a single node (see `skflow.flows.bijection`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

UNITS_PER_BAND = 128  # below this a smaller matrix product costs as much as the larger one it replaces
MAX_BANDS = 6


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

    def evaluate(self, h: Tensor, out: Tensor) -> Tensor:
        """``weight @ h + bias`` for ``h`` with a row of ones on top, written into ``out``."""
        return torch.mm(self.affine, h, out=out)

    def pull_back(self, h: Tensor, grad: Tensor, to_input: bool = True) -> tuple[Tensor | None, Tensor]:
        """Gradients with respect to the inputs (where wanted) and ``affine``, from that with respect to the output."""
        return self.weight.t() @ grad if to_input else None, grad @ h.t()


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

    def evaluate(self, h, out):
        """``(affine * mask) @ h``, band by band, without the products that the mask makes zero."""
        affine = self.masked()
        if len(self.rows) == 1:
            return torch.mm(affine, h, out=out)
        for start, stop, n_seen in self.rows:
            torch.mm(affine[start:stop, :n_seen], h[:n_seen], out=out[start:stop])
        return out

    def pull_back(self, h, grad, to_input=True):
        grad_h = self._pull_back_input(grad) if to_input else None
        if len(self.rows) == 1:
            return grad_h, (grad @ h.t()).mul_(self.mask)
        grad_affine = torch.zeros_like(self.affine)
        for start, stop, n_seen in self.rows:
            torch.mm(grad[start:stop], h[:n_seen].t(), out=grad_affine[start:stop, :n_seen])
        return grad_h, grad_affine.mul_(self.mask)

    def _pull_back_input(self, grad):
        weight = self.masked()[:, 1:]
        if len(self.columns) == 1:
            return weight.t() @ grad
        out = grad.new_empty(weight.shape[1], grad.shape[1])
        for start, stop, first in self.columns:
            torch.mm(weight[first:, start:stop].t(), grad[first:], out=out[start:stop])
        return out

    def n_idle(self) -> int:
        """Number of entries of ``affine`` that the mask hides."""
        return int((self.mask == 0).sum())

    def masked(self) -> Tensor:
        """``affine`` with the entries that the degrees forbid at zero."""
        return self.affine * self.mask


def _bands(n: int) -> list[tuple[int, int]]:
    n_bands = max(1, min(MAX_BANDS, n // UNITS_PER_BAND))
    edges = [round(i * n / n_bands) for i in range(n_bands + 1)]
    return list(zip(edges, edges[1:]))


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

    def forward(self, h: Tensor) -> Tensor:
        return _Evaluated.apply(self, h, *self.parameters())

    def evaluate(self, h: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The parameters, and the input of every layer for `pull_back`; without a graph."""
        n = h.shape[1]
        inputs = [torch.cat([h.new_ones(1, n), h])]
        for layer in self.hidden:
            out = h.new_empty(1 + len(layer.affine), n)
            out[0] = 1
            layer.evaluate(inputs[-1], out[1:]).relu_()
            inputs.append(out)
        out = self.output.evaluate(inputs[-1], h.new_empty(len(self.output.affine), n))
        return out.view(len(out) // self.n_params, self.n_params, n).transpose(0, 1), inputs

    def pull_back(self, inputs: Sequence[Tensor], grad: Tensor, to_input: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients with respect to the input (where wanted) and the parameters, from that of the output."""
        grad = grad.transpose(0, 1).flatten(0, 1)
        grads: list[Tensor] = []
        for i, layer in reversed(list(enumerate([*self.hidden, self.output]))):
            grad, own = layer.pull_back(inputs[i], grad, i > 0 or to_input)
            grads.insert(0, own)
            if i:
                grad = torch.ops.aten.threshold_backward(grad, inputs[i][1:], 0)
        return grad, grads


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, network, h, *parameters):
        params, inputs = network.evaluate(h)
        ctx.network = network
        ctx.save_for_backward(*inputs)
        return params

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad, grads = ctx.network.pull_back(ctx.saved_tensors, grad, ctx.needs_input_grad[1])
        return None, grad, *grads


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
        layers = [*network.hidden, network.output]
        self.network = network
        self.affine = [layer.masked() for layer in layers]
        self.rows = [_Rows(len(m), n, like) for m in network.degrees]
        if context is not None:
            self.rows[0].append(context)
        # starts[l][i]: the number of units of layer l with a degree below i
        numbers = torch.arange(network.n_features + 2)
        self.starts = [torch.searchsorted(m.long(), numbers).tolist() for m in network.degrees]

    def params(self, i: int) -> Tensor:
        """Parameters of feature i (counted from zero), shape (n_params, batch); features before i are known."""
        for level in range(1, len(self.rows)):
            first, last = self.starts[level][i], self.starts[level][i + 1]
            if i == 0:
                first = 0
            if last > first:
                seen = self.starts[level - 1][i + 1]
                self.rows[level].append(torch.relu(self._product(level - 1, first, last, seen, level - 1)))
        seen = self.starts[-1][i + 1]
        p = self.network.n_params
        return self._product(len(self.affine) - 1, i * p, (i + 1) * p, seen, len(self.rows) - 1)

    def _product(self, layer, first, last, seen, level):
        affine = self.affine[layer][first:last, : 1 + seen]
        return torch.addmm(affine[:, :1], affine[:, 1:], self.rows[level].first(seen))

    def append(self, x: Tensor) -> None:
        """Tell the value of the next feature, shape (batch,)."""
        self.rows[0].append(x[None])

    def features(self) -> Tensor:
        """The features told so far, shape (n_features, batch)."""
        rows = self.rows[0]
        return rows.first(rows.filled)[rows.filled - self.network.n_features :]


class _Rows:
    """Rows that grow: written into one buffer, or concatenated where gradients must flow through them."""

    def __init__(self, n_rows, n, like):
        self.filled = 0
        self.functional = torch.is_grad_enabled()
        self.data = like.new_empty(0 if self.functional else n_rows, n)

    def append(self, rows):
        if self.functional:
            self.data = torch.cat([self.data, rows])
        else:
            self.data[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def first(self, n):
        return self.data[:n]
