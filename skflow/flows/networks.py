"""The networks that emit a univariate map's parameters: perceptrons, dense and masked.

Activations have the shape (units, batch): the batch is contiguous, as it is in the univariate maps behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .degrees import masks, unit_degrees


class DenseLinear(nn.Module):
    """An affine layer.

    Attributes
    ----------
    affine : Parameter of shape (n_out, 1 + n_in)
        The bias and, on its right, the weight.
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

    def used(self) -> Tensor:
        """What inputs are multiplied with, of the shape of ``affine``."""
        return self.affine


class MaskedLinear(DenseLinear):
    """An affine layer where units see some of the inputs: those where ``mask`` is one, of the shape of ``affine``."""

    def __init__(self, mask: Tensor, *, zero: bool = False):
        super().__init__(mask.shape[1] - 1, len(mask))
        self.register_buffer("mask", mask.to(self.affine), persistent=False)
        gain = (self.weight.shape[1] / (mask.sum(1) - 1).clamp_min(1)).sqrt()[:, None]  # a unit sees fewer inputs
        with torch.no_grad():
            self.affine.mul_(0.0 if zero else gain.to(self.affine.device)).mul_(self.mask)

    def used(self):
        """Whatever stands in the hidden entries has no say."""
        return self.affine * self.mask

    def n_idle(self) -> int:
        """Number of entries of ``affine`` that the mask hides."""
        return int((self.mask == 0).sum())


def affine_map(affine: Tensor, h: Tensor) -> Tensor:
    """Units (n_out, n) from inputs (n_in, n); ``affine`` holds the bias and the weight."""
    bias, weight = affine.split((1, affine.shape[1] - 1), 1)  # whose gradients are joined in one go
    return torch.addmm(bias, weight, h)


class Network(nn.Module):
    """A multilayer perceptron from inputs (n_in, n) to parameters (n_params, n_out, n).

    Parameters
    ----------
    hidden : sequence of DenseLinear
    output : DenseLinear
        Its units are n_out groups of n_params.
    n_params : int
    """

    def __init__(self, hidden: Sequence[DenseLinear], output: DenseLinear, n_params: int):
        super().__init__()
        self.n_params = n_params
        self.hidden = nn.ModuleList(hidden)
        self.output = output

    def layers(self) -> list[DenseLinear]:
        """The layers in order, the output's last."""
        return [*self.hidden, self.output]

    def forward(self, h: Tensor) -> Tensor:
        return self.evaluate([layer.used() for layer in self.layers()], h)

    def evaluate(self, affines: Sequence[Tensor], h: Tensor) -> Tensor:
        """The parameters by the given ``affine`` of every layer."""
        *hidden, output = affines
        for affine in hidden:
            h = affine_map(affine, h).relu_()
        return affine_map(output, h).view(-1, self.n_params, h.shape[1]).transpose(0, 1)


class DenseNetwork(Network):
    """A perceptron where everything sees everything; its last layer starts at zero."""

    def __init__(self, n_in: int, n_out: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        sizes = [n_in, *hidden_layer_sizes]
        hidden = [DenseLinear(a, b) for a, b in zip(sizes, sizes[1:])]
        super().__init__(hidden, DenseLinear(sizes[-1], n_out * n_params, zero=True), n_params)


class MaskedNetwork(Network):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9); its last layer starts at zero.

    The input is a context and then the features; the parameters of feature i depend on the features before i and on the
    whole context.

    Attributes
    ----------
    degrees : list of Tensor
        See `skflow.flows.degrees.unit_degrees`.
    """

    def __init__(self, n_features: int, n_context: int, n_params: int, hidden_layer_sizes: Sequence[int]):
        with torch.device("cpu"):  # whatever the device of the parameters is: degrees are counted with
            degrees = unit_degrees(n_features, n_context, hidden_layer_sizes)
            *hidden, output = masks(degrees, n_params)
        super().__init__([MaskedLinear(mask) for mask in hidden], MaskedLinear(output, zero=True), n_params)
        self.n_features = n_features
        self.n_context = n_context
        self.degrees = degrees

    def feature_by_feature(self, context: Tensor | None, n: int) -> FeatureByFeature:
        """Start an evaluation where each feature of n rows is told after its parameters were asked for."""
        return FeatureByFeature(self, context, n)


class FeatureByFeature:
    """Evaluates a masked network for one feature after the other, in the work of a single pass.

    Units are sorted by degree, so the parameters of feature i need only the hidden units of degree up to i, and of
    those only the ones of degree i have not been computed before.

    Parameters
    ----------
    network : MaskedNetwork
    context : Tensor of shape (n_context, n) or None
    n : int
        Number of rows.
    """

    def __init__(self, network: MaskedNetwork, context: Tensor | None, n: int):
        self._affines = [layer.used() for layer in network.layers()]
        self._n_params = network.n_params
        empty = self._affines[0].new_empty(0, n)
        self._units = [empty if context is None else context, *[empty] * (len(self._affines) - 1)]
        n_features = network.n_features
        counts = [torch.bincount(units, minlength=n_features)[:n_features].cumsum(0) for units in network.degrees]
        self._n_known = [[0, *count.tolist()] for count in counts]  # units of a degree below 0, 1, 2, ...

    def params(self, i: int) -> Tensor:
        """Parameters of feature i (counted from zero), shape (n_params, n); the features before i have been told."""
        units = self._units
        for level in range(1, len(units)):
            first, last = self._n_known[level][i : i + 2]
            if last > first:
                new = self._rows(level - 1, i, first, last).relu_()
                units[level] = torch.cat([units[level], new])
        return self._rows(-1, i, i * self._n_params, (i + 1) * self._n_params)

    def _rows(self, level, i, first, last):
        """Some units of the layer behind ``level``, of all that they see."""
        n_seen = self._n_known[level][i + 1]
        return affine_map(self._affines[level][first:last, : 1 + n_seen], self._units[level][:n_seen])

    def tell(self, x: Tensor) -> None:
        """The values of the next feature, shape (n,)."""
        self._units[0] = torch.cat([self._units[0], x[None]])
