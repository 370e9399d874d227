"""The sequential direction of a masked network and the univariate map that `evaluate` stands for.

Rows are taken a vector at a time, from the first feature to the last, so that all units stay in the first-level cache.
`SEQUENTIAL_LAYER` for each layer stands behind `SEQUENTIAL`.
"""

from __future__ import annotations

from ..blocks import SEQUENTIAL, SEQUENTIAL_LAYER
from ..tiles import LANES
from .memory import integer_at, size_of
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
from .queue import compiled, tile_and_start
from .vectors import VECTOR_BYTES

HEADER, LAYER_SIZE = len(SEQUENTIAL), len(SEQUENTIAL_LAYER)


def evaluate(*arguments):
    """Stands for the inverse of the map: see `skflow.engine.kernels.univariate`."""
    raise NotImplementedError


@compiled
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


@compiled
def _units_of(args, i, units, zero):
    """The units that have waited for the features before ``i``; the address of that feature's parameters."""
    size, n_layers = size_of(zero), integer_at(args, SEQUENTIAL.n_layers)
    for j in range(n_layers):
        layer = args + 8 * (HEADER + j * LAYER_SIZE)
        n_in, starts = integer_at(layer, SEQUENTIAL_LAYER.n_in), integer_at(layer, SEQUENTIAL_LAYER.starts)
        first, last = integer_at(starts, i), integer_at(starts, i + 1)
        above = units + n_in * VECTOR_BYTES
        hidden = j < n_layers - 1
        to = above + (1 + first) * VECTOR_BYTES if hidden else above
        if last > first:
            weights = integer_at(layer, SEQUENTIAL_LAYER.used) + first * n_in * size
            n_seen = integer_at(integer_at(layer, SEQUENTIAL_LAYER.n_seen), first)
            _some_units(weights, last - first, n_in, n_seen, units, to, int(hidden), zero)
        units = above
    return units


def invert(args, own, item, zero):
    """Features from what the map has made of them."""
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, d = integer_at(args, SEQUENTIAL.n_rows), integer_at(args, SEQUENTIAL.n_features)
    n_context, n_params = integer_at(args, SEQUENTIAL.n_context), integer_at(args, SEQUENTIAL.n_params)
    constants = integer_at(args, SEQUENTIAL.constants)
    units = own + integer_at(args, SEQUENTIAL.n_work) * VECTOR_BYTES
    features = units + (1 + n_context) * VECTOR_BYTES
    tile, lane = tile_and_start(item, n_rows)
    for start in range(lane, lane + LANES, length):
        above = units
        for j in range(integer_at(args, SEQUENTIAL.n_layers)):
            put_ones(above, zero)
            above += integer_at(args + 8 * (HEADER + j * LAYER_SIZE), SEQUENTIAL_LAYER.n_in) * VECTOR_BYTES
        context = integer_at(args, SEQUENTIAL.context) + (tile * n_context * n_rows + start) * size
        copy_vectors(context, n_rows, units + VECTOR_BYTES, length, n_context, zero)
        log_det = integer_at(args, SEQUENTIAL.log_det) + (tile * n_rows + start) * size
        put_zeros(log_det, zero)
        for i in range(d):
            params = _units_of(args, i, units, zero)
            z = integer_at(args, SEQUENTIAL.z) + ((tile * d + i) * n_rows + start) * size
            x = features + i * VECTOR_BYTES
            evaluate(z, params, length, n_params, constants, own, length, 0, x, log_det, zero)
        x = integer_at(args, SEQUENTIAL.x) + (tile * d * n_rows + start) * size
        copy_vectors(features, length, x, n_rows, d, zero)
