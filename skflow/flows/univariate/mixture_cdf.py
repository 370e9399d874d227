"""Normal scores of a one-dimensional Gaussian mixture, and back, without underflow in either tail."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .monotone import MonotoneCurve
from .root import solve_monotone
from .univariate import soft_clip

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
IDENTITY_SHARE = 1e-3
MAX_ROWS = 5000  # from which starting values are read off


def log_hazard(t: Tensor) -> Tensor:
    """log(phi(t) / Phi(t)) of the standard normal, free of cancellation: about ``log(-t)`` far below zero."""
    edge = -1.0
    low, high = t.clamp_max(edge), t.clamp_min(edge)
    scaled = torch.special.erfcx(-low * math.sqrt(0.5))
    # Above 10 the probability is one to rounding.
    direct = -0.5 * high * high - HALF_LOG_2PI - torch.special.log_ndtr(high.clamp_max(10.0))
    return torch.where(t < edge, 0.5 * math.log(2 / math.pi) - scaled.log(), direct)


class _LogNdtr(torch.autograd.Function):
    """torch's own log Phi has no gradient (NaN) far above zero."""

    @staticmethod
    def forward(ctx, t):
        ctx.save_for_backward(t)
        return torch.special.log_ndtr(t)

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.exp(log_hazard(*ctx.saved_tensors))


class _LogNdtri(torch.autograd.Function):
    @staticmethod
    def forward(ctx, log_p):
        # Newton's method on log Phi, which is concave, from the asymptote of the tail.
        z = -torch.sqrt((-2 * (log_p + math.log(2))).clamp_min(0))
        for _ in range(6):
            z = z - (torch.special.log_ndtr(z) - log_p) * torch.exp(-log_hazard(z))
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.exp(-log_hazard(*ctx.saved_tensors))


def log_ndtri(log_p: Tensor) -> Tensor:
    """Standard normal quantile of ``exp(log_p)``, for log-probabilities of at most log(1/2)."""
    return _LogNdtri.apply(log_p)


def mixture_score(x: Tensor, log_weight: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Phi^-1(F(x)) for the mixture with components along the first axis of the other arguments, and its log-slope.

    Both come from the nearer tail of F. The slope is a mean of the components' hazards over the hazard of the score,
    which stays exact where the densities themselves have long underflown.
    """
    t = (x - mean) / scale
    lower = log_weight + _LogNdtr.apply(t)
    upper = log_weight + _LogNdtr.apply(-t)
    log_lower, log_upper = torch.logsumexp(lower, 0), torch.logsumexp(upper, 0)
    left = log_lower <= log_upper
    tail = torch.where(left, log_lower, log_upper)
    score = log_ndtri(tail.clamp_max(-math.log(2)))
    share = torch.where(left, lower, upper) - tail
    hazard = log_hazard(torch.where(left, t, -t))
    log_slope = torch.logsumexp(share + hazard - scale.log(), 0) - log_hazard(score)
    return torch.where(left, score, -score), log_slope


def mixture_cdf(x: Tensor, log_weight: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Phi^-1(F(x)) for the mixture with components along the first axis of the other arguments."""
    return mixture_score(x, log_weight, mean, scale)[0]


def mixture_quantile(z: Tensor, log_weight: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The inverse of `mixture_cdf`; the root lies between the least and the greatest of the components' quantiles."""
    with torch.no_grad():
        quantiles = mean + scale * z
        low, high = quantiles.amin(0), quantiles.amax(0)
        slack = 1e-6 * (1 + low.abs() + high.abs())
        start = (torch.softmax(log_weight, 0) * quantiles).sum(0)
    return solve_monotone(lambda x: mixture_score(x, log_weight, mean, scale), z, low - slack, high + slack, start)[0]


class MixtureCDF(MonotoneCurve):
    """Normal score of a Gaussian mixture's distribution function, z = Phi^-1(sum_k w_k Phi((x - m_k) / s_k)).

    With a standard normal latent the density of x is the mixture: the conditionals of MADE MoG (Papamakarios et al.
    2017, section 4) and the element-wise layers of Gaussianization flows (Meng et al. 2020, eq. 6). A share of 1e-3
    of the identity is mixed into the map: between components that lie far apart it would otherwise be flat to
    rounding, and could not be inverted there.

    Parameters
    ----------
    n_components : int, default=8
    bound : float, default=100.0
        Beyond it the map goes straight on.
    """

    max_log_scale = 3.0
    reads_rows = True

    def __init__(self, n_components: int = 8, bound: float = 100.0):
        self.n_components = n_components
        self.bound = bound
        self.n_params = 3 * n_components

    def curve(self, x, params):
        logits, mean, raw_scale = params.unflatten(0, (3, self.n_components))
        scale = soft_clip(raw_scale, self.max_log_scale).exp()
        score, log_slope = mixture_score(x, logits.log_softmax(0), mean, scale)
        slope = (1 - IDENTITY_SHARE) * log_slope.exp() + IDENTITY_SHARE
        return torch.lerp(score, x, IDENTITY_SHARE), slope.log()

    def start(self, x=None):
        """Spread components of total variance one or, given rows, the mixture that fits each column."""
        k = self.n_components
        share = (torch.arange(k, dtype=torch.float32) + 0.5) / k
        if x is None:
            mean = 0.4 * torch.special.ndtri(share)[:, None]
            weight, scale = torch.full_like(mean, 1 / k), (1 - mean.var(0, correction=0)).sqrt().expand_as(mean)
        else:
            x = x[:, :: max(1, x.shape[1] // MAX_ROWS)]
            weight, mean, scale = _fit_columns(x, torch.quantile(x, share.to(x), dim=1))
        clipped = (scale.log() / self.max_log_scale).clamp(-0.99, 0.99)
        return torch.cat([weight.log(), mean, self.max_log_scale * clipped / (1 - clipped.abs())])


def _fit_columns(x, mean, steps=20):
    """Expectation-maximisation for every column of rows ``x`` (d, n) by itself, from the given means (k, d).

    No component gets narrower than a kernel estimate's bandwidth (Silverman 1986, eq. 3.31): few rows make a smooth
    map.
    """
    spread = x.std(1, correction=0).clamp_min(1e-3)
    narrowest = 0.9 * spread * x.shape[1] ** -0.2
    weight, scale = torch.full_like(mean, 1 / len(mean)), narrowest.expand_as(mean)
    for _ in range(steps):
        t = (x - mean[:, :, None]) / scale[:, :, None]
        share = torch.softmax((weight / scale).log()[:, :, None] - 0.5 * t * t, 0)
        mass = share.sum(2) + 1.0  # as if each component had one more row, at its mean and of the column's spread
        weight = mass / mass.sum(0)
        mean = ((share * x).sum(2) + mean) / mass
        variance = ((share * (x - mean[:, :, None]) ** 2).sum(2) + spread**2) / mass
        scale = torch.maximum(variance.sqrt(), narrowest)
    return weight, mean, scale
