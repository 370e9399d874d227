"""Univariate maps over tiles: compiled loops for those that have them, and torch's own operations for the others.

``record(tape, univariate, x, params)`` takes values (t, d, m) and parameters (t, d, n_params, m). It returns the mapped
values, the sum of the log-slopes over the features (t, m), and how to record the derivative: ``back(tape, grad_z,
grad_log_abs_det, grad_params)`` writes the gradient with respect to the parameters into ``grad_params`` and returns the
memory of that with respect to ``x``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ..flows.univariate.affine import Affine
from ..flows.univariate.rational_quadratic import MIN_BIN, MIN_SLOPE, UNIT_SLOPE, RationalQuadraticSpline
from ..flows.univariate.univariate import Univariate
from .blocks import UNIVARIATE, pack
from .calls import Call, Step, queue_fields
from .compiler import load, loop
from .tape import Graph, Tape
from .tiles import LANES

WORK_PER_PARAMETER = 10  # of a value, in multiply-adds
Recorded = tuple[Tensor, Tensor, Callable[[Tape, Tensor, Tensor, Tensor], Tensor]]


class Compiled:
    """The form of a univariate map that has a module of its ``name`` in `skflow.engine.kernels`.

    ``constants`` tells the numbers that the loops ask for.
    """

    def __init__(self, name: str, constants: Callable[[Univariate], tuple[float, ...]]):
        self.name = name
        self._constants = constants

    def constants(self, univariate: Univariate, dtype: torch.dtype) -> Tensor:
        """The numbers, shape (k,)."""
        return _as_tensor(self._constants(univariate), dtype)

    def record(self, tape: Tape, univariate: Univariate, x: Tensor, params: Tensor) -> Recorded:
        """See the module's docstring."""
        fields = self._record(tape, univariate, x, params, "forward")

        def back(tape, grad_z, grad_log_abs_det, grad_params):
            grads = dict(grad_result=grad_z, grad_log_det=grad_log_abs_det, grad_params=grad_params)
            grads["grad_values"] = tape.output(*x.shape)
            self._call(tape, "backward", "pull_back", x, fields | grads)
            return grads["grad_values"]

        return fields["result"], fields["log_det"], back

    def record_inverse(self, tape: Tape, univariate: Univariate, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The values that are mapped to ``z``, and the sum of the inverse's log-slopes."""
        fields = self._record(tape, univariate, z, params, "inverse")
        return fields["result"], fields["log_det"]

    def _record(self, tape, univariate, v, params, direction):
        (t, d, n), n_params = v.shape, params.shape[2]
        n_kept = load(self.name).n_kept(n_params)
        kept = tape.keep(t * d, n_kept, n) if tape.keeps else None
        work, slot = v.numel() * n_params * WORK_PER_PARAMETER, n_kept * load("vectors").VECTOR_BYTES
        fields = dict(d=d, n=n, n_params=n_params, n_kept=n_kept, constants=self.constants(univariate, v.dtype))
        fields |= dict(values=v, params=params, result=tape.output(t, d, n), log_det=tape.keep(t, n), kept=kept)
        fields |= dict.fromkeys(("grad_result", "grad_log_det", "grad_values", "grad_params"))
        fields |= queue_fields(tape, work, 0 if tape.keeps else slot)
        self._call(tape, "forward", direction, v, fields)
        return fields

    def _call(self, tape, function, part, v, fields):
        work = v.numel() * fields["n_params"] * WORK_PER_PARAMETER
        step = Step(loop("univariate", function, self.name, part), len(v) * v.shape[2] // LANES, work)
        tape.add(Call([step], v.dtype, pack(UNIVARIATE, **fields), list(fields.values())))


@functools.lru_cache(maxsize=64)
def _as_tensor(numbers: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype)


def affine_constants(affine: Affine) -> tuple[float, ...]:
    """As `skflow.engine.kernels.affine` asks for them."""
    return (1 / affine.max_log_scale,)


def spline_constants(spline: RationalQuadraticSpline) -> tuple[float, ...]:
    """As `skflow.engine.kernels.spline` asks for them."""
    step = 2 * spline.bound * MIN_BIN
    return spline.bound, 2 * spline.bound - spline.n_bins * step, step, UNIT_SLOPE, MIN_SLOPE


def record(tape: Tape, univariate: Univariate, x: Tensor, params: Tensor) -> Recorded:
    """The form of the class, or torch's operations and differentiation."""
    if form := tape.forms.get(type(univariate)):
        return form.record(tape, univariate, x, params)
    z, log_abs_det = tape.output(*x.shape), tape.keep(len(x), x.shape[2])
    graph = Graph(tape, univariate.forward)

    def evaluate():
        mapped, log_slope = graph(x, params.movedim(2, 0))
        z.copy_(mapped)
        torch.sum(log_slope, 1, out=log_abs_det)

    def back(tape, grad_z, grad_log_abs_det, grad_params):
        grad_x = tape.output(*x.shape)

        def pull_back():
            own_x, own_params = graph.gradients(grad_z, grad_log_abs_det[:, None].expand_as(grad_z))
            grad_x.copy_(own_x)
            grad_params.copy_(own_params.movedim(0, 2))

        tape.add(pull_back)
        return grad_x

    tape.add(evaluate)
    return z, log_abs_det, back


def record_inverse(tape: Tape, univariate: Univariate, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """The values that are mapped to ``z``, and the sum of the inverse's log-slopes."""
    if form := tape.forms.get(type(univariate)):
        return form.record_inverse(tape, univariate, z, params)
    x, log_abs_det = tape.output(*z.shape), tape.keep(len(z), z.shape[2])

    def evaluate():
        some, log_slope = univariate.inverse(z, params.movedim(2, 0))
        x.copy_(some)
        torch.sum(log_slope, 1, out=log_abs_det)

    tape.add(evaluate)
    return x, log_abs_det
