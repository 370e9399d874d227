"""Monotone curves: stateless, element-wise bijections whose parameters come from elsewhere.

A univariate map has ``n_params``, ``forward(x, params)`` and ``inverse(z, params)``. ``x`` may have any shape;
``params`` stacks ``n_params`` raw (unconstrained) tensors of that shape along its first axis. Each direction returns
the mapped values and the log of the absolute derivative, element by element. Raw parameters of zero are the identity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiled import load
from .compiled.curve import CompiledCurve
from .compiled.team import is_shared
from .row_order import RowOrder, record_sorted, row_order
from .tape import Tape
from .tiles import LANES

MAX_ALONE = 100_000  # values; of more, torch's operations on several threads are faster than compiled loops on one


def soft_clip(raw: Tensor, limit: float) -> Tensor:
    """``raw / (1 + |raw| / limit)``: leaves small values as they are and keeps all of them within the limit."""
    return raw / (1 + raw.abs() / limit)


@functools.lru_cache(maxsize=64)
def as_tensor(numbers: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """Shape (n,), on the CPU; the same one for the same numbers."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device="cpu")


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
    """A curve with derivatives written out by hand: a single node of the graph, or part of a larger one.

    Attributes
    ----------
    name : str or None
        That of the loops in `skflow.flows.compiled` that stand in for torch's operations, where there are any.
    compiled : bool, default=True
        Whether they may be loaded.
    """

    name: str | None = None
    compiled = True

    def record(
        self, tape: Tape, x: Tensor, params: Tensor, rows: RowOrder
    ) -> tuple[Tensor, Tensor, Callable[[Tape, Tensor, Tensor, Tensor], Tensor]]:
        """Record `forward` for tiles ``x`` of shape (t, d, n); ``params`` of shape (n_params, t d, n) are sorted.

        Returns
        -------
        z : Tensor of shape (t, d, n)
        log_abs_det : Tensor of shape (t, n)
            The sum over the features.
        record_back : callable
            ``record_back(tape, grad_z, grad_log_abs_det, grad_params)`` records the derivative: the gradient with
            respect to ``params`` goes into ``grad_params``, laid out like them, and the memory of that with respect to
            ``x`` is returned.
        """
        t, _, n = x.shape
        if rows.order is None and (loops := self.loops(x)):
            return self._record_compiled(loops, tape, x, params)
        sorted_x = record_sorted(tape, x.view(-1, n), rows.order, tape.keep)
        z, log_slope, back = self.record_rows(tape, sorted_x, params)
        z = record_sorted(tape, z, rows.undo, tape.output).view(x.shape)
        log_slope = record_sorted(tape, log_slope, rows.undo, tape.scratch).view(x.shape)
        log_abs_det = tape.keep(t, n)
        tape.add(torch.sum, log_slope, 1, out=log_abs_det)

        def record_back(tape, grad_z, grad_log_abs_det, grad_params):
            grad_log_slope = record_sorted(tape, grad_log_abs_det, rows.tile, tape.scratch)
            grad_z = record_sorted(tape, grad_z.view(-1, n), rows.order, tape.scratch)
            grad_x = back(tape, grad_z, grad_log_slope, grad_params)
            return record_sorted(tape, grad_x, rows.undo, tape.output).view(x.shape)

        return z, log_abs_det, record_back

    def record_rows(self, tape: Tape, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor, RecordBack]:
        """Record `forward` for ``x`` of shape (R, n), as operations of torch.

        Returns
        -------
        z, log_slope : Tensor of shape (R, n)
        record_back : callable
            As that of `record`, with a gradient for every value of ``log_slope``.
        """
        raise NotImplementedError

    def constants(self, dtype: torch.dtype) -> Tensor:
        """What the compiled loops ask for, shape (k,)."""
        raise NotImplementedError

    def loops(self, v: Tensor) -> ModuleType | None:
        """The compiled loops, where they are of use for values like these."""
        fits = v.device.type == "cpu" and v.dtype in (torch.float32, torch.float64) and v.shape[-1] % LANES == 0
        shared = is_shared() or v.numel() <= MAX_ALONE
        return load(self.name) if self.name and self.compiled and fits and shared else None

    def _record_compiled(self, loops, tape, x, params):
        curve = CompiledCurve(loops, tape, x, params.transpose(0, 1), self.constants(x.dtype))

        def record_back(tape, grad_z, grad_log_abs_det, grad_params):
            return curve.record_back(tape, grad_z, grad_log_abs_det, grad_params.transpose(0, 1))

        return curve.result, curve.log_abs_det, record_back

    def _inverse_compiled(self, z, params):
        """`inverse` through compiled loops, where they are of use and no gradient is wanted."""
        has_graph = torch.is_grad_enabled() and (z.requires_grad or params.requires_grad)
        if has_graph or not (loops := self.loops(z)):
            return None
        tape, n = Tape(z), z.shape[-1]
        rows = z.reshape(-1, 1, n).contiguous(), params.movedim(0, -2).reshape(-1, self.n_params, n).contiguous()
        curve = CompiledCurve(loops, tape, *rows, self.constants(z.dtype), inverse=True)
        tape.run()
        return curve.result.view(z.shape), curve.log_abs_det.view(z.shape)

    def forward(self, x, params):
        n = x.shape[-1]
        z, log_slope = _Evaluated.apply(self, x.reshape(-1, n), params.reshape(self.n_params, -1, n))
        return z.view(x.shape), log_slope.view(x.shape)


class _Evaluated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, univariate, x, params):
        tape, params = Tape(x, keeps=True), params.detach().transpose(0, 1).contiguous().transpose(0, 1)
        tiles = x.detach().contiguous()[:, None]  # of a single feature: every value has a log-slope of its own
        z, log_slope, ctx.record_back = univariate.record(tape, tiles, params, row_order(len(x), ((0, 1),), x.device))
        tape.run()
        ctx.n_params = univariate.n_params
        return z[:, 0], log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log_slope):
        tape, (n_rows, n) = Tape(grad_z), grad_z.shape
        grad_params = grad_z.new_empty(n_rows, ctx.n_params, n).transpose(0, 1)
        grad_x = ctx.record_back(tape, grad_z.contiguous()[:, None], grad_log_slope.contiguous(), grad_params)
        tape.run()
        return None, grad_x[:, 0], grad_params


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
    name = "affine"

    def __init__(self, compiled: bool = True):
        self.compiled = compiled

    def constants(self, dtype):
        return as_tensor((1 / self.max_log_scale,), dtype)

    def record_rows(self, tape, x, params):
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
        if compiled := self._inverse_compiled(z, params):
            return compiled
        shift, raw = params
        log_slope = raw / (raw.abs() * (-1 / self.max_log_scale) - 1)
        return (z - shift) * log_slope.exp(), log_slope
