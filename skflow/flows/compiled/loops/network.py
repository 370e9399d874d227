"""A multilayer perceptron and its derivative as compiled loops: see `skflow.flows.networks`.

Rows are taken a vector at a time, so that a layer's activations stay in the first-level cache from one layer to the
next, and every block of units goes over the inputs alone that one of them sees.

Each function does items of work until none is left. ``args`` is the address of integers: `HEADER`, and then `LAYER` for
each layer, most of them addresses in turn. `zero` is of the type of the numbers.
"""

from __future__ import annotations

import numba
import numpy as np

from ...tiles import LANES
from .items import N_ITEMS, next_item, own_slot, tile_and_start
from .memory import address_of, integer_at, number_at, put_number, size_of, zero_of
from .products import (
    LEFT,
    RIGHT,
    UNITS,
    copy_vectors,
    copy_where_positive,
    inner_product,
    inner_products,
    put_ones,
    weighted_sum,
    weighted_sums,
)
from .vectors import VECTOR_BYTES

ITEM_UNITS = 2 * LEFT  # of an item, where units are shared out and not rows
N_TILES, N_ROWS, N_LAYERS, WORKSPACE, WORKSPACE_BYTES, SOURCE, SOURCE_TILE, HEADER = range(N_ITEMS + 1, N_ITEMS + 9)
AFFINE, MASK, USED, TURNED, N_OUT, N_IN, N_SEEN, FIRST, INPUT, OUTPUT, GRAD_OUTPUT, GRAD_INPUT, GRAD, LAYER = range(14)
NONE = np.int64(0)  # a plain zero would be a type of its own, and be compiled for
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _layer(args, i):
    return args + 8 * (HEADER + i * LAYER)


@_compiled
def _own_workspace(args):
    return integer_at(args, WORKSPACE) + own_slot(args) * integer_at(args, WORKSPACE_BYTES)


@_compiled
def _layer_and_units(args, item):
    """The layer that an item belongs to, counted from the last one, and its first and last units."""
    i = integer_at(args, N_LAYERS) - 1
    while True:
        layer = _layer(args, i)
        n_out = integer_at(layer, N_OUT)
        n_items = -(-n_out // ITEM_UNITS)
        if item < n_items:
            return layer, item * ITEM_UNITS, min(n_out, (item + 1) * ITEM_UNITS)
        item -= n_items
        i -= 1


def prepare(pointer):
    """The weights that are used, and the same with inputs and outputs interchanged."""
    args, zero = address_of(pointer), zero_of(pointer)
    while True:
        item = next_item(args)
        if item < 0:
            break
        layer, start, stop = _layer_and_units(args, item)
        n_out, n_in, mask = integer_at(layer, N_OUT), integer_at(layer, N_IN), integer_at(layer, MASK)
        affine, used, turned = integer_at(layer, AFFINE), integer_at(layer, USED), integer_at(layer, TURNED)
        for u in range(start, stop):
            for k in range(n_in):
                v = number_at(affine, u * n_in + k, zero)
                if mask:
                    v *= number_at(mask, u * n_in + k, zero)
                put_number(used, u * n_in + k, v)
        if turned:
            for k in range(n_in):
                for u in range(start, stop):
                    put_number(turned, k * n_out + u, number_at(used, u * n_in + k, zero))


@_compiled
def _multiply(weights, n_units, n_terms, firsts, lasts, x, out, out_step, rectified, zero):
    """Blocks of units, from the first to the last; where given, ``firsts`` and ``lasts`` bound the terms of each."""
    size = size_of(zero)
    length, u = VECTOR_BYTES // size, 0
    while u < n_units:
        if n_units >= UNITS:
            u = min(u, n_units - UNITS)
            first, last = integer_at(firsts, u) if firsts else 0, integer_at(lasts, u + UNITS - 1) if lasts else n_terms
            start, to = weights + u * n_terms * size, out + u * out_step * size
            weighted_sums(start, n_terms, x, length, first, last, to, out_step, rectified, zero)
            u += UNITS
        else:
            first, last = integer_at(firsts, u) if firsts else 0, integer_at(lasts, u) if lasts else n_terms
            start, to = weights + u * n_terms * size, out + u * out_step * size
            weighted_sum(start, n_terms, x, length, first, last, to, out_step, rectified, zero)
            u += 1


def forward(pointer):
    args, zero = address_of(pointer), zero_of(pointer)
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, n_layers = integer_at(args, N_ROWS), integer_at(args, N_LAYERS)
    here = _own_workspace(args)
    above = here + integer_at(args, WORKSPACE_BYTES) // 2
    while True:
        item = next_item(args)
        if item < 0:
            break
        tile, lane = tile_and_start(item, n_rows)
        for start in range(lane, lane + LANES, length):
            n_in = integer_at(_layer(args, 0), N_IN)
            source = integer_at(args, SOURCE) + (tile * integer_at(args, SOURCE_TILE) + start) * size
            put_ones(here, zero)
            copy_vectors(source, n_rows, here + VECTOR_BYTES, length, n_in - 1, zero)
            for i in range(n_layers):
                layer, hidden = _layer(args, i), i < n_layers - 1
                n_in, n_out, kept = integer_at(layer, N_IN), integer_at(layer, N_OUT), integer_at(layer, INPUT)
                if kept:
                    copy_vectors(here, length, kept + (tile * n_in * n_rows + start) * size, n_rows, n_in, zero)
                out, step = above + VECTOR_BYTES, length
                if hidden:
                    put_ones(above, zero)
                else:
                    out, step = integer_at(layer, OUTPUT) + (tile * n_out * n_rows + start) * size, n_rows
                used, n_seen = integer_at(layer, USED), integer_at(layer, N_SEEN)
                _multiply(used, n_out, n_in, NONE, n_seen, here, out, step, int(hidden), zero)
                here, above = above, here


def backward(pointer):
    """From the gradient with respect to the output to those with respect to what is below."""
    args, zero = address_of(pointer), zero_of(pointer)
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, n_layers = integer_at(args, N_ROWS), integer_at(args, N_LAYERS)
    here = _own_workspace(args)
    below = here + integer_at(args, WORKSPACE_BYTES) // 2
    while True:
        item = next_item(args)
        if item < 0:
            break
        tile, lane = tile_and_start(item, n_rows)
        for start in range(lane, lane + LANES, length):
            layer = _layer(args, n_layers - 1)
            n_out = integer_at(layer, N_OUT)
            grad = integer_at(layer, GRAD_OUTPUT) + (tile * n_out * n_rows + start) * size
            copy_vectors(grad, n_rows, here, length, n_out, zero)
            for i in range(n_layers - 1, -1, -1):
                layer = _layer(args, i)
                n_out, n_in, grad = integer_at(layer, N_OUT), integer_at(layer, N_IN), integer_at(layer, GRAD_INPUT)
                if not grad:
                    break
                turned, first = integer_at(layer, TURNED) + n_out * size, integer_at(layer, FIRST)
                _multiply(turned, n_in - 1, n_out, first, NONE, here, below, length, NONE, zero)
                if i:
                    h = integer_at(layer, INPUT) + (tile * n_in * n_rows + n_rows + start) * size
                    copy_where_positive(below, length, below, length, n_in - 1, h, n_rows, zero)
                out = grad + (tile * (n_in - 1) * n_rows + start) * size
                copy_vectors(below, length, out, n_rows, n_in - 1, zero)
                here, below = below, here


def weights(pointer):
    """The gradients with respect to the weights, from those with respect to the layers' outputs."""
    args, zero = address_of(pointer), zero_of(pointer)
    size = size_of(zero)
    n_rows, n_tiles = integer_at(args, N_ROWS), integer_at(args, N_TILES)
    while True:
        item = next_item(args)
        if item < 0:
            break
        layer, u, stop = _layer_and_units(args, item)
        n_out, n_in, mask = integer_at(layer, N_OUT), integer_at(layer, N_IN), integer_at(layer, MASK)
        n_seen, grad = integer_at(layer, N_SEEN), integer_at(layer, GRAD)
        left, right = integer_at(layer, GRAD_OUTPUT), integer_at(layer, INPUT)
        left_tile, right_tile = n_out * n_rows, n_in * n_rows
        while u < stop:
            n = min(LEFT, stop - u)
            seen = integer_at(n_seen, u + n - 1) if n_seen else n_in
            k = 0
            while k < seen:
                if n == LEFT and seen >= RIGHT:
                    k = min(k, seen - RIGHT)
                    inner_products(
                        left + u * n_rows * size, left_tile, right + k * n_rows * size, right_tile, n_rows,
                        n_tiles, n_rows, grad + (u * n_in + k) * size, n_in, zero,
                    )  # fmt: skip
                    k += RIGHT
                    continue
                for j in range(u, u + n):
                    inner_product(
                        left + j * n_rows * size, left_tile, right + k * n_rows * size, right_tile, n_rows,
                        n_tiles, n_rows, grad + (j * n_in + k) * size, n_in, zero,
                    )  # fmt: skip
                k += 1
            if mask:
                for j in range(u * n_in, (u + n) * n_in):
                    put_number(grad, j, number_at(grad, j, zero) * number_at(mask, j, zero))
            u += n
