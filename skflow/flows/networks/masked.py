"""The masked network of MADE, in one pass or feature by feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .degrees import masks, unit_degrees
from .dense import Network
from .linear import MaskedLinear, affine_map


class MaskedNetwork(Network):
    """The masked multilayer perceptron of MADE (Germain et al. 2015, eq. 8 and 9); its last layer starts at zero.

    The input is a context and then the features; the parameters of feature i depend on the features before i and on the
    whole context.

    Attributes
    ----------
    degrees : list of Tensor
        See `skflow.flows.networks.degrees.unit_degrees`.
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
