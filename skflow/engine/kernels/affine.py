"""`skflow.flows.Affine`, a vector at a time: see `skflow.engine.kernels.univariate`."""

from __future__ import annotations

from .functions import exp
from .vectors import vector_function


def n_kept(n_params):
    """The damping and the scale."""
    return 2


def _direction(inverse):
    @vector_function
    def direction(code, values, params, step, n_params, constants, work, work_step, keeps, result, log_det):
        v, shift, raw = code.load(values), code.load(params), code.load(code.place(params, step))
        damping = raw.at_least(-raw) * code.spread(code.load_scalar(constants)) + 1
        log_scale = raw / damping
        log_slope = -log_scale if inverse else log_scale
        scale = exp(log_slope)
        code.store((v - shift) * scale if inverse else v * scale + shift, result)
        code.store(code.load(log_det) + log_slope, log_det)
        with code.builder.if_then(code.builder.icmp_signed("!=", keeps, code.int(0))):
            code.store(damping, work)
            code.store(scale, code.place(work, work_step))

    return direction


forward, inverse = _direction(False), _direction(True)


@vector_function
def pull_back(code, values, step, n_params, constants, kept, at_grad_result, at_grad_log_det, grad_values, grad_params):
    """The gradients of one vector of values."""
    x, damping, scale = code.load(values), code.load(kept), code.load(code.place(kept, step))
    gz, gl = code.load(at_grad_result), code.load(at_grad_log_det)
    gx = gz * scale
    code.store(gx, grad_values)
    code.store(gz, grad_params)
    code.store((gl + gx * x) / (damping * damping), code.place(grad_params, step))
