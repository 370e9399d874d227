"""Linear bijections: what mixes the features between the layers of a flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .bijection import Bijection


class Permutation(Bijection):
    """Reorder the features: column i of the result is column ``order[i]`` of the input."""

    def __init__(self, order):
        super().__init__()
        order = torch.as_tensor(order)
        self.register_buffer("order", order)
        self.register_buffer("undo", torch.argsort(order))

    @classmethod
    def reverse(cls, n_features: int) -> Permutation:
        """Last feature first."""
        return cls(torch.arange(n_features).flip(0))

    @classmethod
    def random(cls, n_features: int) -> Permutation:
        """A uniformly drawn order."""
        return cls(torch.randperm(n_features))

    def forward(self, x, context=None):
        return x.t().index_select(0, self.order).t(), x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return z.t().index_select(0, self.undo).t(), z.new_zeros(len(z))


class LU(Bijection):
    """Invertible matrix in the factors of Glow (Kingma & Dhariwal 2018, eq. 10), ``z = L U x + b``, first the identity.

    ``L`` is unit lower triangular, ``U`` upper triangular with diagonal ``exp(log_diagonal)``; both directions cost
    O(d^2) per row and the log-determinant is the sum of ``log_diagonal``.
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(n_features, n_features))
        self.upper = nn.Parameter(torch.zeros(n_features, n_features))
        self.log_diagonal = nn.Parameter(torch.zeros(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def n_idle(self) -> int:
        """Number of entries with no effect: those of the two triangular matrices on the other side of the diagonal."""
        return len(self.bias) * (len(self.bias) + 1)

    def _factors(self):
        lower = torch.tril(self.lower, -1) + torch.eye(len(self.bias), dtype=self.bias.dtype, device=self.bias.device)
        return lower, torch.triu(self.upper, 1) + torch.diag(self.log_diagonal.exp())

    def forward(self, x, context=None):
        lower, upper = self._factors()
        z = torch.addmm(self.bias[:, None], lower @ upper, x.t()).t()
        return z, self.log_diagonal.sum().expand(len(x))

    def inverse(self, z, context=None):
        lower, upper = self._factors()
        half = torch.linalg.solve_triangular(lower, (z - self.bias).t(), upper=False, unitriangular=True)
        x = torch.linalg.solve_triangular(upper, half, upper=True).t()
        return x, -self.log_diagonal.sum().expand(len(z))


def orthonormal(raw: Tensor) -> Tensor:
    """Orthonormal columns (..., d, m) from unconstrained numbers of that shape: a product of m Householder reflections.

    Reflection j is along a vector with j zeros, a one, and then what ``raw`` holds below its diagonal (Tomczak &
    Welling 2016, eq. 8).
    """
    vectors = torch.tril(raw, -1)
    vectors = vectors + torch.eye(*raw.shape[-2:], dtype=raw.dtype, device=raw.device)
    return torch.linalg.householder_product(vectors, 2 / (vectors * vectors).sum(-2))


class Rotation(Bijection):
    """Orthogonal map learned as a product of Householder reflections; starts at a random one. Preserves volume."""

    def __init__(self, n_features: int):
        super().__init__()
        # Drawn in one precision, so that the default one has no say in the numbers.
        raw = torch.randn(n_features, n_features, dtype=torch.float32)
        self.raw = nn.Parameter(raw.to(torch.get_default_dtype()))

    def n_idle(self) -> int:
        """Number of entries with no effect: those on and above the diagonal."""
        return len(self.raw) * (len(self.raw) + 1) // 2

    def forward(self, x, context=None):
        return (orthonormal(self.raw) @ x.t()).t(), x.new_zeros(len(x))

    def inverse(self, z, context=None):
        return (orthonormal(self.raw).t() @ z.t()).t(), z.new_zeros(len(z))


class ActNorm(Bijection):
    """Scale and shift of every feature, ``z = x exp(s) + b`` (Kingma & Dhariwal 2018, section 3.1).

    `initialise` sets both so that the rows it sees come out with mean zero and variance one.
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_features))
        self.shift = nn.Parameter(torch.zeros(n_features))

    @torch.no_grad()
    def initialise(self, x, context=None):
        scale = x.std(0, correction=0).clamp_min(1e-3)
        self.log_scale.copy_(-scale.log())
        self.shift.copy_(-x.mean(0) / scale)

    def forward(self, x, context=None):
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(len(x))

    def inverse(self, z, context=None):
        return (z - self.shift) * torch.exp(-self.log_scale), -self.log_scale.sum().expand(len(z))
