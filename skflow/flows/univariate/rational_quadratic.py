"""The monotone rational-quadratic spline (Durkan et al. 2019).

Inside [-bound, bound] the map passes through K+1 knots; bin k, of width w and height h, with slopes d0 and d1 at its
ends, maps t = (x - x_k) / w by eq. 4 of the paper:

    z = y_k + h N / D,   N = s t^2 + d0 t (1 - t),   D = s + (d0 + d1 - 2 s) t (1 - t),   s = h / w
    dz/dx = s^2 M / D^2, M = d1 t^2 + 2 s t (1 - t) + d0 (1 - t)^2                                  (eq. 5)

Outside it is the identity: the value at the end, where the slope is one, plus the excess.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
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
        b = self._bin(x, params, by_height=False)
        s = b.h / b.w
        t = (b.inner - b.x0) / b.w
        rise, log_slope = rise_and_log_slope(t, s, b.d0, b.d1)
        return torch.addcmul(b.y0, b.h, rise) + (x - b.inner), log_slope

    def inverse(self, z, params):
        b = self._bin(z, params, by_height=True)
        s = b.h / b.w
        t = root(b.inner - b.y0, b.h, s, b.d0, b.d1)
        return torch.addcmul(b.x0, t, b.w) + (z - b.inner), -rise_and_log_slope(t, s, b.d0, b.d1)[1]

    def _bin(self, v, params, by_height):
        """The bin that each value falls in: arithmetic then runs on one bin, not on K."""
        k, bound = self.n_bins, self.bound
        step, inner = 2 * bound * MIN_BIN, v.clamp(-bound, bound)
        share = params[: 2 * k].unflatten(0, (2, k)).softmax(1)
        size = share * (2 * bound - k * step) + step
        with torch.no_grad():
            knots = size[int(by_height), :-1].cumsum(0) - bound
            number = (inner >= knots).sum(0, keepdim=True)
            on_left = (torch.arange(k, device=v.device).view(-1, *[1] * v.dim()) < number).to(v.dtype)
        x0, y0 = (size * on_left).sum(1) - bound
        w, h = size.gather(1, number.expand(2, 1, *v.shape))[:, 0]
        raw = F.pad(params[2 * k :].movedim(0, -1), (1, 1)).movedim(-1, 0)  # the ends of the interval have slope one
        d0, d1 = F.softplus(raw.gather(0, torch.cat([number, number + 1])) + UNIT_SLOPE) + MIN_SLOPE
        return _Bin(inner, w, h, x0, y0, d0, d1)


class _Bin(NamedTuple):
    """The value, or the end of the interval next to it, and of its bin w, h, x_k, y_k, d0 and d1."""

    inner: Tensor
    w: Tensor
    h: Tensor
    x0: Tensor
    y0: Tensor
    d0: Tensor
    d1: Tensor


def rise_and_log_slope(t: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """N / D of eq. 4 at ``t`` of a bin, and the logarithm of the slope by eq. 5; see the module's docstring."""
    t1 = 1 - t
    u, tt = t * t1, t * t
    num = torch.addcmul(d0 * u, s, tt)
    den = torch.addcmul(s, d0 + d1 - 2 * s, u)
    slope = (d0 * (t1 * t1)).addcmul(d1, tt).addcmul(s, u, value=2)
    ratio = s / den
    return num / den, (ratio * ratio * slope).log()


def root(offset: Tensor, h: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """The ``t`` where a bin has risen by ``offset``, from 0 to ``h``.

    The root of a t^2 + b t + c = 0 in [0, 1], in the form that does not cancel (eq. 6-8).
    """
    curvature = d0 + d1 - 2 * s
    quadratic = h * (s - d0) + offset * curvature
    linear = h * d0 - offset * curvature
    constant = -s * offset
    discriminant = (linear * linear - 4 * quadratic * constant).clamp_min(0)
    return (2 * constant / (-linear - discriminant.sqrt())).clamp(0, 1)
