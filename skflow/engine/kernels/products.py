"""Products of small blocks: their sums stay in registers from the first term to the last."""

from __future__ import annotations

import math

from .vectors import vector_function

UNITS = 6  # of a block, times one vector of rows: what 16 registers of 32 bytes hold
LEFT, RIGHT = 4, 3  # of a block of sums over rows, in half vectors


def _weighted_sums(n_units):
    @vector_function
    def weighted_sums(code, weights, unit_step, x, x_step, first, last, out, out_step, rectified):
        """Sums over k from ``first`` to ``last`` of the weight at (unit, k) times the vector ``x`` of k.

        One vector for each unit, stored ``out_step`` apart; where ``rectified``, zero instead of what is negative.
        """

        def body(k, totals):
            v = code.load(code.place(x, code.times(x_step, k)))
            places = [code.place(weights, code.times(unit_step, i), k) for i in range(n_units)]
            return [t + code.spread(code.load_scalar(place)) * v for t, place in zip(totals, places)]

        totals = code.loop(first, last, [code.constant(0.0)] * n_units, body)
        least = code.constant(0.0).where(code.builder.icmp_signed("!=", rectified, code.int(0)), -math.inf)
        for i, total in enumerate(totals):
            code.store(total.at_least(least), code.place(out, code.times(out_step, i)))

    return weighted_sums


def _inner_products(n_left, n_right):
    @vector_function
    def inner_products(code, a, a_tile, b, b_tile, row_step, n_tiles, n_rows, out, out_step):
        """Sums over tiles and rows of ``a`` of i times ``b`` of j, stored at (i, j)."""
        length = code.length // 2

        def of_tile(tile, totals):
            starts = code.place(a, code.times(a_tile, tile)), code.place(b, code.times(b_tile, tile))

            def of_rows(row, totals):
                left, right = (
                    [code.load(code.place(start, row, code.times(row_step, i)), length) for i in range(n)]
                    for start, n in zip(starts, (n_left, n_right))
                )
                pairs = [(p, q) for p in left for q in right]
                return [total + p * q for total, (p, q) in zip(totals, pairs)]

            return code.loop(0, n_rows, totals, of_rows, step=length)

        totals = code.loop(0, n_tiles, [code.constant(0.0, length)] * (n_left * n_right), of_tile)
        for n, total in enumerate(totals):
            i, j = divmod(n, n_right)
            code.store_scalar(total.sum(), code.place(out, code.times(out_step, i), j))

    return inner_products


weighted_sums, weighted_sums3, weighted_sums2, weighted_sum = (_weighted_sums(n) for n in (UNITS, 3, 2, 1))
inner_products, inner_product = _inner_products(LEFT, RIGHT), _inner_products(1, 1)


@vector_function
def copy_vectors(code, source, source_step, target, target_step, n):
    """Copy ``n`` vectors, those of the source ``source_step`` apart."""

    def body(k, nothing):
        v = code.load(code.place(source, code.times(source_step, k)))
        code.store(v, code.place(target, code.times(target_step, k)))
        return nothing

    code.loop(0, n, [], body)


@vector_function
def copy_where_positive(code, source, source_step, target, target_step, n, gate, gate_step):
    """Copy ``n`` vectors, with zero where those at ``gate`` are not positive."""

    def body(k, nothing):
        v = code.load(code.place(source, code.times(source_step, k)))
        h = code.load(code.place(gate, code.times(gate_step, k)))
        code.store(v.where(h > 0, 0.0), code.place(target, code.times(target_step, k)))
        return nothing

    code.loop(0, n, [], body)


@vector_function
def put_ones(code, target):
    """Store a vector of ones."""
    code.store(code.constant(1.0), target)


@vector_function
def put_zeros(code, target):
    """Store a vector of zeros."""
    code.store(code.constant(0.0), target)
