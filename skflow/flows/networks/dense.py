"""Multilayer perceptrons from inputs to parameters of univariate maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .linear import DenseLinear, affine_map


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
