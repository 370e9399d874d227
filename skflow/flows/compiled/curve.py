"""A curve's evaluation and derivative, recorded as calls of compiled loops."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from ..tape import Tape
from ..tiles import LANES
from .team import Call, Step, address, most_threads

WORK_PER_PARAMETER = 10  # of a value, in multiply-adds


class CompiledCurve:
    """The curve, or its inverse, of tiles (t, d, n).

    Parameters
    ----------
    loops : module
        Of the curve's own.
    tape : Tape
    v : Tensor of shape (t, d, n)
        n is a multiple of `skflow.flows.tiles.LANES`.
    params : Tensor of shape (t d, n_params, n)
    constants : Tensor of shape (k,)
        What the loops ask for: `DifferentiatedUnivariate.constants`.
    inverse : bool, default=False

    Attributes
    ----------
    result : Tensor of shape (t, d, n)
    log_abs_det : Tensor of shape (t, n)
        Of the direction that is taken.
    """

    def __init__(
        self, loops: ModuleType, tape: Tape, v: Tensor, params: Tensor, constants: Tensor, inverse: bool = False
    ):
        self._loops, self._v = loops, v
        (t, d, n), n_params = v.shape, params.shape[1]
        n_kept = loops.n_kept(n_params)
        self.result, self.log_abs_det = tape.output(t, d, n), tape.keep(t, n)
        kept = tape.keep(t * d, n_kept, n) if tape.keeps else None
        self._work, slot = v.numel() * n_params * WORK_PER_PARAMETER, n_kept * loops.VECTOR_BYTES
        workspace = None if tape.keeps else tape.scratch(most_threads(self._work), slot // v.element_size())
        self._memory = [constants, workspace, v, params, self.result, self.log_abs_det, kept]
        constants_at, workspace_at, *places = (address(memory) for memory in self._memory)
        self._arguments = [d, n, n_params, n_kept, constants_at, int(inverse), workspace_at, slot, *places]
        self._record(tape, "forward")

    def _record(self, tape, name, *gradients):
        step = Step(getattr(self._loops, name), len(self._v) * self._v.shape[2] // LANES, self._work)
        arguments = [*self._arguments, *(address(gradient) for gradient in gradients)]
        tape.add(Call([step], self._v.dtype, arguments, [*self._memory, *gradients]))

    def record_back(self, tape: Tape, grad_z: Tensor, grad_log_abs_det: Tensor, grad_params: Tensor) -> Tensor:
        """Record the derivative; the memory of the gradient with respect to ``v``.

        ``grad_params`` of shape (t d, n_params, n) is written to.
        """
        grad_x = tape.output(*self._v.shape)
        self._record(tape, "backward", grad_z, grad_log_abs_det, grad_x, grad_params)
        return grad_x
