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

Where numba is installed, compiled loops (`skflow.flows.compiled.loops.spline`) stand in for torch's operations both
ways; for the inverse only where no gradient is wanted.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .univariate import DifferentiatedUnivariate, as_tensor

MIN_BIN = 1e-3  # least width and height of a bin, as a share of the interval
MIN_SLOPE = 1e-3  # least slope at an inner knot
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # raw zero gives a slope of one


class RationalQuadraticSpline(DifferentiatedUnivariate):
    """Rational-quadratic spline with ``n_bins`` bins on [-bound, bound] and the identity outside.

    ``params`` holds ``n_bins`` width logits, ``n_bins`` height logits and ``n_bins - 1`` raw inner slopes. ``compiled``
    allows the compiled loops where they are installed.
    """

    name = "spline"

    def __init__(self, n_bins: int = 8, bound: float = 5.0, compiled: bool = True):
        self.n_bins = n_bins
        self.bound = bound
        self.compiled = compiled
        self.n_params = 3 * n_bins - 1

    def record_rows(self, tape, x, params):
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

    def constants(self, dtype):
        step = 2 * self.bound * MIN_BIN
        return as_tensor((self.bound, 2 * self.bound - self.n_bins * step, step, UNIT_SLOPE, MIN_SLOPE), dtype)

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
        if compiled := self._inverse_compiled(z, params):
            return compiled
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
