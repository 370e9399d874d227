"""Monotone curves: stateless, element-wise bijections whose parameters come from elsewhere.

A univariate map has ``n_params``, ``forward(x, params)`` and ``inverse(z, params)``. ``x`` may have any shape;
``params`` stacks ``n_params`` raw (unconstrained) tensors of that shape along its first axis. Each direction returns
the mapped values and the log of the absolute derivative, element by element. Raw parameters of zero are the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .tape import Tape


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


RecordBack = Callable[[Tape, Tensor, Tensor, Tensor], Tensor]


class DifferentiatedUnivariate(Univariate):
    """A curve with derivatives written out by hand: a single node of the graph, or part of a larger one."""

    def record(self, tape: Tape, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor, RecordBack]:
        """Record `forward` for ``x`` of shape (R, n).

        Returns
        -------
        z, log_slope : Tensor of shape (R, n)
        record_back : callable
            ``record_back(tape, grad_z, grad_log_slope, grad_params)`` records the derivative: the gradient with respect
            to ``params`` goes into ``grad_params``, laid out like them, and the memory of that with respect to ``x`` is
            returned.
        """
        raise NotImplementedError

    def forward(self, x, params):
        n = x.shape[-1]
        z, log_slope = _Evaluated.apply(self, x.reshape(-1, n), params.reshape(self.n_params, -1, n))
        return z.view(x.shape), log_slope.view(x.shape)


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, univariate, x, params):
        tape, params = Tape(x, keeps=True), params.detach().transpose(0, 1).contiguous().transpose(0, 1)
        z, log_slope, ctx.record_back = univariate.record(tape, x.detach().contiguous(), params)
        tape.run()
        ctx.n_params = univariate.n_params
        return z, log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log_slope):
        tape, (n_rows, n) = Tape(grad_z), grad_z.shape
        grad_params = grad_z.new_empty(n_rows, ctx.n_params, n).transpose(0, 1)
        grad_x = ctx.record_back(tape, grad_z.contiguous(), grad_log_slope.contiguous(), grad_params)
        tape.run()
        return None, grad_x, grad_params


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

    def record(self, tape, x, params):
        shift, raw = params
        damping, log_scale, scale = (tape.keep(*x.shape) for _ in range(3))
        z = tape.output(*x.shape)
        tape.add(torch.abs, raw, out=damping)
        tape.add(torch.add, damping.new_ones(()), damping, alpha=1 / self.max_log_scale, out=damping)
        tape.add(torch.div, raw, damping, out=log_scale)
        tape.add(torch.exp, log_scale, out=scale)
        tape.add(torch.addcmul, shift, x, scale, out=z)

        def record_back(tape, grad_z, grad_log_slope, grad_params):
            (grad_shift, grad_raw), grad_x = grad_params, tape.output(*x.shape)
            tape.add(grad_shift.copy_, grad_z)
            tape.add(torch.mul, grad_z, scale, out=grad_x)
            tape.add(torch.addcmul, grad_log_slope, grad_x, x, out=grad_raw)
            tape.add(grad_raw.div_, damping)
            tape.add(grad_raw.div_, damping)
            return grad_x

        return z, log_scale, record_back

    def inverse(self, z, params):
        shift, raw = params
        log_slope = raw / (raw.abs() * (-1 / self.max_log_scale) - 1)
        return (z - shift) * log_slope.exp(), log_slope
