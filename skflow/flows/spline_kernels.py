"""The spline of `skflow.flows.spline` as compiled loops, where numba is installed.

Torch goes over a tensor some hundred times for a value and its derivatives. These loops take it row by row, so that
what they go over stays in the first-level cache. Each has one or two results of a few inputs and calls nothing of the
math library, which is what the compiler turns into vector instructions; exponentials and logarithms of whole tensors
are left to torch. The names are those of the other module, which says what is computed.

Of R rows of n values, ``kept`` of shape (R, 16, n) holds what the backward loops read, in the order of the names below:
sums over bins come as their reciprocals, the number of the bin as a float.
"""

from __future__ import annotations

import numba
import numpy as np

KEPT = 16
T, S, D0, D1, NUM, DEN, SLOPE, W, H, BIN, LEFT_W, LEFT_H, OWN_W, OWN_H, INV_W, INV_H = range(KEPT)
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@_compiled
def centre(params, out):
    """The logits among ``params`` (R, 3 K - 1, n) less the greatest of their group, into ``out`` (R, 2, K, n)."""
    n_bins = out.shape[2]
    greatest = np.empty(out.shape[3], out.dtype)
    for r in range(len(out)):
        for axis in range(2):
            logits = params[r, axis * n_bins : (axis + 1) * n_bins]
            greatest[:] = logits[0]
            for k in range(1, n_bins):
                _raise(logits[k], greatest)
            for k in range(n_bins):
                _subtract(logits[k], greatest, out[r, axis, k])


@_compiled
def locate(v, exp, params, bound, total, step, axis, kept, raw):
    """Find the bins of ``v`` (R, n), among the widths (``axis`` 0: for the curve) or the heights (1: for its inverse).

    Fills half of ``kept``, and ``raw`` (R, 2, n) with the raw slopes at the ends of the bins.
    """
    n_bins, number = exp.shape[2], v.dtype.type
    scaled, reached = np.empty(v.shape[1], v.dtype), np.empty(v.shape[1], v.dtype)
    for r in range(len(v)):
        row = kept[r]
        for i in range(2):
            _sum(exp[r, i], row[INV_W + i])
        _clipped_times(v[r], row[INV_W + axis], bound, scaled)
        reached[:] = number(0)
        row[BIN] = number(0)
        for k in range(n_bins - 1):
            knot = number(k + 1) * step - bound
            _count(exp[r, axis, k], row[INV_W + axis], scaled, total, knot, reached, row[BIN])
        for i in range(2):
            row[LEFT_W + i] = number(0)
            for k in range(n_bins):
                _pick_size(exp[r, i, k], row[BIN], number(k), row[LEFT_W + i], row[OWN_W + i])
        raw[r] = number(0)  # the ends of the interval have slope one
        for k in range(n_bins - 1):
            _pick_slopes(params[r, 2 * n_bins + k], row[BIN], number(k), raw[r, 0], raw[r, 1])


@_compiled
def curve(x, slopes, bound, total, step, kept, z, squared):
    """``z`` and the slope, both (R, n), from the located bins and the ``slopes`` (R, 2, n) at their ends."""
    for r in range(len(x)):
        row = kept[r]
        _measure(row, slopes[r], total, step)
        _position(x[r], row[LEFT_W], row[BIN], row[W], bound, total, step, row[T])
        _fraction(row[T], row[S], row[D0], row[D1], row[NUM], row[DEN])
        _slope(row[T], row[S], row[D0], row[D1], row[SLOPE])
        _value(x[r], row[LEFT_H], row[BIN], row[H], row[NUM], row[DEN], bound, total, step, z[r])
        _squared(row[S], row[DEN], row[SLOPE], squared[r])


@_compiled
def invert(z, slopes, bound, total, step, kept, x, squared):
    """``x`` and the slope of the curve there, both (R, n), from the located bins and the ``slopes`` at their ends."""
    for r in range(len(z)):
        row = kept[r]
        _measure(row, slopes[r], total, step)
        _root(z[r], row[LEFT_H], row[BIN], row[H], row[S], row[D0], row[D1], bound, total, step, row[T])
        _fraction(row[T], row[S], row[D0], row[D1], row[NUM], row[DEN])
        _slope(row[T], row[S], row[D0], row[D1], row[SLOPE])
        _argument(z[r], row[LEFT_W], row[BIN], row[W], row[T], bound, total, step, x[r])
        _squared(row[S], row[DEN], row[SLOPE], squared[r])


@_compiled
def backward(x, exp, rise, bound, total, kept, grad_z, grad_log_slope, grad_x, grad_params):
    """Gradients with respect to ``x`` (R, n) and the parameters (R, 3 K - 1, n).

    ``rise`` (R, 2, n) is the derivative of the slopes at the ends of the bins.
    """
    n_bins, number = exp.shape[2], x.dtype.type
    g_num, g_den, g_s, g_t, left, own, mean = np.empty((7, x.shape[1]), x.dtype)
    for r in range(len(x)):
        row, gz, gl = kept[r], grad_z[r], grad_log_slope[r]
        _through_fraction(gz, gl, row[H], row[NUM], row[DEN], g_num, g_den)
        _to_position(g_num, g_den, gl, row[SLOPE], row[T], row[S], row[D0], row[D1], g_t)
        _to_ratio(g_num, g_den, gl, row[SLOPE], row[T], row[S], g_s)
        _to_x(x[r], gz, g_t, row[W], bound, grad_x[r])
        _to_widths(g_t, g_s, row[T], row[S], row[W], row[INV_W], total, left, own)
        _to_mean(left, own, row[LEFT_W], row[OWN_W], mean)
        for k in range(n_bins):
            _to_logit(exp[r, 0, k], left, own, mean, row[BIN], number(k), grad_params[r, k])
        _to_heights(gz, g_s, row[NUM], row[DEN], row[W], row[INV_H], total, left, own)
        _to_mean(left, own, row[LEFT_H], row[OWN_H], mean)
        for k in range(n_bins):
            _to_logit(exp[r, 1, k], left, own, mean, row[BIN], number(k), grad_params[r, n_bins + k])
        _to_slopes(g_num, g_den, gl, row[SLOPE], row[T], rise[r, 0], rise[r, 1], left, own)
        for k in range(n_bins - 1):
            _to_raw(left, own, row[BIN], number(k), grad_params[r, 2 * n_bins + k])


@_compiled
def _raise(v, greatest):
    for i in range(len(v)):
        greatest[i] = v[i] if v[i] > greatest[i] else greatest[i]


@_compiled
def _subtract(a, b, out):
    for i in range(len(a)):
        out[i] = a[i] - b[i]


@_compiled
def _sum(rows, out):
    out[:] = rows[0]
    for k in range(1, len(rows)):
        row = rows[k]
        for i in range(len(out)):
            out[i] += row[i]


@_compiled
def _clip(v, bound):
    v = -bound if v < -bound else v
    return bound if v > bound else v


@_compiled
def _clipped_times(x, sums, bound, out):
    for i in range(len(x)):
        out[i] = _clip(x[i], bound) * sums[i]


@_compiled
def _count(exp, sums, scaled, total, knot, reached, count):
    zero, one = count.dtype.type(0), count.dtype.type(1)
    for i in range(len(exp)):
        here = reached[i] + exp[i]
        reached[i] = here
        count[i] += one if total * here + knot * sums[i] <= scaled[i] else zero


@_compiled
def _pick_size(exp, count, k, left, own):
    zero = exp.dtype.type(0)
    for i in range(len(exp)):
        v, here, before = exp[i], count[i], own[i]
        left[i] += v if k < here else zero
        own[i] = v if k == here else before


@_compiled
def _pick_slopes(raw, count, k, lower, upper):
    one = raw.dtype.type(1)
    for i in range(len(raw)):
        v, here, below, above = raw[i], count[i], lower[i], upper[i]
        lower[i] = v if here == k + one else below
        upper[i] = v if here == k else above


@_compiled
def _divide_out(sums, left, own):
    one = sums.dtype.type(1)
    for i in range(len(sums)):
        inverse = one / sums[i]
        sums[i] = inverse
        left[i] *= inverse
        own[i] *= inverse


@_compiled
def _size(share, total, step, out):
    for i in range(len(share)):
        out[i] = share[i] * total + step


@_compiled
def _measure(row, slopes, total, step):
    """The sizes of the bins, the ratios of height to width and the slopes at their ends."""
    for i in range(2):
        _divide_out(row[INV_W + i], row[LEFT_W + i], row[OWN_W + i])
        _size(row[OWN_W + i], total, step, row[W + i])
    _ratio(row[H], row[W], row[S])
    row[D0], row[D1] = slopes[0], slopes[1]


@_compiled
def _ratio(h, w, s):
    for i in range(len(s)):
        s[i] = h[i] / w[i]


@_compiled
def _position(x, left, count, w, bound, total, step, t):
    for i in range(len(x)):
        t[i] = (_clip(x[i], bound) - (total * left[i] + (count[i] * step - bound))) / w[i]


@_compiled
def _root(z, left, count, h, s, d0, d1, bound, total, step, t):
    """The root in [0, 1] of eq. 6-8 of the paper, in the form that does not cancel."""
    zero, one, two, four = t.dtype.type(0), t.dtype.type(1), t.dtype.type(2), t.dtype.type(4)
    for i in range(len(z)):
        offset = _clip(z[i], bound) - (total * left[i] + (count[i] * step - bound))
        curvature = d0[i] + d1[i] - two * s[i]
        quadratic, linear = h[i] * (s[i] - d0[i]) + offset * curvature, h[i] * d0[i] - offset * curvature
        constant = -s[i] * offset
        discriminant = linear * linear - four * quadratic * constant
        discriminant = zero if discriminant < zero else discriminant
        root = two * constant / (-linear - np.sqrt(discriminant))
        root = zero if root < zero else root
        t[i] = one if root > one else root


@_compiled
def _argument(z, left, count, w, t, bound, total, step, x):
    for i in range(len(z)):
        x[i] = total * left[i] + (count[i] * step - bound) + t[i] * w[i] + (z[i] - _clip(z[i], bound))


@_compiled
def _fraction(t, s, d0, d1, num, den):
    one, two = t.dtype.type(1), t.dtype.type(2)
    for i in range(len(t)):
        u = t[i] * (one - t[i])
        num[i] = d0[i] * u + s[i] * (t[i] * t[i])
        den[i] = s[i] + (d0[i] + d1[i] - two * s[i]) * u


@_compiled
def _slope(t, s, d0, d1, out):
    one, two = t.dtype.type(1), t.dtype.type(2)
    for i in range(len(t)):
        t1 = one - t[i]
        out[i] = d0[i] * (t1 * t1) + d1[i] * (t[i] * t[i]) + two * s[i] * (t[i] * t1)


@_compiled
def _value(x, left, count, h, num, den, bound, total, step, z):
    for i in range(len(x)):
        below = total * left[i] + (count[i] * step - bound)
        z[i] = below + h[i] * num[i] / den[i] + (x[i] - _clip(x[i], bound))


@_compiled
def _squared(s, den, slope, out):
    for i in range(len(s)):
        ratio = s[i] / den[i]
        out[i] = ratio * ratio * slope[i]


@_compiled
def _through_fraction(gz, gl, h, num, den, g_num, g_den):
    """Through N and D alone, as they stand in z and, D, in the log-slope."""
    two = gz.dtype.type(2)
    for i in range(len(gz)):
        g_num[i] = gz[i] * h[i] / den[i]
    for i in range(len(gz)):
        g_den[i] = -(g_num[i] * num[i] + two * gl[i]) / den[i]


@_compiled
def _to_position(g_num, g_den, gl, slope, t, s, d0, d1, g_t):
    one, two = t.dtype.type(1), t.dtype.type(2)
    for i in range(len(t)):
        t1, gl_m = one - t[i], gl[i] / slope[i]
        g_u = g_num[i] * d0[i] + g_den[i] * (d0[i] + d1[i] - two * s[i]) + two * gl_m * s[i]
        g_t[i] = g_u * (t1 - t[i]) + two * (g_num[i] * s[i] * t[i] + gl_m * (d1[i] * t[i] - d0[i] * t1))


@_compiled
def _to_ratio(g_num, g_den, gl, slope, t, s, g_s):
    one, two = t.dtype.type(1), t.dtype.type(2)
    for i in range(len(t)):
        gl_m = gl[i] / slope[i]
        through_u = two * (gl_m - g_den[i]) * (t[i] * (one - t[i]))
        g_s[i] = g_den[i] + g_num[i] * (t[i] * t[i]) + through_u + two * gl[i] / s[i]


@_compiled
def _to_x(x, gz, g_t, w, bound, grad_x):
    for i in range(len(x)):
        grad_x[i] = gz[i] if x[i] < -bound or x[i] > bound else g_t[i] / w[i]


@_compiled
def _to_widths(g_t, g_s, t, s, w, inverse, total, left, own):
    """``left`` reaches every bin left of the value's own, ``own`` that one."""
    for i in range(len(t)):
        left[i] = -g_t[i] / w[i] * (total * inverse[i])
    for i in range(len(t)):
        own[i] = -(g_t[i] * t[i] + g_s[i] * s[i]) / w[i] * (total * inverse[i])


@_compiled
def _to_heights(gz, g_s, num, den, w, inverse, total, left, own):
    for i in range(len(gz)):
        left[i] = gz[i] * (total * inverse[i])
    for i in range(len(gz)):
        own[i] = (g_s[i] / w[i] + gz[i] * num[i] / den[i]) * (total * inverse[i])


@_compiled
def _to_mean(left, own, left_share, own_share, mean):
    for i in range(len(mean)):
        mean[i] = -(left[i] * left_share[i] + own[i] * own_share[i])


@_compiled
def _to_logit(exp, left, own, mean, count, k, grad):
    zero = exp.dtype.type(0)
    for i in range(len(exp)):
        of_left, of_own, here = left[i], own[i], count[i]
        grad[i] = (mean[i] + (of_left if k < here else zero) + (of_own if k == here else zero)) * exp[i]


@_compiled
def _to_slopes(g_num, g_den, gl, slope, t, rise0, rise1, lower, upper):
    one = t.dtype.type(1)
    for i in range(len(t)):
        t1 = one - t[i]
        lower[i] = ((g_num[i] + g_den[i]) * (t[i] * t1) + gl[i] / slope[i] * (t1 * t1)) * rise0[i]
    for i in range(len(t)):
        upper[i] = (g_den[i] * (t[i] * (one - t[i])) + gl[i] / slope[i] * (t[i] * t[i])) * rise1[i]


@_compiled
def _to_raw(lower, upper, count, k, grad):
    zero, one = grad.dtype.type(0), grad.dtype.type(1)
    for i in range(len(grad)):
        below, above, here = lower[i], upper[i], count[i]
        grad[i] = (below if here == k + one else zero) + (above if here == k else zero)
