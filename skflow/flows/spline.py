"""The monotone rational-quadratic spline (Durkan et al. 2019), with derivatives written out by hand.

Inside [-bound, bound] the curve passes through K+1 knots; bin k, of width w and height h, with slopes d0 and d1 at its
ends, maps t = (x - x_k) / w by eq. 4 of the paper:

    z = y_k + h N / D,   N = s t^2 + d0 t (1 - t),   D = s + (d0 + d1 - 2 s) t (1 - t),   s = h / w
    dz/dx = s^2 M / D^2, M = d1 t^2 + 2 s t (1 - t) + d0 (1 - t)^2                                  (eq. 5)

Outside the curve is the identity: the value at the end, where the slope is one, plus the excess. The gradient with
respect to the K softmax logits needs only the bin's own width, its left knot and the softmax itself, so the backward
pass is one sweep over the logits instead of a graph of thirty nodes. Widths and heights travel together, stacked along
an axis of two in front of the bins: half as many operations on small tensors. Masks are kept as numbers, which are
summed and multiplied several times faster than booleans, and the softmax is never divided out: knots times the sum of
the exponentials are compared with values times that sum.

In single precision, that of training, up to `MAX_COMPILED` values go through compiled loops both ways
(`skflow.flows.spline_kernels`) where numba is installed; the way back only where no gradient is wanted. In double
precision both directions are computed here alone, so that they round alike.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from .tape import Tape
from .univariate import DifferentiatedUnivariate

MAX_COMPILED = 100_000  # values; of more, torch's operations on several threads may be as fast
MIN_BIN = 1e-3  # least width and height of a bin, as a share of the interval
MIN_SLOPE = 1e-3  # least slope at an inner knot
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # raw zero gives a slope of one
_softplus = torch.ops.aten.softplus.out


class RationalQuadraticSpline(DifferentiatedUnivariate):
    """Rational-quadratic spline with ``n_bins`` bins on [-bound, bound] and the identity outside.

    ``params`` holds ``n_bins`` width logits, ``n_bins`` height logits and ``n_bins - 1`` raw inner slopes. ``compiled``
    allows the compiled loops where they are installed.
    """

    def __init__(self, n_bins: int = 8, bound: float = 5.0, compiled: bool = True):
        self.n_bins = n_bins
        self.bound = bound
        self.compiled = compiled
        self.n_params = 3 * n_bins - 1

    def record(self, tape, x, params):
        if kernels := self._kernels_for(x):
            return record_compiled(tape, x, params, self.n_bins, self.bound, kernels)
        z, log_slope, kept = tape.output(*x.shape), tape.keep(*x.shape), []

        def evaluate():
            kept[:] = self._evaluate(x, params, z, log_slope)
            if not tape.keeps:
                kept.clear()

        def record_back(tape, grad_z, grad_log_slope, grad_params):
            grad_x = tape.output(*x.shape)
            tape.add(lambda: self._pull_back(kept, grad_z, grad_log_slope, grad_params, grad_x))
            return grad_x

        tape.add(evaluate)
        return z, log_slope, record_back

    def _kernels_for(self, x):
        """The compiled loops, where they are of use."""
        small = x.numel() <= MAX_COMPILED and x.device.type == "cpu"
        return _kernels() if self.compiled and small and x.dtype == torch.float32 else None

    def _evaluate(self, x, params, z, log_slope):
        """Write the results, and return what the derivative needs."""
        b = _Bin(x, params, self.n_bins, self.bound)
        (w, h), (x0, y0), (d0, d1) = b.size.unbind(-2), b.corner.unbind(-2), b.slopes.unbind(-2)
        s = h / w
        t = (b.inner - x0) / w
        num, den, slope = _curve(t, s, d0, d1)
        torch.addcmul(y0, h, num / den, out=z).add_(x - b.inner)
        ratio = s / den
        torch.mul(ratio * ratio, slope, out=log_slope).log_()
        return x, t, num, den, slope, s, b

    def _pull_back(self, kept, grad_z, grad_log_slope, grad_params, grad_x):
        """Write the gradients."""
        x, t, num, den, slope, s, b = kept
        (w, h), (d0, d1), K = b.size.unbind(-2), b.slopes.unbind(-2), self.n_bins
        gz, gl = grad_z, grad_log_slope
        t1 = 1 - t
        u, tt, tilt = t * t1, t * t, t1 - t
        inv_w, inv_d = w.reciprocal(), den.reciprocal()
        ratio = num * inv_d
        g_num = gz * h * inv_d
        gl_m = gl / slope
        # Through D alone (z by -h N / D^2, the log-slope by -2 / D); the rest is through N and M.
        g_den = torch.addcmul(g_num * ratio, gl, inv_d, value=2).neg_()
        g_u = torch.addcmul(g_num * d0, g_den, torch.add(d0 + d1, s, alpha=-2)).addcmul_(gl_m, s, value=2)
        g_t = g_u * tilt
        g_t.addcmul_(g_num * s, t, value=2).addcmul_(gl_m, torch.addcmul(-d0 * t1, d1, t), value=2)
        g_s = torch.addcmul(g_den, g_num, tt).addcmul_(torch.sub(gl_m, g_den), u, value=2)
        g_s.addcdiv_(gl.expand_as(s), s, value=2)
        g_d1 = torch.addcmul(g_den * u, gl_m, tt)
        g_d0 = torch.addcmul((g_num + g_den) * u, gl_m, t1 * t1)
        g_x = g_t * inv_w

        grad = grad_params.movedim(0, -2)
        logits = grad[..., : 2 * K, :].unflatten(-2, (2, K))
        scale = 2 * self.bound * (1 - K * MIN_BIN) / b.sum
        g_left = torch.stack([-g_x, gz], -2).mul_(scale)  # reaches every bin left of the point's own
        g_own = torch.stack([-torch.addcmul(g_t * t, g_s, s), torch.addcmul(g_s, gz * w, ratio)], -2)
        g_own.mul_(inv_w[..., None, :] * scale)  # the bin itself
        mean = torch.addcmul(g_left * b.left, g_own, b.share).neg_()[..., None, :]
        torch.addcmul(mean, b.below[..., None, :, :], g_left[..., None, :], out=logits[..., :-1, :])
        logits[..., -1:, :] = mean
        logits.scatter_add_(-2, b.k2, g_own[..., None, :])
        logits.mul_(b.exp)
        slopes = t.new_zeros(*t.shape[:-1], K + 1, t.shape[-1])
        slopes.scatter_add_(-2, b.ends, torch.stack([g_d0, g_d1], -2).mul_(b.raw.sigmoid()))
        grad[..., 2 * K :, :] = slopes[..., 1:-1, :]
        inside = torch.eq(b.inner, x, out=torch.empty_like(x))
        torch.lerp(gz, g_x, inside, out=grad_x)

    def inverse(self, z, params):
        if not torch.is_grad_enabled() and (kernels := self._kernels_for(z)):
            tape, n = Tape(z), z.shape[-1]
            rows = z.reshape(-1, n).contiguous(), params.movedim(0, -2).reshape(-1, self.n_params, n).contiguous()
            x, log_slope = record_values(tape, *rows, self.n_bins, self.bound, kernels, inverse=True)[:2]
            tape.run()
            return x.view(z.shape), log_slope.neg_().view(z.shape)
        b = _Bin(z, params, self.n_bins, self.bound, by_height=True)
        (w, h), (x0, y0), (d0, d1) = b.size.unbind(-2), b.corner.unbind(-2), b.slopes.unbind(-2)
        s = h / w
        offset = b.inner - y0
        curvature = d0 + d1 - 2 * s
        # The root of a t^2 + b t + c = 0 in [0, 1], in the form that does not cancel (eq. 6-8 of the paper).
        quadratic = h * (s - d0) + offset * curvature
        linear = h * d0 - offset * curvature
        constant = -s * offset
        root = (linear * linear - 4 * quadratic * constant).clamp_min(0).sqrt()
        t = (2 * constant / (-linear - root)).clamp(0, 1)
        _, den, slope = _curve(t, s, d0, d1)
        ratio = s / den
        return torch.addcmul(x0, t, w) + (z - b.inner), -(ratio * ratio * slope).log()


@functools.lru_cache(maxsize=1)
def _kernels():
    """The compiled loops, or None where numba is missing or finds no folder to keep them in."""
    try:
        from . import spline_kernels
    except (ImportError, RuntimeError):
        return None
    return spline_kernels


def record_compiled(tape: Tape, x: Tensor, params: Tensor, n_bins: int, bound: float, kernels: ModuleType):
    """`RationalQuadraticSpline.record` with the compiled loops."""
    laid_out = params.transpose(0, 1)
    z, log_slope, exp, raw, kept, interval = record_values(tape, x, laid_out, n_bins, bound, kernels)

    def record_back(tape, grad_z, grad_log_slope, grad_params):
        grad_x, rise = tape.output(*x.shape), tape.scratch(*raw.shape)
        grads = (v.numpy() for v in (grad_z, grad_log_slope, grad_x, grad_params.transpose(0, 1)))
        tape.add(torch.sigmoid, raw, out=rise)
        tape.add(kernels.backward, x.numpy(), exp.numpy(), rise.numpy(), *interval[:2], kept, *grads)
        return grad_x

    return z, log_slope, record_back


def record_values(
    tape: Tape, v: Tensor, params: Tensor, n_bins: int, bound: float, kernels: ModuleType, inverse: bool = False
):
    """Record the curve, or its inverse, of values (R, n) with the compiled loops; ``params`` are (R, n_params, n).

    Returns
    -------
    result : Tensor of shape (R, n)
    log_slope : Tensor of shape (R, n)
        Of the curve, in either direction.
    exp, raw, kept, interval
        What the derivative needs, in the terms of `skflow.flows.spline_kernels`.
    """
    (n_rows, n), number = v.shape, v.new_empty(0).numpy().dtype.type
    step = 2 * bound * MIN_BIN
    # The end of the interval, what softmax shares out of it, and the least size of a bin.
    interval = number(bound), number(2 * bound - n_bins * step), number(step)
    result, log_slope = tape.output(n_rows, n), tape.keep(n_rows, n)
    exp, raw, slopes = tape.keep(n_rows, 2, n_bins, n), tape.keep(n_rows, 2, n), tape.scratch(n_rows, 2, n)
    kept, logits = tape.keep(n_rows, kernels.KEPT, n).numpy(), params.numpy()
    tape.add(kernels.centre, logits, exp.numpy())
    tape.add(exp.exp_)
    tape.add(kernels.locate, v.numpy(), exp.numpy(), logits, *interval, int(inverse), kept, raw.numpy())
    tape.add(raw.add_, UNIT_SLOPE)
    tape.add(_softplus, raw, out=slopes)
    tape.add(slopes.add_, MIN_SLOPE)
    curve = kernels.invert if inverse else kernels.curve
    tape.add(curve, v.numpy(), slopes.numpy(), *interval, kept, result.numpy(), log_slope.numpy())
    tape.add(log_slope.log_)
    return result, log_slope, exp, raw, kept, interval


@functools.lru_cache(maxsize=64)
def _left_knots(n_bins: int, bound: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix from a softmax to the left knots of all bins: each the sum of the bins on its left."""
    with torch.inference_mode(False):
        number = torch.arange(n_bins, dtype=dtype, device=device)[:, None]
        total, step = 2 * bound * (1 - n_bins * MIN_BIN), 2 * bound * MIN_BIN
        return total * torch.ones_like(number * number.t()).tril(-1) + step * number - bound


class _Bin:
    """The bin that each value falls in: arithmetic then runs on one bin, not on K.

    For values of shape (..., n).

    Attributes
    ----------
    inner : Tensor of shape (..., n)
        The value, or the end of the interval next to it.
    exp : Tensor of shape (..., 2, K, n)
        Exponentials of the logits, the greatest of which is one.
    sum : Tensor of shape (..., 2, n)
        Their sums over the bins.
    below : Tensor of shape (..., K - 1, n)
        One for inner knots below the value, zero for the others.
    k2 : Tensor of shape (..., 2, 1, n), int
        Number of the bin, twice.
    ends : Tensor of shape (..., 2, n), int
        Numbers of its two knots.
    share, left : Tensor of shape (..., 2, n)
        Softmax of the bin's own width and height, and the sum of those of the bins on its left.
    size, corner, slopes : Tensor of shape (..., 2, n)
        (w, h), (x_k, y_k) and (d0, d1) of the module's docstring.
    raw : Tensor of shape (..., 2, n)
        What the slopes are the softplus of.
    """

    def __init__(self, v, params, n_bins, bound, by_height=False):
        K = n_bins
        total, step = 2 * bound * (1 - K * MIN_BIN), 2 * bound * MIN_BIN
        params = params.movedim(0, -2)
        logits = params[..., : 2 * K, :].unflatten(-2, (2, K))
        self.inner = v.clamp(-bound, bound)
        self.exp = (logits - logits.detach().amax(-2, keepdim=True)).exp_()
        to_knots = _left_knots(K, bound, v.dtype, v.device)
        knots = torch.bmm(to_knots.expand(self.exp.shape[:-2].numel(), K, K), self.exp.flatten(0, -3))
        knots = knots.view_as(self.exp)  # each times the sum
        self.sum = knots[..., 0, :] * (-1 / bound)
        axis = int(by_height)
        with torch.no_grad():
            scaled = (self.inner * self.sum[..., axis, :])[..., None, :]
            self.below = knots.new_empty(*v.shape[:-1], K - 1, v.shape[-1])
            torch.le(knots[..., axis, 1:, :], scaled, out=self.below)
            number = self.below.sum(-2, keepdim=True)
            k = number.long()
            self.k2 = k[..., None, :, :].expand(*v.shape[:-1], 2, 1, v.shape[-1])
            self.ends = torch.cat([k, k + 1], -2)
        inverse_sum = self.sum.reciprocal()
        self.share = self.exp.gather(-2, self.k2)[..., 0, :] * inverse_sum
        self.size = (self.share * total).add_(step)
        self.corner = knots.gather(-2, self.k2)[..., 0, :] * inverse_sum
        self.left = (self.corner - number * step).add_(bound).mul_(1 / total)
        zero = torch.zeros_like(params[..., :1, :])  # the ends of the interval have slope one
        slopes = torch.cat([zero, params[..., 2 * K :, :], zero], -2)
        self.raw = slopes.gather(-2, self.ends) + UNIT_SLOPE
        self.slopes = F.softplus(self.raw) + MIN_SLOPE


def _curve(t, s, d0, d1):
    """N, D and M of the module's docstring."""
    t1 = 1 - t
    u, tt = t * t1, t * t
    num = torch.addcmul(d0 * u, s, tt)
    den = torch.addcmul(s, torch.add(d0 + d1, s, alpha=-2), u)
    slope = (d0 * (t1 * t1)).addcmul(d1, tt).addcmul(s, u, value=2)
    return num, den, slope
