"""The affine curve of `skflow.flows.univariate` as compiled loops."""

from __future__ import annotations

import numba

from ...tiles import LANES
from .curve_places import (
    CONSTANTS,
    GRAD_LOG_DET,
    INVERSE,
    LOG_DET,
    D,
    N,
    gradients,
    log_det_at,
    places,
)
from .functions import exp
from .items import next_item, tile_and_start
from .memory import address_of, integer_at, size_of, zero_of
from .products import put_zeros
from .vectors import VECTOR_BYTES, vector_function

_compiled = numba.njit(cache=True, nogil=True)


def n_kept(n_params):
    """Vectors that the derivative reads: the damping and the scale."""
    return 2


@vector_function
def curve(code, at, params, step, constants, inverse, kept, result, log_det):
    """The curve, or its inverse, of one vector of values; adds to ``log_det``. ``kept`` may be zero."""
    v, shift, raw = code.load(at), code.load(params), code.load(code.place(params, step))
    damping = raw.at_least(-raw) * code.spread(code.load_scalar(constants)) + 1
    log_scale = raw / damping
    backwards = code.builder.icmp_signed("!=", inverse, code.int(0))
    log_slope = (-log_scale).where(backwards, log_scale)
    scale = exp(log_slope)
    code.store(((v - shift) * scale).where(backwards, v * scale + shift), result)
    code.store(code.load(log_det) + log_slope, log_det)
    with code.builder.if_then(code.builder.icmp_signed("!=", kept, code.int(0))):
        code.store(damping, kept)
        code.store(scale, code.place(kept, step))


@vector_function
def pull_back(code, at, step, kept, at_grad_z, at_grad_log_det, grad_x, grad_params):
    """The gradients of one vector of values."""
    x, damping, scale = code.load(at), code.load(kept), code.load(code.place(kept, step))
    gz, gl = code.load(at_grad_z), code.load(at_grad_log_det)
    gx = gz * scale
    code.store(gx, grad_x)
    code.store(gz, grad_params)
    code.store((gl + gx * x) / (damping * damping), code.place(grad_params, step))


def forward(pointer):
    args, zero = address_of(pointer), zero_of(pointer)
    d, n, length = integer_at(args, D), integer_at(args, N), VECTOR_BYTES // size_of(zero)
    constants, inverse = integer_at(args, CONSTANTS), integer_at(args, INVERSE)
    while True:
        item = next_item(args)
        if item < 0:
            break
        tile, first = tile_and_start(item, n)
        for start in range(first, first + LANES, length):
            put_zeros(log_det_at(args, LOG_DET, tile, start, zero), zero)
        for feature in range(d):
            for start in range(first, first + LANES, length):
                v, params, result, kept = places(args, tile, feature, start, zero)
                log_det = log_det_at(args, LOG_DET, tile, start, zero)
                curve(v, params, n, constants, inverse, kept, result, log_det, zero)


def backward(pointer):
    args, zero = address_of(pointer), zero_of(pointer)
    d, n, length = integer_at(args, D), integer_at(args, N), VECTOR_BYTES // size_of(zero)
    while True:
        item = next_item(args)
        if item < 0:
            break
        tile, first = tile_and_start(item, n)
        for feature in range(d):
            for start in range(first, first + LANES, length):
                v, _, _, kept = places(args, tile, feature, start, zero)
                grad_z, grad_x, grad_params = gradients(args, tile, feature, start, zero)
                grad_log_det = log_det_at(args, GRAD_LOG_DET, tile, start, zero)
                pull_back(v, n, kept, grad_z, grad_log_det, grad_x, grad_params, zero)
