"""What planar, radial and Sylvester layers share: parameters of the context, and a scalar map that can be inverted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.dense import DenseNetwork
from ..univariate.root import solve_monotone

MIN_SLOPE = 1e-2  # least slope of the scalar map within
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # raw zero gives a slope of one


def positive_slope(raw: Tensor) -> Tensor:
    """A slope of at least MIN_SLOPE from an unconstrained number; one at zero."""
    return MIN_SLOPE + F.softplus(raw + UNIT_SLOPE)


class Scalar:
    """The increasing map ``p + (slope - 1) tanh(p)``, of the given slope at zero and slope one far out."""

    def __init__(self, slope: Tensor):
        self.slope = slope

    def __call__(self, p):
        h = torch.tanh(p)
        # slope - (slope - 1) tanh^2, with no cancellation where the slope is small and p too
        return p + (self.slope - 1) * h, torch.log(self.slope * (1 - h * h) + h * h)

    def solve(self, target):
        """p and the log-slope there; the tanh moves a number by no more than ``|slope - 1|``."""
        reach = (self.slope.detach() - 1).abs().expand_as(target)
        slack = reach * (1 + 1e-6) + 1e-6 * target.detach().abs()
        return solve_monotone(self, target, target.detach() - slack, target.detach() + slack)


def start_of_zeros(n: int) -> Tensor:
    """Where drawn numbers are put: in one precision, so that the default one has no say in them."""
    return torch.zeros(n, dtype=torch.float32)


class ContextParameters(nn.Module):
    """Parameters of a residual layer, shape (P, 1), or (P, n) with a network on the context that starts at zero."""

    def __init__(self, start: Tensor, n_context: int, hidden_layer_sizes: Sequence[int]):
        super().__init__()
        self.free = nn.Parameter(start.to(torch.get_default_dtype()))
        self.network = DenseNetwork(n_context, len(start), 1, hidden_layer_sizes) if n_context else None

    def forward(self, context):
        free = self.free[:, None]
        return free if self.network is None else free + self.network(context.t())[0]
