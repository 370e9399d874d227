"""`skflow.flows.RationalQuadraticSpline`, a vector at a time: see `skflow.engine.kernels.univariate`.

The names are those of `skflow.flows.univariate.rational_quadratic`, which says what is computed. Kept are the
exponentials of the logits, and then what `pull_back` unpacks: sums over bins as their reciprocals, the number of the
bin as a float. The gradient with respect to the softmax logits needs only the bin's own width, its left knot and the
softmax itself, so the way back is one sweep over the logits.
"""

from __future__ import annotations

from .functions import exp, log, softplus
from .vectors import vector_function

N_EACH = 14  # vectors that are kept of a value, behind the exponentials of its bins


def n_kept(n_params):
    """Of a value, with the exponentials of its bins."""
    return N_EACH + 2 * ((n_params + 1) // 3)


def _n_bins(code, n_params):
    return code.builder.udiv(code.builder.add(n_params, code.int(1)), code.int(3))


class _Interval:
    """Where the bins are: the end of the interval, what softmax shares out of it, and the least size of a bin."""

    def __init__(self, code, address):
        numbers = [code.spread(code.load_scalar(code.place(address, i))) for i in range(5)]
        self.bound, self.total, self.step, self.unit_slope, self.min_slope = numbers

    def clip(self, v):
        """The value, or the end of the interval next to it."""
        return v.at_least(-self.bound).at_most(self.bound)

    def size(self, share):
        """Of a bin, from its softmax."""
        return share * self.total + self.step

    def begin(self, left, number):
        """Of a bin, from the softmax of those on its left and its number."""
        return left * self.total + (number * self.step - self.bound)


def _exponentials(code, logits, step, n_bins, out, out_step):
    """Store those of the logits less the greatest; their sum."""

    def raise_(k, found):
        return [code.load(code.place(logits, code.times(step, k))).at_least(found[0])]

    def add(k, total):
        e = exp(code.load(code.place(logits, code.times(step, k))) - greatest)
        code.store(e, code.place(out, code.times(out_step, k)))
        return [total[0] + e]

    [greatest] = code.loop(1, n_bins, [code.load(logits)], raise_)
    return code.loop(0, n_bins, [code.constant(0.0)], add)[0]


def _locate(code, v, params, step, n_bins, interval, exps, exp_step, by_height):
    """The bin of ``v``: its number, of widths and heights what is left of it, its own and all, and its raw slopes."""
    starts = exps, code.place(exps, code.times(exp_step, n_bins))
    above = code.place(params, code.times(step, n_bins))
    raw_slopes = code.place(above, code.times(step, n_bins))
    sums = [_exponentials(code, of, step, n_bins, to, exp_step) for of, to in zip((params, above), starts)]
    scaled = interval.clip(v) * sums[by_height]

    def pass_bin(k, state, raw):
        reached, raw_before, best = state[:2], state[2], state[3:]
        number = code.spread_integer(k)
        own = [code.load(code.place(start, code.times(exp_step, k))) for start in starts]
        begin = reached[by_height] * interval.total + (number * interval.step - interval.bound) * sums[by_height]
        inside = begin <= scaled  # or further to the right
        best = [new.where(inside, old) for new, old in zip([number, *reached, *own, raw_before, raw], best)]
        return [reached[0] + own[0], reached[1] + own[1], raw, *best]

    def body(k, state):
        return pass_bin(k, state, code.load(code.place(raw_slopes, code.times(step, k))))

    last, zero = code.builder.sub(n_bins, code.int(1)), code.constant(0.0)
    state = pass_bin(last, code.loop(0, last, [zero] * 10, body), zero)  # the ends of the interval have slope one
    number, left_w, left_h, own_w, own_h, *raw = state[3:]
    return number, [left_w, left_h], [own_w, own_h], sums, raw


def _fraction(t, s, d0, d1):
    """N, D and M of the formulas."""
    rest = 1 - t
    u, tt = t * rest, t * t
    return s * tt + d0 * u, s + (d0 + d1 - s * 2) * u, d1 * tt + s * u * 2 + d0 * (rest * rest)


def _root(offset, h, s, d0, d1):
    """The position in the bin that the spline maps ``offset`` above its lower end, in the form that does not cancel."""
    curvature = d0 + d1 - s * 2
    quadratic, linear = h * (s - d0) + offset * curvature, h * d0 - offset * curvature
    constant = -(s * offset)
    discriminant = (linear * linear - quadratic * constant * 4).at_least(0)
    return (constant * 2 / (-linear - discriminant.sqrt())).at_least(0).at_most(1)


def _direction(by_height):
    @vector_function
    def direction(code, values, params, step, n_params, constants, work, work_step, keeps, result, log_det):
        n_bins, exps, exp_step = _n_bins(code, n_params), work, work_step
        interval, v = _Interval(code, constants), code.load(values)
        number, left, own, sums, raw = _locate(code, v, params, step, n_bins, interval, exps, exp_step, by_height)
        inverse_sums = [1 / total for total in sums]
        left, own = ([a * b for a, b in zip(values, inverse_sums)] for values in (left, own))
        (w, h), (x0, y0) = (interval.size(share) for share in own), (interval.begin(share, number) for share in left)
        s, inner = h / w, interval.clip(v)
        (d0, rise0), (d1, rise1) = (softplus(v + interval.unit_slope) for v in raw)
        d0, d1 = d0 + interval.min_slope, d1 + interval.min_slope
        t = _root(inner - y0, h, s, d0, d1) if by_height else (inner - x0) / w
        num, den, slope = _fraction(t, s, d0, d1)
        code.store((x0 + t * w if by_height else y0 + h * num / den) + (v - inner), result)
        ratio = s / den
        log_slope, total = log(ratio * ratio * slope), code.load(log_det)
        code.store(total - log_slope if by_height else total + log_slope, log_det)
        with code.builder.if_then(code.builder.icmp_signed("!=", keeps, code.int(0))):
            kept = code.place(exps, code.times(exp_step, n_bins), code.times(exp_step, n_bins))
            for i, value in enumerate((t, s, d0, d1, w, number, *left, *own, *inverse_sums, rise0, rise1)):
                code.store(value, code.place(kept, code.times(exp_step, i)))

    return direction


forward, inverse = _direction(0), _direction(1)


@vector_function
def pull_back(code, values, step, n_params, constants, exps, at_grad_result, at_grad_log_det, grad_values, grad_params):
    """The gradients of one vector of values, by the chain rule through N, D and M of the formulas."""
    n_bins, interval, x = _n_bins(code, n_params), _Interval(code, constants), code.load(values)
    gz, gl = code.load(at_grad_result), code.load(at_grad_log_det)
    kept = code.place(exps, code.times(step, n_bins), code.times(step, n_bins))
    t, s, d0, d1, w, number, left_w, left_h, own_w, own_h, inv_w, inv_h, rise0, rise1 = (
        code.load(code.place(kept, code.times(step, i))) for i in range(N_EACH)
    )
    num, den, slope = _fraction(t, s, d0, d1)
    rest = 1 - t
    u, tt = t * rest, t * t
    ratio = num / den
    g_num = gz * s * w / den
    g_den = -(g_num * ratio + gl * 2 / den)  # through D alone; the rest is through N and M
    gl_m = gl / slope
    g_u = g_num * d0 + g_den * (d0 + d1 - s * 2) + gl_m * s * 2
    g_t = g_u * (rest - t) + (g_num * s * t + gl_m * (d1 * t - d0 * rest)) * 2
    g_s = g_den + g_num * tt + (gl_m - g_den) * u * 2 + gl * 2 / s
    g_d0 = ((g_num + g_den) * u + gl_m * (rest * rest)) * rise0
    g_d1 = (g_den * u + gl_m * tt) * rise1
    g_x = g_t / w
    outside = code.builder.or_(x < -interval.bound, x > interval.bound)
    code.store(gz.where(outside, g_x), grad_values)

    def to_logits(exps, out, g_left, g_own, left, own):
        """``g_left`` reaches every bin left of the value's own, ``g_own`` that one."""
        mean = -(g_left * left + g_own * own)

        def body(k, nothing):
            k_number = code.spread_integer(k)
            reached = g_left.where(k_number < number, 0.0) + g_own.where(k_number.equals(number), 0.0)
            e = code.load(code.place(exps, code.times(step, k)))
            code.store((mean + reached) * e, code.place(out, code.times(step, k)))
            return nothing

        code.loop(0, n_bins, [], body)

    def to_slopes(k, nothing):
        k_number = code.spread_integer(k)
        g = g_d0.where((k_number + 1).equals(number), 0.0) + g_d1.where(k_number.equals(number), 0.0)
        code.store(g, code.place(out_slopes, code.times(step, k)))
        return nothing

    out_heights = code.place(grad_params, code.times(step, n_bins))
    out_slopes = code.place(out_heights, code.times(step, n_bins))
    scale_w, scale_h = interval.total * inv_w, interval.total * inv_h
    g_own_w = -(g_t * t + g_s * s) / w * scale_w
    to_logits(exps, grad_params, -g_x * scale_w, g_own_w, left_w, own_w)
    exps_h = code.place(exps, code.times(step, n_bins))
    to_logits(exps_h, out_heights, gz * scale_h, (g_s / w + gz * ratio) * scale_h, left_h, own_h)
    code.loop(0, code.builder.sub(n_bins, code.int(1)), [], to_slopes)
