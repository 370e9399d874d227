"""Residual flows that invert exactly: planar, radial and Sylvester.

Each adds to x a vector that depends on it through a few numbers only, so that the inverse is a problem in those
numbers. The parameters are free or, given a context, come from a dense network on it: every row then has a map of its
own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .bijection import Bijection
from .linear import orthonormal
from .networks import DenseNetwork
from .root import solve_monotone
from .univariate import soft_clip

MIN_SLOPE = 1e-2  # least slope of the scalar map within
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # raw zero gives a slope of one


def _slope(raw: Tensor) -> Tensor:
    """A slope of at least MIN_SLOPE from an unconstrained number; one at zero."""
    return MIN_SLOPE + F.softplus(raw + UNIT_SLOPE)


class _Scalar:
    """The increasing curve ``p + (slope - 1) tanh(p)``, of the given slope at zero and slope one far out."""

    def __init__(self, slope: Tensor):
        self.slope = slope

    def __call__(self, p):
        h = torch.tanh(p)
        # slope - (slope - 1) tanh^2, with no cancellation where the slope is small and p too
        return p + (self.slope - 1) * h, torch.log(self.slope * (1 - h * h) + h * h)

    def solve(self, target):
        """p and the curve's log-slope there; the tanh moves a number by no more than ``|slope - 1|``."""
        reach = (self.slope.detach() - 1).abs().expand_as(target)
        slack = reach * (1 + 1e-6) + 1e-6 * target.detach().abs()
        return solve_monotone(self, target, target.detach() - slack, target.detach() + slack)


def _zeros(n: int) -> Tensor:
    """Where drawn numbers are put: in one precision, so that the default one has no say in them."""
    return torch.zeros(n, dtype=torch.float32)


class _Parameters(nn.Module):
    """Parameters of a residual layer, shape (P, 1), or (P, n) with a network on the context that starts at zero."""

    def __init__(self, start: Tensor, n_context: int, hidden_layer_sizes: Sequence[int]):
        super().__init__()
        self.free = nn.Parameter(start.to(torch.get_default_dtype()))
        self.network = DenseNetwork(n_context, len(start), 1, hidden_layer_sizes) if n_context else None

    def forward(self, context):
        free = self.free[:, None]
        return free if self.network is None else free + self.network(context.t())[0]


class Planar(Bijection):
    """``z = x + u tanh(w^T x + b)`` (Rezende & Mohamed 2015, eq. 10), with an exact inverse.

    ``u`` is moved along ``w`` so that ``w . u > -1`` (their appendix A.1; here at least -0.99, and u = 0 stays zero).
    The inverse solves ``p + (w . u) tanh(p) = w . z + b`` for the number p, between two bounds and to machine
    precision; then ``x = z - u tanh(p)``.
    """

    def __init__(self, n_features: int, n_context: int = 0, hidden_layer_sizes: Sequence[int] = (64, 64)):
        super().__init__()
        self.n_features = n_features
        start = _zeros(2 * n_features + 1)
        start[:n_features] = torch.randn(n_features, dtype=torch.float32)
        start[-1] = torch.randn((), dtype=torch.float32)
        self.parameters_ = _Parameters(start, n_context, hidden_layer_sizes)

    def _maps(self, context):
        w, u, b = self.parameters_(context).split((self.n_features, self.n_features, 1))
        along = (w * u).sum(0)
        slope = _slope(along)
        norm = (w * w).sum(0).clamp_min(torch.finfo(w.dtype).tiny ** 0.5)
        return w, u + (slope - 1 - along) * (w / norm), b[0], _Scalar(slope)

    def forward(self, x, context=None):
        w, u, b, scalar = self._maps(context)
        p = (w * x.t()).sum(0) + b
        return (x.t() + u * torch.tanh(p)).t(), scalar(p)[1]

    def inverse(self, z, context=None):
        w, u, b, scalar = self._maps(context)
        p, log_slope = scalar.solve((w * z.t()).sum(0) + b)
        return (z.t() - u * torch.tanh(p)).t(), -log_slope


class Radial(Bijection):
    """``z = x + beta (x - x0) / (alpha + r)``, r = |x - x0| (Rezende & Mohamed 2015, eq. 14), with an exact inverse.

    ``alpha > 0`` and ``beta > -alpha`` (their appendix A.2; here at least -0.99 alpha). The inverse keeps the direction
    from ``x0`` and finds the radius as the positive root of ``r^2 + (alpha + beta - R) r - alpha R = 0``, R = |z - x0|.
    """

    max_log_alpha = 4.0

    def __init__(self, n_features: int, n_context: int = 0, hidden_layer_sizes: Sequence[int] = (64, 64)):
        super().__init__()
        self.n_features = n_features
        start = _zeros(n_features + 2)
        start[:n_features] = torch.randn(n_features, dtype=torch.float32)
        self.parameters_ = _Parameters(start, n_context, hidden_layer_sizes)

    def _maps(self, context):
        center, raw_alpha, raw_slope = self.parameters_(context).split((self.n_features, 1, 1))
        return center, soft_clip(raw_alpha[0], self.max_log_alpha).exp(), _slope(raw_slope[0])

    def _log_abs_det(self, r, alpha, slope):
        # 1 + beta h and 1 + beta h + beta h' r of the paper, as means of the slope at the center and of one
        share = alpha / (alpha + r)
        tangential, radial = 1 + (slope - 1) * share, 1 + (slope - 1) * share * share
        return (self.n_features - 1) * tangential.log() + radial.log()

    def forward(self, x, context=None):
        center, alpha, slope = self._maps(context)
        offset = x.t() - center
        r = _norm(offset)
        stretch = (slope - 1) * (alpha / (alpha + r))
        return (x.t() + stretch * offset).t(), self._log_abs_det(r, alpha, slope)

    def inverse(self, z, context=None):
        center, alpha, slope = self._maps(context)
        offset = z.t() - center
        radius = _norm(offset)
        half = 0.5 * (radius - alpha * slope)
        product = alpha * radius
        # Of the two forms of the root the one that adds numbers of one sign.
        root = torch.hypot(half, product.clamp_min(torch.finfo(z.dtype).tiny).sqrt())
        r = torch.where(half > 0, half + root, product / (root - half.clamp_max(0)))
        stretch = (slope - 1) * (alpha / (alpha + r))
        return (center + offset / (1 + stretch)).t(), -self._log_abs_det(r, alpha, slope)


def _norm(offset):
    """Length of every column, with a gradient of zero instead of none at the origin."""
    square = (offset * offset).sum(0)
    return square.clamp_min(torch.finfo(offset.dtype).tiny).sqrt()


class Sylvester(Bijection):
    """``z = x + Q R tanh(S Q^T x + b)`` with orthonormal Q and triangular R, S (van den Berg et al. 2018, eq. 13).

    The m columns of Q are a product of Householder reflections. R and S are upper triangular with ``R_ii S_ii > -1``,
    so the map is invertible (their theorem 2): with y = Q^T x the inverse finds y_m, ..., y_1 in turn, each from a
    scalar equation like the planar flow's.

    Parameters
    ----------
    n_features, n_context : int
    hidden_layer_sizes : sequence of int
        Of the network on the context.
    n_columns : int, optional
        m; the number of features by default, at most 16.
    """

    max_log_diagonal = 3.0

    def __init__(
        self,
        n_features: int,
        n_context: int = 0,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        n_columns: int | None = None,
    ):
        super().__init__()
        self.n_features = n_features
        self.n_columns = m = min(n_features, n_columns or 16)
        self.sizes = (n_features * m, m * m, m * m, m, m)
        start = _zeros(sum(self.sizes))
        start[: n_features * m] = torch.randn(n_features * m, dtype=torch.float32)
        start[-m:] = torch.randn(m, dtype=torch.float32)
        self.parameters_ = _Parameters(start, n_context, hidden_layer_sizes)

    def n_idle(self) -> int:
        """Number of entries of the free parameters with no effect: above the diagonal of Q, below those of R and S."""
        m = self.n_columns
        return m * (m + 1) + m * (m - 1) // 2

    def _maps(self, context):
        m = self.n_columns
        raw = self.parameters_(context).t()  # rows: one, or one for every row of the context
        q, r, s, slopes, b = raw.split(self.sizes, 1)
        q = orthonormal(q.reshape(-1, self.n_features, m))
        slopes = _slope(slopes)
        diagonal = soft_clip(s.reshape(-1, m, m).diagonal(dim1=1, dim2=2), self.max_log_diagonal).exp()
        r = torch.triu(r.reshape(-1, m, m), 1) + torch.diag_embed((slopes - 1) / diagonal)
        s = torch.triu(s.reshape(-1, m, m), 1) + torch.diag_embed(diagonal)
        return q, r, s, slopes, b

    def forward(self, x, context=None):
        q, r, s, slopes, b = self._maps(context)
        p = _product(s, _product(q.mT, x)) + b
        log_abs_det = _Scalar(slopes)(p)[1].sum(1)
        return x + _product(q, _product(r, torch.tanh(p))), log_abs_det

    def inverse(self, z, context=None):
        q, r, s, slopes, b = self._maps(context)
        target = _product(q.mT, z)
        y: list[Tensor] = []
        h: list[Tensor] = []
        log_abs_det = z.new_zeros(len(z))
        # y_i + R_ii tanh(p_i) = target_i - sum_(j>i) R_ij tanh(p_j), where p_i = S_ii y_i + sum_(j>i) S_ij y_j + b_i
        for i in reversed(range(self.n_columns)):
            t, known = target[:, i], b[:, i].expand(len(z))
            if y:
                t = t - (r[:, i, i + 1 :] * torch.stack(h, 1)).sum(1)
                known = known + (s[:, i, i + 1 :] * torch.stack(y, 1)).sum(1)
            p, log_slope = _Scalar(slopes[:, i]).solve(s[:, i, i] * t + known)
            h.insert(0, torch.tanh(p))
            y.insert(0, t - r[:, i, i] * h[0])
            log_abs_det = log_abs_det - log_slope
        return z - _product(q, _product(r, torch.stack(h, 1))), log_abs_det


def _product(matrix, rows):
    """Matrix times every row; one matrix for all, shape (1, a, b), or one a row, (n, a, b)."""
    if len(matrix) == 1:
        return rows @ matrix[0].mT
    return torch.einsum("nab,nb->na", matrix, rows)
