"""Where a curve's values are: tiles (t, d, n), and in rows of n the parameters and what is kept for the derivative.

An item of work are some vectors of rows of a table: of a tile, all features at some places in the batch.
"""

from __future__ import annotations

import numba

from .items import N_ITEMS, own_slot
from .memory import integer_at, size_of

D, N, N_PARAMS, N_KEPT, CONSTANTS, INVERSE, WORKSPACE, WORKSPACE_BYTES = range(N_ITEMS + 1, N_ITEMS + 9)
V, PARAMS, RESULT, LOG_DET, KEPT = range(N_ITEMS + 9, N_ITEMS + 14)
GRAD_Z, GRAD_LOG_DET, GRAD_X, GRAD_PARAMS = range(N_ITEMS + 14, N_ITEMS + 18)
_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def own_workspace(args):
    """The address of what this thread may write to: a vector for each of the rows that would be kept."""
    return integer_at(args, WORKSPACE) + own_slot(args) * integer_at(args, WORKSPACE_BYTES)


@_compiled
def log_det_at(args, field, tile, start, zero):
    """The address of the log-determinants, or of their gradients."""
    return integer_at(args, field) + (tile * integer_at(args, N) + start) * size_of(zero)


@_compiled
def places(args, tile, feature, start, zero):
    """The addresses of values, parameters, results and, or zero, what is kept."""
    n, size, kept = integer_at(args, N), size_of(zero), integer_at(args, KEPT)
    row, start = (tile * integer_at(args, D) + feature) * n * size, start * size
    return (
        integer_at(args, V) + row + start,
        integer_at(args, PARAMS) + integer_at(args, N_PARAMS) * row + start,
        integer_at(args, RESULT) + row + start,
        kept + integer_at(args, N_KEPT) * row + start if kept else 0,
    )


@_compiled
def gradients(args, tile, feature, start, zero):
    """The addresses of the gradients: with respect to results, values and parameters."""
    n, size = integer_at(args, N), size_of(zero)
    row, start = (tile * integer_at(args, D) + feature) * n * size, start * size
    return (
        integer_at(args, GRAD_Z) + row + start,
        integer_at(args, GRAD_X) + row + start,
        integer_at(args, GRAD_PARAMS) + integer_at(args, N_PARAMS) * row + start,
    )
