"""The networks that emit a univariate map's parameters: dense and masked.

Activations are laid out (units, batch): the batch is contiguous, rows are units. Units of a masked layer are sorted by
degree, so its weight is block-triangular and only the blocks that hold weights are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

ROWS_PER_BLOCK = 64  # below this a smaller matrix product costs as much as the larger one it replaces
MAX_BLOCKS = 6


class DenseLinear(nn.Module):
    """An affine layer on activations of shape (units, batch)."""

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(n_in, 1))
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound))

    def forward(self, h: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight, h)


class DenseNetwork(nn.Module):
    """A multilayer perceptron from (n_in, batch) to (n_params, n_out, batch); its last layer starts at zero."""

    def __init__(self, n_in: int, n_out: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        super().__init__()
        sizes = [n_in, *hidden_layer_sizes]
        self.n_out = n_out
        self.n_params = n_params
        self.hidden = nn.ModuleList(DenseLinear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.output = DenseLinear(sizes[-1], n_out * n_params, zero=True)

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.hidden:
            h = torch.relu_(layer(h))
        return self.output(h).view(self.n_out, self.n_params, -1).transpose(0, 1)


class MaskedLinear(nn.Module):
    """An affine layer whose unit of degree m sees only the inputs of degree at most m (both sorted)."""

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, zero: bool = False):
        super().__init__()
        self.register_buffer("mask", (out_degrees[:, None] >= in_degrees).float(), persistent=False)
        fan_in = self.mask.sum(1).clamp_min(1)[:, None]
        bound = torch.zeros_like(fan_in) if zero else fan_in.rsqrt()
        self.weight = nn.Parameter((2 * torch.rand_like(self.mask) - 1) * bound * self.mask)
        self.bias = nn.Parameter((2 * torch.rand(len(out_degrees)) - 1) * bound[:, 0])
        self.blocks = _blocks(in_degrees.tolist(), out_degrees.tolist())

    def forward(self, h: Tensor) -> Tensor:
        return _MaskedProduct.apply(h, self.weight, self.bias, self.mask, self.blocks)

    def n_idle(self) -> int:
        """Number of entries of the weight that the mask hides."""
        return int((self.mask == 0).sum())

    def masked_weight(self) -> Tensor:
        """The weight with the entries that the degrees forbid at zero."""
        return self.weight * self.mask


def _blocks(in_degrees: list[int], out_degrees: list[int]) -> list[tuple[int, int, int]]:
    """Bands of rows and the number of leading inputs that each can see: (first row, last row, inputs)."""
    n_rows = len(out_degrees)
    n_blocks = max(1, min(MAX_BLOCKS, n_rows // ROWS_PER_BLOCK))
    edges = [round(i * n_rows / n_blocks) for i in range(n_blocks + 1)]
    seen = [sum(m <= out_degrees[stop - 1] for m in in_degrees) for stop in edges[1:]]
    return list(zip(edges, edges[1:], seen))


class _MaskedProduct(torch.autograd.Function):
    """``(weight * mask) @ h + bias``, band by band, without the products that the mask makes zero."""

    @staticmethod
    def forward(ctx, h, weight, bias, mask, blocks):
        weight = weight * mask
        ctx.save_for_backward(h, weight, mask)
        ctx.blocks = blocks
        if len(blocks) == 1:
            return torch.addmm(bias[:, None], weight, h)
        out = h.new_empty(len(weight), h.shape[1])
        for start, stop, seen in blocks:
            torch.addmm(bias[start:stop, None], weight[start:stop, :seen], h[:seen], out=out[start:stop])
        return out

    @staticmethod
    def backward(ctx, grad):
        h, weight, mask = ctx.saved_tensors
        grad_h = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_h = _transposed_product(weight, grad, ctx.blocks)
        if ctx.needs_input_grad[1]:
            if len(ctx.blocks) == 1:
                grad_weight = (grad @ h.t()).mul_(mask)
            else:
                grad_weight = torch.zeros_like(weight)
                for start, stop, seen in ctx.blocks:
                    torch.mm(grad[start:stop], h[:seen].t(), out=grad_weight[start:stop, :seen])
                grad_weight.mul_(mask)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(1)
        return grad_h, grad_weight, grad_bias, None, None


def _transposed_product(weight, grad, blocks):
    if len(blocks) == 1:
        return weight.t() @ grad
    out = grad.new_zeros(weight.shape[1], grad.shape[1])
    for start, stop, seen in blocks:
        out[:seen].addmm_(weight[start:stop, :seen].t(), grad[start:stop])
    return out


class MaskedNetwork(nn.Module):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9).

    Maps (n_features, batch) and a context of (n_context, batch) to parameters (n_params, n_features, batch); the
    parameters of feature i depend on the features before i and on the whole context. The last layer starts at zero.
    """

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        super().__init__()
        self.n_features = n_features
        self.n_params = n_params
        lowest = 0 if n_context or n_features == 1 else 1  # degree 0 sees the context alone
        degrees = [torch.cat([torch.zeros(n_context), torch.arange(1, n_features + 1)])]
        for size in hidden_layer_sizes:
            spread = torch.arange(size) * (n_features - lowest) // max(size, 1) + lowest
            degrees.append(spread.clamp_max(max(n_features - 1, 0)))
        outputs = torch.arange(n_features).repeat_interleave(n_params)
        self.hidden = nn.ModuleList(MaskedLinear(a, b) for a, b in zip(degrees, degrees[1:]))
        self.output = MaskedLinear(degrees[-1], outputs, zero=True)
        self.degrees = [m.tolist() for m in degrees]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = x if context is None else torch.cat([context, x])
        for layer in self.hidden:
            h = torch.relu_(layer(h))
        return self.output(h).view(self.n_features, self.n_params, -1).transpose(0, 1)

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
        self.weights = [layer.masked_weight() for layer in layers]
        self.biases = [layer.bias[:, None] for layer in layers]
        self.rows = [_Rows(len(m), n, like) for m in network.degrees]
        if context is not None:
            self.rows[0].append(context)
        # starts[l][i]: the number of units of layer l with a degree below i
        self.starts = [[sum(m < i for m in ms) for i in range(network.n_features + 2)] for ms in network.degrees]

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
        return self._product(len(self.weights) - 1, i * p, (i + 1) * p, seen, len(self.rows) - 1)

    def _product(self, layer, first, last, seen, level):
        weight, bias = self.weights[layer][first:last, :seen], self.biases[layer][first:last]
        return torch.addmm(bias, weight, self.rows[level].first(seen))

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
