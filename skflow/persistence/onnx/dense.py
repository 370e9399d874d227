"""Links of a flow that pick numbers out of a table, rewritten to compute on all: a graph has no such picking."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from ...flows.bijections.class_whitening import ClassWhitening
from ...flows.bijections.context_location import ContextLocation
from ...flows.bijections.log_tails import LogTails
from ...flows.bijections.marginal_gaussianization import MarginalGaussianization
from ...flows.bijections.standardize import Standardize
from ...flows.distributions.class_kernels import ClassKernels
from ...flows.distributions.distribution import LOG_2PI
from ...flows.distributions.logarithmic_pool import LogarithmicPool
from ...flows.regression.boosted_trees import BoostedTrees
from ...flows.regression.gaussian_process import GaussianProcessRegression
from .operators.trees import boosted_trees

N_NEWTON = 4  # steps to single precision


class DenseLogTails(LogTails):
    """`LogTails` without index."""

    def forward(self, x, context=None):
        inner = torch.clamp(x, self.low, self.high)
        excess = x - inner
        log_excess = torch.log1p(excess.abs())
        return torch.where(excess < 0, inner - log_excess, inner + log_excess), -log_excess.sum(1)


def log_ndtri(log_p: Tensor) -> Tensor:
    """Normal quantile of ``exp(log_p)``, at most a half, in as few operations as Newton's method needs.

    Below zero the distribution function is ``erfcx(-z / sqrt 2) exp(-z^2 / 2) / 2``, and over the density it is the
    first factor times ``sqrt(pi / 2)``: one function gives both the error and the slope.
    """
    z = -torch.sqrt((-2 * (log_p + math.log(2))).clamp_min(0))
    for _ in range(N_NEWTON):
        scaled = torch.special.erfcx(z * -math.sqrt(0.5))
        error = scaled.log() - 0.5 * z * z - math.log(2) - log_p
        z = z - error * (math.sqrt(0.5 * math.pi) * scaled)
    return z


class DenseMarginalGaussianization(MarginalGaussianization):
    """`MarginalGaussianization` without index: both tails of every column are numbers of the graph."""

    def _map_columns(self, v, curve, tail):
        inner, past, out, log_slope = curve(v)
        side = torch.where(v > inner, 1.0, -1.0).to(v.dtype)
        out_tail, log_slope_tail = tail(v, None, side)
        return torch.where(past, out_tail, out), torch.where(past, log_slope_tail, log_slope)

    def _tail(self, x, row, side):
        edge, log_mass, sigma, xi = self._tail_parameters(row, side)
        log1 = torch.log1p(xi * (side * (x - edge) / sigma))
        score = log_ndtri(log_mass - log1 / xi)
        log_density = log_mass - log1 / xi - log1 - sigma.log()
        return -side * score, log_density + 0.5 * score * score + 0.5 * LOG_2PI

    def _tail_parameters(self, row, side):
        rows = torch.arange(len(self.slopes))
        left, right = (super(DenseMarginalGaussianization, self)._tail_parameters(rows, s) for s in self._sides())
        return tuple(torch.where(side > 0, b[:, None], a[:, None]) for a, b in zip(left, right))

    def _sides(self):
        one = torch.ones(len(self.slopes), dtype=self.slopes.dtype)
        return -one, one


class UnchunkedPool(LogarithmicPool):
    """`LogarithmicPool` without parts of the rows."""

    @staticmethod
    def _by_chunks(z, centres, summed):
        half = -0.5 * (centres * centres).sum(1)
        exponents = torch.addmm(half, z, centres.t()) - 0.5 * (z * z).sum(1, keepdim=True)
        return summed(exponents.clamp_max(0))


def _only_class(context: Tensor) -> int:
    """A mixture of classes asks for all rows in one class, and then in the next one."""
    (label,) = context.argmax(1).unique().tolist()
    return label


def log_gaussians(x: Tensor, centres: Tensor) -> Tensor:
    """``-|x - c|^2 / 2`` of rows ``x`` (n, d) and centres (m, d), shape (n, m), in double precision.

    A product of matrices loses half of the digits far out, which leaves those of single precision.
    """
    x, centres = x.double(), centres.double()
    half = -0.5 * (centres * centres).sum(1)
    return (torch.addmm(half, x, centres.t()) - 0.5 * (x * x).sum(1, keepdim=True)).clamp_max(0)


class DenseClassWhitening(ClassWhitening):
    """`ClassWhitening` of rows of one class."""

    def _by_class(self, function, rows, context):
        label = _only_class(context)
        return function(rows, self.means[label], self.precision_factors.expand(len(self.means), -1, -1)[label])


class DenseClassKernels(ClassKernels):
    """`ClassKernels` of rows of one class, without parts of them."""

    def log_prob(self, z, context=None):
        of_class = self.label == _only_class(context)
        log_weight = torch.log_softmax(self.weights[of_class].log(), 0)
        log_kernels = log_gaussians(z / self.width, self.centres[of_class] / self.width).to(z.dtype)
        return torch.logsumexp(log_weight + log_kernels, 1) - z.shape[1] * (0.5 * LOG_2PI + math.log(self.width))


class DenseBoostedTrees(BoostedTrees):
    """`BoostedTrees` by one operator."""

    def forward(self, x):
        trees = boosted_trees(x, self.tree, self.feature, self.threshold, self.ruled_out, self.value)
        return trees + self.intercept


class DenseGaussianProcess(GaussianProcessRegression):
    """`GaussianProcessRegression` without parts of the rows."""

    def forward(self, x):
        kernel = log_gaussians(x / self.length_scale, self.centres).exp()
        return (kernel @ self.alpha[:, None])[:, 0] + self.intercept


class DenseContextLocation(ContextLocation):
    """`ContextLocation` of a context that may be of double precision."""

    def forward(self, x, context=None):
        z, log_abs_det = super().forward(x, context)
        return z.to(x.dtype), log_abs_det


class DoubleStandardize(Standardize):
    """`Standardize` in double precision, for what it subtracts may be many times what is left."""

    def _apply(self, fn, recurse=True):
        return nn.Module._apply(self, lambda tensor: tensor.to(fn(tensor).device), recurse)

    def forward(self, x, context=None):
        z, log_abs_det = super().forward(x.double())
        return z.float(), log_abs_det.float()


DENSE: dict[type[nn.Module], type[nn.Module]] = {
    BoostedTrees: DenseBoostedTrees,
    ClassKernels: DenseClassKernels,
    ClassWhitening: DenseClassWhitening,
    ContextLocation: DenseContextLocation,
    GaussianProcessRegression: DenseGaussianProcess,
    LogTails: DenseLogTails,
    LogarithmicPool: UnchunkedPool,
    MarginalGaussianization: DenseMarginalGaussianization,
}


def dense(module: nn.Module, double: bool = False) -> nn.Module:
    """A copy of ``module`` that computes the same without picking.

    Where ``double`` is set, rows are standardised in double precision, as by an estimator that always scores in that.
    """
    module = copy.deepcopy(module)
    table = {**DENSE, Standardize: DoubleStandardize} if double else DENSE
    for part in module.modules():
        part.__class__ = table.get(type(part), type(part))
    return module


def largest_size(module: nn.Module) -> int:
    """Of all dimensions of its tensors; trees are one operator, whatever is in them."""
    parts = [part for part in module.modules() if not isinstance(part, BoostedTrees)]
    tensors = [tensor for part in parts for own in (part.parameters, part.buffers) for tensor in own(recurse=False)]
    return max((size for tensor in tensors for size in tensor.shape), default=0)
