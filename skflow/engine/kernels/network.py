"""A multilayer perceptron and its derivative: see `skflow.flows.networks.perceptrons`.

Rows are taken a vector at a time, so that a layer's activations stay in the first-level cache from one layer to the
next, and every block of units goes over the inputs alone that one of them sees: units are sorted by what they see.

An item of `prepare` and `weights` are some units of a layer, one of `forward` and `backward` some rows. `LAYER` for
each layer stands behind `NETWORK`; activations kept of a layer have a row of ones on top.
"""

from __future__ import annotations

import numpy as np

from ..blocks import ITEM_UNITS, LAYER, NETWORK
from ..tiles import LANES
from .memory import integer_at, number_at, put_number, size_of
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
from .queue import compiled, tile_and_start
from .vectors import VECTOR_BYTES

NONE = np.int64(0)  # a plain zero would be a type of its own, and be compiled for
HEADER, LAYER_SIZE = len(NETWORK), len(LAYER)


@compiled
def _layer(args, i):
    return args + 8 * (HEADER + i * LAYER_SIZE)


@compiled
def _layer_and_units(args, item):
    """The layer that an item belongs to, counted from the last one, and its first and last units."""
    i = integer_at(args, NETWORK.n_layers) - 1
    while True:
        layer = _layer(args, i)
        n_out = integer_at(layer, LAYER.n_out)
        n_items = -(-n_out // ITEM_UNITS)
        if item < n_items:
            return layer, item * ITEM_UNITS, min(n_out, (item + 1) * ITEM_UNITS)
        item -= n_items
        i -= 1


def prepare(args, own, item, zero):
    """The weights that are used, and the same with inputs and outputs interchanged."""
    layer, start, stop = _layer_and_units(args, item)
    n_out, n_in, mask = integer_at(layer, LAYER.n_out), integer_at(layer, LAYER.n_in), integer_at(layer, LAYER.mask)
    affine, used, turned = (
        integer_at(layer, LAYER.affine),
        integer_at(layer, LAYER.used),
        integer_at(layer, LAYER.turned),
    )
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


@compiled
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


def forward(args, own, item, zero):
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, n_layers = integer_at(args, NETWORK.n_rows), integer_at(args, NETWORK.n_layers)
    here = own
    above = here + integer_at(args, NETWORK.workspace_bytes) // 2
    tile, lane = tile_and_start(item, n_rows)
    for start in range(lane, lane + LANES, length):
        n_in = integer_at(_layer(args, 0), LAYER.n_in)
        source = integer_at(args, NETWORK.source) + (tile * integer_at(args, NETWORK.source_tile) + start) * size
        put_ones(here, zero)
        copy_vectors(source, n_rows, here + VECTOR_BYTES, length, n_in - 1, zero)
        for i in range(n_layers):
            layer, hidden = _layer(args, i), i < n_layers - 1
            n_in, n_out, kept = (
                integer_at(layer, LAYER.n_in),
                integer_at(layer, LAYER.n_out),
                integer_at(layer, LAYER.input),
            )
            if kept:
                copy_vectors(here, length, kept + (tile * n_in * n_rows + start) * size, n_rows, n_in, zero)
            out, step = above + VECTOR_BYTES, length
            if hidden:
                put_ones(above, zero)
            else:
                out, step = integer_at(layer, LAYER.output) + (tile * n_out * n_rows + start) * size, n_rows
            used, n_seen = integer_at(layer, LAYER.used), integer_at(layer, LAYER.n_seen)
            _multiply(used, n_out, n_in, NONE, n_seen, here, out, step, int(hidden), zero)
            here, above = above, here


def backward(args, own, item, zero):
    """From the gradient with respect to the output to those with respect to what is below."""
    size = size_of(zero)
    length = VECTOR_BYTES // size
    n_rows, n_layers = integer_at(args, NETWORK.n_rows), integer_at(args, NETWORK.n_layers)
    here = own
    below = here + integer_at(args, NETWORK.workspace_bytes) // 2
    tile, lane = tile_and_start(item, n_rows)
    for start in range(lane, lane + LANES, length):
        layer = _layer(args, n_layers - 1)
        n_out = integer_at(layer, LAYER.n_out)
        grad = integer_at(layer, LAYER.grad_output) + (tile * n_out * n_rows + start) * size
        copy_vectors(grad, n_rows, here, length, n_out, zero)
        for i in range(n_layers - 1, -1, -1):
            layer = _layer(args, i)
            n_out, n_in, grad = (
                integer_at(layer, LAYER.n_out),
                integer_at(layer, LAYER.n_in),
                integer_at(layer, LAYER.grad_input),
            )
            if not grad:
                break
            turned, first = integer_at(layer, LAYER.turned) + n_out * size, integer_at(layer, LAYER.first_seen)
            _multiply(turned, n_in - 1, n_out, first, NONE, here, below, length, NONE, zero)
            if i:
                h = integer_at(layer, LAYER.input) + (tile * n_in * n_rows + n_rows + start) * size
                copy_where_positive(below, length, below, length, n_in - 1, h, n_rows, zero)
            out = grad + (tile * (n_in - 1) * n_rows + start) * size
            copy_vectors(below, length, out, n_rows, n_in - 1, zero)
            here, below = below, here


def weights(args, own, item, zero):
    """The gradients with respect to the weights, from those with respect to the layers' outputs."""
    size = size_of(zero)
    n_rows, n_tiles = integer_at(args, NETWORK.n_rows), integer_at(args, NETWORK.n_tiles)
    layer, u, stop = _layer_and_units(args, item)
    n_out, n_in, mask = integer_at(layer, LAYER.n_out), integer_at(layer, LAYER.n_in), integer_at(layer, LAYER.mask)
    n_seen, grad = integer_at(layer, LAYER.n_seen), integer_at(layer, LAYER.grad)
    left, right = integer_at(layer, LAYER.grad_output), integer_at(layer, LAYER.input)
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
