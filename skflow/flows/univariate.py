"""Monotone curves: stateless, element-wise bijections whose parameters come from elsewhere.

A univariate map has ``n_params``, ``forward(x, params)`` and ``inverse(z, params)``. ``x`` may have any shape;
``params`` stacks ``n_params`` raw (unconstrained) tensors of that shape along its first axis. Each direction returns
the mapped values and the log of the absolute derivative, element by element. Raw parameters of zero are the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def soft_clip(raw: Tensor, limit: float) -> Tensor:
    """``raw / (1 + |raw| / limit)``: leaves small values as they are and keeps all of them within the limit."""
    return raw / (1 + raw.abs() / limit)


class Univariate:
    """Base of the monotone curves; see the module's docstring for the contract."""

    n_params: int
    reads_rows = False  # whether `start` depends on the rows that it is given

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``x`` to ``z``; return ``z`` and log |dz/dx|."""
        raise NotImplementedError

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``z`` to ``x``; return ``x`` and log |dx/dz|."""
        raise NotImplementedError

    def start(self, x: Tensor | None = None) -> Tensor:
        """Raw parameters to start training from, shape (n_params, d), or (n_params, 1) for all columns alike.

        Zero, the identity, unless the curve's parts would then all move as one (a mixture of equal components stays
        one), or unless its parameters can be read off rows ``x`` of shape (d, n), where they are given.
        """
        return torch.zeros(self.n_params, 1)


class DifferentiatedUnivariate(Univariate):
    """A curve with derivatives written out by hand: a single node of the graph, or part of a larger one."""

    def evaluate(self, x: Tensor, params: Tensor, memory: tuple | None = None) -> tuple[Tensor, Tensor, tuple]:
        """`forward` without a graph, and the memory that `pull_back` reads.

        ``memory`` is what an earlier call with as many rows returned; it may be written over.
        """
        raise NotImplementedError

    def pull_back(self, memory: tuple, grad_z: Tensor, grad_log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients with respect to ``x`` and ``params``, from those with respect to ``z`` and log |dz/dx|.

        That of the log-slope may have fewer dimensions, where it is the same along the first ones.
        """
        raise NotImplementedError

    def forward(self, x, params):
        return _Evaluated.apply(self, x, params)


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, univariate, x, params):
        z, log_slope, memory = univariate.evaluate(x, params)
        if any(ctx.needs_input_grad):
            ctx.univariate, ctx.memory = univariate, memory
        return z, log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log_slope):
        return None, *ctx.univariate.pull_back(ctx.memory, grad_z, grad_log_slope)


class Additive(Univariate):
    """Shift, ``z = x + b``, of derivative one: the curve of NICE (Dinh et al. 2014, eq. 6)."""

    n_params = 1

    def forward(self, x, params):
        return x + params[0], torch.zeros_like(x)

    def inverse(self, z, params):
        return z - params[0], torch.zeros_like(z)


class Affine(DifferentiatedUnivariate):
    """Scale and shift, ``z = x exp(s) + b``: the curve of RealNVP (Dinh et al. 2017, eq. 7) and MAF.

    The raw log-scale ``r`` passes through ``r / (1 + |r| / c)``, which leaves small values as they are and keeps the
    scale within a factor ``exp(c)`` of one, so that no row can meet a scale of zero or of infinity.
    """

    n_params = 2
    max_log_scale = 5.0

    def evaluate(self, x, params, memory=None):
        shift, raw = params
        damping = raw.abs().mul_(1 / self.max_log_scale).add_(1)
        log_scale = raw / damping
        scale = log_scale.exp()
        return torch.addcmul(shift, x, scale), log_scale, (x, scale, damping)

    def pull_back(self, memory, grad_z, grad_log_slope):
        x, scale, damping = memory
        grad_x = grad_z * scale
        grad = x.new_empty(len(x), 2, *x.shape[1:])  # in the order of the network's units
        grad[:, 0] = grad_z
        torch.addcmul(grad_log_slope, grad_x, x, out=grad[:, 1]).div_(damping * damping)
        return grad_x, grad.movedim(1, 0)

    def inverse(self, z, params):
        shift, raw = params
        log_slope = raw / (raw.abs() * (-1 / self.max_log_scale) - 1)
        return (z - shift) * log_slope.exp(), log_slope
