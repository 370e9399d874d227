"""A univariate map and its derivative over tiles (t, d, n): the loops, for whatever `evaluate` stands for.

A module of a map's own, such as `skflow.engine.kernels.affine`, has

- ``forward`` and ``inverse`` of one vector of values, which add to the log-determinant:
  ``(values, params, step, n_params, constants, work, work_step, keeps, result, log_det)``;
- ``pull_back``, its gradients: ``(values, step, n_params, constants, kept, grad_result, grad_log_det, grad_values,
  grad_params)``;
- ``n_kept(n_params)``: how many vectors there are at ``work``, which hold what the derivative reads where ``keeps``.

All of these are addresses and integers; parameters, and gradients of them, are ``step`` numbers apart. An item of work
are some vectors of rows of a table: of a tile, all features at some places in the batch.
"""

from __future__ import annotations

from ..blocks import UNIVARIATE
from ..tiles import LANES
from .memory import integer_at, size_of
from .products import put_zeros
from .queue import compiled, tile_and_start
from .vectors import VECTOR_BYTES


def evaluate(*arguments):
    """Stands for the function of the map."""
    raise NotImplementedError


@compiled
def _log_det_at(args, field, tile, start, zero):
    """The address of the log-determinants, or of their gradients."""
    return integer_at(args, field) + (tile * integer_at(args, UNIVARIATE.n) + start) * size_of(zero)


@compiled
def _row_and_start(args, tile, feature, start, zero):
    """In bytes: where the values of a feature begin, and how far beyond it some are."""
    row = (tile * integer_at(args, UNIVARIATE.d) + feature) * integer_at(args, UNIVARIATE.n)
    return row * size_of(zero), start * size_of(zero)


def forward(args, own, item, zero):
    """Either direction."""
    n, length = integer_at(args, UNIVARIATE.n), VECTOR_BYTES // size_of(zero)
    n_params, constants = integer_at(args, UNIVARIATE.n_params), integer_at(args, UNIVARIATE.constants)
    kept = integer_at(args, UNIVARIATE.kept)
    tile, first = tile_and_start(item, n)
    for start in range(first, first + LANES, length):
        put_zeros(_log_det_at(args, UNIVARIATE.log_det, tile, start, zero), zero)
    for feature in range(integer_at(args, UNIVARIATE.d)):
        for start in range(first, first + LANES, length):
            row, at = _row_and_start(args, tile, feature, start, zero)
            work, work_step = own, length
            if kept:
                work, work_step = kept + integer_at(args, UNIVARIATE.n_kept) * row + at, n
            evaluate(
                integer_at(args, UNIVARIATE.values) + row + at,
                integer_at(args, UNIVARIATE.params) + n_params * row + at,
                n, n_params, constants, work, work_step, kept,
                integer_at(args, UNIVARIATE.result) + row + at,
                _log_det_at(args, UNIVARIATE.log_det, tile, start, zero),
                zero,
            )  # fmt: skip


def backward(args, own, item, zero):
    """The gradients."""
    n, length = integer_at(args, UNIVARIATE.n), VECTOR_BYTES // size_of(zero)
    n_params, constants = integer_at(args, UNIVARIATE.n_params), integer_at(args, UNIVARIATE.constants)
    tile, first = tile_and_start(item, n)
    for feature in range(integer_at(args, UNIVARIATE.d)):
        for start in range(first, first + LANES, length):
            row, at = _row_and_start(args, tile, feature, start, zero)
            evaluate(
                integer_at(args, UNIVARIATE.values) + row + at,
                n, n_params, constants,
                integer_at(args, UNIVARIATE.kept) + integer_at(args, UNIVARIATE.n_kept) * row + at,
                integer_at(args, UNIVARIATE.grad_result) + row + at,
                _log_det_at(args, UNIVARIATE.grad_log_det, tile, start, zero),
                integer_at(args, UNIVARIATE.grad_values) + row + at,
                integer_at(args, UNIVARIATE.grad_params) + n_params * row + at,
                zero,
            )  # fmt: skip
