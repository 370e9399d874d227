"""The spline of `skflow.flows.spline` as compiled loops over numbers, where numba is installed.

Torch goes over a small tensor some hundred times for a value and its derivatives, a few microseconds each;
these loops go over it once each way. The names are those of the other module, which says what is computed.
"""

from __future__ import annotations

import math

import numba

SAVED = 14  # numbers that the forward loop keeps for the backward one, for each value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def forward(x, exp, raw, bound, total, step, min_slope, unit_slope, z, log_slope, bins, saved):
    """Curve and log-slope of ``x`` (R, n), from ``exp`` (R, 2, K, n) and ``raw`` slopes (R, K - 1, n)."""
    number = x.dtype.type  # a plain literal would turn single into double precision
    zero, one, two = number(0), number(1), number(2)
    n_bins = exp.shape[2]
    for r in range(x.shape[0]):
        for i in range(x.shape[1]):
            sum_w = sum_h = zero
            for k in range(n_bins):
                sum_w += exp[r, 0, k, i]
                sum_h += exp[r, 1, k, i]
            inner = min(max(x[r, i], -bound), bound)
            k, left_w, left_h = 0, zero, zero
            while k < n_bins - 1:
                next_w = left_w + exp[r, 0, k, i]
                if not total * next_w + (number(k + 1) * step - bound) * sum_w <= inner * sum_w:
                    break
                left_w, left_h, k = next_w, left_h + exp[r, 1, k, i], k + 1
            offset, inverse_w, inverse_h = number(k) * step - bound, one / sum_w, one / sum_h
            left_w, left_h = left_w / sum_w, left_h / sum_h
            w, h = total * exp[r, 0, k, i] / sum_w + step, total * exp[r, 1, k, i] / sum_h + step
            d0 = d1 = one
            rise0 = rise1 = zero
            if k > 0:
                d0, rise0 = _slope(raw[r, k - 1, i] + unit_slope, min_slope, zero, one)
            if k < n_bins - 1:
                d1, rise1 = _slope(raw[r, k, i] + unit_slope, min_slope, zero, one)
            s = h / w
            t = (inner - (total * left_w + offset)) / w
            t1 = one - t
            u = t * t1
            num = d0 * u + s * t * t
            den = s + (d0 + d1 - two * s) * u
            slope = d0 * t1 * t1 + d1 * t * t + two * s * u
            ratio = s / den
            z[r, i] = total * left_h + offset + h * num / den + (x[r, i] - inner)
            log_slope[r, i] = math.log(ratio * ratio * slope)
            bins[r, i] = k
            kept = (t, s, d0, d1, num, den, slope, w, left_w, left_h, inverse_w, inverse_h, rise0, rise1)
            for j in range(SAVED):
                saved[j, r, i] = kept[j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def backward(x, exp, bound, total, bins, saved, grad_z, grad_log_slope, grad_x, grad_params):
    """Gradients with respect to ``x`` (R, n) and the parameters (R, 3 K - 1, n).

    ``grad_log_slope`` is of shape (R, n), or (1, n) where it is the same for all R.
    """
    number = x.dtype.type
    zero, one, two = number(0), number(1), number(2)
    n_bins, shared = exp.shape[2], grad_log_slope.shape[0] == 1
    for r in range(x.shape[0]):
        grad_params[r, 2 * n_bins :] = zero
        for i in range(x.shape[1]):
            k = bins[r, i]
            t, s, d0, d1 = saved[0, r, i], saved[1, r, i], saved[2, r, i], saved[3, r, i]
            num, inverse_d, slope = saved[4, r, i], one / saved[5, r, i], saved[6, r, i]
            w, inverse_w, inverse_h = saved[7, r, i], saved[10, r, i], saved[11, r, i]
            gz, gl = grad_z[r, i], grad_log_slope[0 if shared else r, i]
            t1 = one - t
            u, tt, ratio = t * t1, t * t, num * inverse_d
            g_num = gz * s * w * inverse_d
            gl_m = gl / slope
            # Through D alone; the rest is through N and M.
            g_den = -(g_num * ratio + two * gl * inverse_d)
            g_u = g_num * d0 + g_den * (d0 + d1 - two * s) + two * gl_m * s
            g_t = g_u * (t1 - t) + two * g_num * s * t + two * gl_m * (d1 * t - d0 * t1)
            g_s = g_den + g_num * tt + two * (gl_m - g_den) * u + two * gl / s
            g_x = g_t / w
            grad_x[r, i] = g_x if -bound <= x[r, i] <= bound else gz
            left_w, left_h = -g_x * total * inverse_w, gz * total * inverse_h  # reach every bin left of the value's own
            own_w = -(g_t * t + g_s * s) / w * total * inverse_w
            own_h = (g_s + gz * w * ratio) / w * total * inverse_h
            mean_w = -(left_w * saved[8, r, i] + own_w * exp[r, 0, k, i] * inverse_w)
            mean_h = -(left_h * saved[9, r, i] + own_h * exp[r, 1, k, i] * inverse_h)
            for j in range(n_bins):
                of_w, of_h = mean_w, mean_h
                if j < k:
                    of_w, of_h = of_w + left_w, of_h + left_h
                elif j == k:
                    of_w, of_h = of_w + own_w, of_h + own_h
                grad_params[r, j, i] = of_w * exp[r, 0, j, i]
                grad_params[r, n_bins + j, i] = of_h * exp[r, 1, j, i]
            if k > 0:
                g_d0 = (g_num + g_den) * u + gl_m * t1 * t1
                grad_params[r, 2 * n_bins + k - 1, i] = g_d0 * saved[12, r, i]
            if k < n_bins - 1:
                grad_params[r, 2 * n_bins + k, i] = (g_den * u + gl_m * tt) * saved[13, r, i]


@numba.njit(inline="always")
def _slope(raw, min_slope, zero, one):
    """Softplus of a raw slope, and its derivative."""
    e = math.exp(-abs(raw))
    rise = one / (one + e)
    return max(raw, zero) + math.log(one + e) + min_slope, rise if raw >= zero else e * rise
