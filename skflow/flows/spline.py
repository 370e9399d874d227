"""The monotone rational-quadratic spline (Durkan et al. 2019), with derivatives written out by hand.

Inside [-bound, bound] the curve passes through K+1 knots; bin k, of width w and height h, with slopes d0 and d1 at its
ends, maps t = (x - x_k) / w by eq. 4 of the paper:

    z = y_k + h N / D,   N = s t^2 + d0 t (1 - t),   D = s + (d0 + d1 - 2 s) t (1 - t),   s = h / w
    dz/dx = s^2 M / D^2, M = d1 t^2 + 2 s t (1 - t) + d0 (1 - t)^2                                  (eq. 5)

Outside the curve is the identity. The gradient with respect to the K softmax logits needs only the bin's own width, its
left knot and the softmax itself, so the backward pass is one sweep over the logits instead of a graph of thirty nodes.
Widths and heights travel together, stacked along a first axis of two: half as many operations on small tensors.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .univariate import Univariate

MIN_BIN = 1e-3  # least width and height of a bin, as a share of the interval
MIN_SLOPE = 1e-3  # least slope at an inner knot
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))  # raw zero gives a slope of one


class RationalQuadraticSpline(Univariate):
    """Rational-quadratic spline with ``n_bins`` bins on [-bound, bound] and the identity outside.

    ``params`` holds ``n_bins`` width logits, ``n_bins`` height logits and ``n_bins - 1`` raw inner slopes.
    """

    def __init__(self, n_bins: int = 8, bound: float = 5.0):
        self.n_bins = n_bins
        self.bound = bound
        self.n_params = 3 * n_bins - 1

    def forward(self, x, params):
        return _Forward.apply(x, params, self.n_bins, self.bound)

    def inverse(self, z, params):
        bin_ = _Bin(z, params, self.n_bins, self.bound, by_height=True)
        (w, h), (x0, y0), (d0, d1), s = bin_.size, bin_.corner, bin_.slopes, bin_.s
        offset = bin_.inner - y0
        curvature = d0 + d1 - 2 * s
        # The root of a t^2 + b t + c = 0 in [0, 1], in the form that does not cancel (eq. 6-8 of the paper).
        a = h * (s - d0) + offset * curvature
        b = h * d0 - offset * curvature
        c = -s * offset
        root = (b * b - 4 * a * c).clamp_min(0).sqrt()
        t = (2 * c / (-b - root)).clamp(0, 1)
        _, den, slope = _curve(t, s, d0, d1)
        log_slope = 2 * (s.log() - den.log()) + slope.log()
        x = torch.where(bin_.inside, torch.addcmul(x0, t, w), z)
        return x, torch.where(bin_.inside, -log_slope, torch.zeros_like(z))


@functools.lru_cache(maxsize=64)
def _even_knots(n_bins: int, bound: float, n_axes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The share of every inner knot that comes from the least bin width alone."""
    with torch.inference_mode(False):
        even = torch.arange(1, n_bins, dtype=dtype, device=device) * (2 * bound * MIN_BIN) - bound
        return even.reshape(-1, *[1] * n_axes)


class _Bin:
    """The bin that each value falls in: arithmetic then runs on one bin, not on K.

    Attributes
    ----------
    k : Tensor of shape (1, ...)
        Number of the bin.
    below : Tensor of shape (K - 1, ...)
        Which inner knots lie below the value.
    share, left : Tensor of shape (2, ...)
        Softmax of the bin's width and height, and the sum of those of the bins on its left.
    size, corner, slopes : Tensor of shape (2, ...)
        (w, h), (x_k, y_k) and (d0, d1) of the module's docstring.
    """

    def __init__(self, v, params, n_bins, bound, by_height=False):
        total, step = 2 * bound * (1 - n_bins * MIN_BIN), 2 * bound * MIN_BIN
        self.inside = v.abs() < bound
        self.inner = v.clamp(-bound, bound)
        self.softmax = params[: 2 * n_bins].unflatten(0, (2, n_bins)).softmax(1)
        cumulative = self.softmax.cumsum(1)
        even = _even_knots(n_bins, bound, v.dim(), v.dtype, v.device)
        self.below = torch.add(even, cumulative[int(by_height), :-1], alpha=total) <= self.inner
        self.k = k = self.below.sum(0, keepdim=True)
        both = k.expand(2, 1, *v.shape)
        self.share = self.softmax.gather(1, both)[:, 0]
        self.left = cumulative.gather(1, both)[:, 0] - self.share
        self.size = (self.share * total).add_(step)
        self.corner = (self.left * total).add_(k.to(v.dtype).mul_(step).sub_(bound))
        zero = torch.zeros_like(params[:1])  # the ends of the interval have slope one
        slopes = torch.cat([zero, params[2 * n_bins :], zero])
        self.raw = slopes.gather(0, torch.cat([k, k + 1])) + UNIT_SLOPE
        self.slopes = F.softplus(self.raw) + MIN_SLOPE
        self.s = self.size[1] / self.size[0]


def _curve(t, s, d0, d1):
    """N, D and M of the module's docstring."""
    t1 = 1 - t
    u, tt = t * t1, t * t
    num = torch.addcmul(d0 * u, s, tt)
    den = torch.addcmul(s, torch.add(d0 + d1, s, alpha=-2), u)
    slope = (d0 * (t1 * t1)).addcmul(d1, tt).addcmul(s, u, value=2)
    return num, den, slope


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, params, n_bins, bound):
        b = _Bin(x, params, n_bins, bound)
        w, h = b.size
        t = (b.inner - b.corner[0]) / w
        num, den, slope = _curve(t, b.s, *b.slopes)
        inside = b.inside.to(x.dtype)
        z = torch.where(b.inside, torch.addcmul(b.corner[1], h, num / den), x)
        ratio = b.s / den
        log_slope = (ratio * ratio * slope).log_().mul_(inside)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(
                inside, t, num, den, slope, b.k, b.below, b.softmax, b.share, b.left, b.size, b.s, b.slopes, b.raw
            )
            ctx.n_bins, ctx.bound = n_bins, bound
            ctx.layout = torch.empty_like(params, device="meta")
        return z, log_slope

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log):
        inside, t, num, den, slope, k, below, softmax, share, left, size, s, (d0, d1), raw = ctx.saved_tensors
        n_bins = ctx.n_bins
        gz, gl = grad_z * inside, grad_log * inside
        t1 = 1 - t
        u, tt, tilt = t * t1, t * t, t1 - t
        inv_w, inv_d = size[0].reciprocal(), den.reciprocal()
        ratio = num * inv_d
        g_num = gz * size[1] * inv_d
        gl_m = gl / slope
        # Through D alone (z by -h N / D^2, the log-slope by -2 / D); the rest is through N and M.
        g_den = -torch.addcmul(g_num * ratio, gl, inv_d, value=2)
        g_u = torch.addcmul(g_num * d0, g_den, torch.add(d0 + d1, s, alpha=-2)).addcmul_(gl_m, s, value=2)
        g_t = g_u * tilt
        g_t.addcmul_(g_num * s, t, value=2).addcmul_(gl_m, torch.addcmul(-d0 * t1, d1, t), value=2)
        g_s = torch.addcmul(g_den, g_num, tt).addcmul_(torch.sub(gl_m, g_den), u, value=2)
        g_s.addcdiv_(gl, s, value=2)
        g_d1 = torch.addcmul(g_den * u, gl_m, tt)
        g_d0 = torch.addcmul((g_num + g_den) * u, gl_m, t1 * t1)
        g_x = g_t * inv_w

        total = 2 * ctx.bound * (1 - n_bins * MIN_BIN)
        g_left = torch.stack([-g_x, gz]).mul_(total)  # reaches every bin left of the point's own
        g_own = torch.stack([-torch.addcmul(g_t * t, g_s, s), torch.addcmul(g_s, gz * size[0], ratio)])
        g_own.mul_(inv_w * total)  # the bin itself
        mean = torch.addcmul(g_left * left, g_own, share)
        grad = torch.empty_like(ctx.layout, device=t.device)
        logits = grad[: 2 * n_bins].unflatten(0, (2, n_bins))
        torch.sub(below * g_left[:, None], mean[:, None], out=logits[:, :-1])
        torch.neg(mean, out=logits[:, -1])
        logits.scatter_add_(1, k.expand(2, 1, *t.shape), g_own[:, None])
        logits.mul_(softmax)
        slopes = t.new_zeros(n_bins + 1, *t.shape)
        slopes.scatter_add_(0, torch.cat([k, k + 1]), torch.stack([g_d0, g_d1]).mul_(raw.sigmoid()))
        grad[2 * n_bins :] = slopes[1:-1]
        return g_x + grad_z * (1 - inside), grad, None, None
