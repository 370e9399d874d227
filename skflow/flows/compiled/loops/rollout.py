"""The sequential direction of a masked network and its curves: see `skflow.flows.rollout`.

Rows are taken a vector at a time, from the first feature to the last, so that all units stay in the first-level cache.
"""

from __future__ import annotations

import numba

from ...tiles import LANES
from .affine import curve as affine
from .items import N_ITEMS, next_item, own_slot, tile_and_start
from .memory import address_of, integer_at, size_of, zero_of
from .products import (
    UNITS,
    copy_vectors,
    put_ones,
    put_zeros,
    weighted_sum,
    weighted_sums,
    weighted_sums2,
    weighted_sums3,
)
from .spline import inverse_curve as spline
from .vectors import VECTOR_BYTES

AFFINE, SPLINE = range(2)
CURVES = {"affine": AFFINE, "spline": SPLINE}
N_ROWS, N_LAYERS, N_FEATURES, N_CONTEXT, N_PARAMS, CURVE, CONSTANTS = range(N_ITEMS + 1, N_ITEMS + 8)
WORKSPACE, WORKSPACE_BYTES, Z, CONTEXT, X, LOG_DET, HEADER = range(N_ITEMS + 8, N_ITEMS + 15)
USED, N_IN, N_SEEN, STARTS, LAYER = range(5)
_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def _some_units(weights, n_units, n_terms, n_seen, x, out, rectified, zero):
    """A few units that see the same."""
    size = size_of(zero)
    length, u = VECTOR_BYTES // size, 0
    while u < n_units:
        start, to = weights + u * n_terms * size, out + u * VECTOR_BYTES
        if n_units - u >= UNITS:
            weighted_sums(start, n_terms, x, length, 0, n_seen, to, length, rectified, zero)
            u += UNITS
        elif n_units - u >= 3:
            weighted_sums3(start, n_terms, x, length, 0, n_seen, to, length, rectified, zero)
            u += 3
        elif n_units - u == 2:
            weighted_sums2(start, n_terms, x, length, 0, n_seen, to, length, rectified, zero)
            u += 2
        else:
            weighted_sum(start, n_terms, x, length, 0, n_seen, to, length, rectified, zero)
            u += 1


@_compiled
def _units_of(args, i, units, zero):
    """The units that have waited for the features before ``i``; the address of that feature's parameters."""
    size, n_layers = size_of(zero), integer_at(args, N_LAYERS)
    for j in range(n_layers):
        layer = args + 8 * (HEADER + j * LAYER)
        n_in, starts = integer_at(layer, N_IN), integer_at(layer, STARTS)
        first, last = integer_at(starts, i), integer_at(starts, i + 1)
        above = units + n_in * VECTOR_BYTES
        hidden = j < n_layers - 1
        to = above + (1 + first) * VECTOR_BYTES if hidden else above
        if last > first:
            weights = integer_at(layer, USED) + first * n_in * size
            n_seen = integer_at(integer_at(layer, N_SEEN), first)
            _some_units(weights, last - first, n_in, n_seen, units, to, int(hidden), zero)
        units = above
    return units


def invert(pointer):
    args, zero = address_of(pointer), zero_of(pointer)
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, d, n_context = integer_at(args, N_ROWS), integer_at(args, N_FEATURES), integer_at(args, N_CONTEXT)
    n_params, constants = integer_at(args, N_PARAMS), integer_at(args, CONSTANTS)
    own = integer_at(args, WORKSPACE) + own_slot(args) * integer_at(args, WORKSPACE_BYTES)
    exps, units = own, own + n_params * VECTOR_BYTES
    features = units + (1 + n_context) * VECTOR_BYTES
    while True:
        item = next_item(args)
        if item < 0:
            break
        tile, lane = tile_and_start(item, n_rows)
        for start in range(lane, lane + LANES, length):
            above = units
            for j in range(integer_at(args, N_LAYERS)):
                put_ones(above, zero)
                above += integer_at(args + 8 * (HEADER + j * LAYER), N_IN) * VECTOR_BYTES
            context = integer_at(args, CONTEXT) + (tile * n_context * n_rows + start) * size
            copy_vectors(context, n_rows, units + VECTOR_BYTES, length, n_context, zero)
            log_det = integer_at(args, LOG_DET) + (tile * n_rows + start) * size
            put_zeros(log_det, zero)
            for i in range(d):
                params = _units_of(args, i, units, zero)
                z, x = integer_at(args, Z) + ((tile * d + i) * n_rows + start) * size, features + i * VECTOR_BYTES
                if integer_at(args, CURVE) == AFFINE:
                    affine(z, params, length, constants, 1, 0, x, log_det, zero)
                else:
                    spline(z, params, length, (n_params + 1) // 3, constants, exps, length, 0, x, log_det, zero)
            copy_vectors(features, length, integer_at(args, X) + (tile * d * n_rows + start) * size, n_rows, d, zero)
