"""Independent Student t distributions, for data whose tails no normal latent can reach."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn

from ..univariate.mixture_cdf import log_ndtri
from ..univariate.root import bracketed_root
from .distribution import LOG_2PI, BaseDistribution

MIN_DF, MAX_DF = 1.0, 200.0


def log_density(t: Tensor, df: Tensor) -> Tensor:
    """Log-density of the standard Student t; the square of ``t`` is never formed, so nothing overflows."""
    constant = torch.lgamma(0.5 * (df + 1)) - torch.lgamma(0.5 * df) - 0.5 * torch.log(math.pi * df)
    return constant - (df + 1) * torch.hypot(torch.ones_like(t), t / df.sqrt()).log()


def _log_tail(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """log P(T > t) for t >= 0.

    Where the probability underflows, from the hypergeometric series of the incomplete beta function (Abramowitz &
    Stegun, 26.5.4 and 26.7.1), with x = df / (df + t^2) and a = df / 2:  x^a sqrt(1 - x) F(a + 1/2, 1; a + 1; x) / (2
    a B(a, 1/2)).
    """
    p = special.stdtr(df, -t)
    a, log_x = 0.5 * df, -2 * np.log(np.hypot(1, t / np.sqrt(df)))
    x = np.minimum(np.exp(log_x), 0.5)  # underflow is far from here
    series = a * log_x + 0.5 * np.log1p(-x) + np.log(special.hyp2f1(a + 0.5, 1, a + 1, x))
    series -= np.log(2 * a) + special.betaln(a, 0.5)
    return np.where(p > 1e-100, np.log(np.maximum(p, 1e-300)), series)


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t, df):
        t64, df64 = t.detach().cpu().double(), df.detach().cpu().double().expand_as(t)
        tail = torch.from_numpy(_log_tail(t64.abs().numpy(), df64.numpy()))
        score = (-torch.sign(t64) * log_ndtri(tail.clamp_max(-math.log(2)))).to(t)
        ctx.save_for_backward(t, df, score)
        return score

    @staticmethod
    def backward(ctx, grad):
        t, df, score = ctx.saved_tensors
        return grad * torch.exp(_log_slope(t, df, score)), None


def _log_slope(t, df, score):
    """Of the normal score, from the ratio of both densities."""
    return log_density(t, df) + 0.5 * score * score + 0.5 * LOG_2PI


def normal_score(t: Tensor, df: Tensor) -> Tensor:
    """Phi^-1 of the distribution function of Student's t with ``df`` degrees of freedom, without underflow.

    Differentiable in ``t``, not in ``df``.
    """
    return _Score.apply(t, df)


@torch.no_grad()
def quantile_of_score(u: Tensor, df: Tensor) -> Tensor:
    """The inverse of `normal_score`, found in ``asinh(t / sqrt(df))``; a score past the largest number gives that."""
    u, df = u.double(), df.double()
    root = df.sqrt()

    def score_of(y):
        t = root * torch.sinh(y)
        score = normal_score(t, df)
        return score, _log_slope(t, df, score) + root.log() + torch.log(torch.cosh(y))

    edge = torch.full_like(u, 700.0)
    return root * torch.sinh(bracketed_root(score_of, u, -edge, edge, torch.asinh(u / root)))


class StudentT(BaseDistribution):
    """Independent Student t columns whose degrees of freedom, locations and scales are trained along.

    The degrees of freedom stay between 1 and 200.

    Parameters
    ----------
    df, loc, scale : Tensor of shape (d,)
        Where they start.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor):
        super().__init__()
        share = (df / MIN_DF).log() / math.log(MAX_DF / MIN_DF)
        self.raw_df = nn.Parameter(torch.logit(share.clamp(0.02, 0.98)))
        self.loc = nn.Parameter(loc.clone())
        self.log_scale = nn.Parameter(scale.log())

    @classmethod
    def fit(cls, z: Tensor, steps: int = 20) -> StudentT:
        """Start from the columns of ``z`` (n, d): for each the degrees of freedom of a grid that fit it best.

        For given degrees of freedom location and scale come from expectation-maximisation (Lange, Little & Taylor
        1989).
        """
        z = z.double()
        df = torch.logspace(0.05, 2.1, 12, dtype=z.dtype, device=z.device)[:, None, None]
        loc = z.median(0).values.expand(len(df), 1, -1)
        scale = (z - loc).square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        for _ in range(steps):
            weight = (df + 1) / (df + ((z - loc) / scale).square())
            loc = (weight * z).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
            scale = (weight * (z - loc).square()).mean(1, keepdim=True).sqrt().clamp_min(1e-6)
        score = log_density((z - loc) / scale, df).mean(1) - scale[:, 0].log()
        best = score.argmax(0, keepdim=True)
        return cls(df[best[0], 0, 0], loc[:, 0].gather(0, best)[0], scale[:, 0].gather(0, best)[0])

    @property
    def df(self) -> Tensor:
        """Degrees of freedom of every column."""
        return MIN_DF * torch.exp(torch.sigmoid(self.raw_df) * math.log(MAX_DF / MIN_DF))

    def log_prob(self, z, context=None):
        t = (z - self.loc) * torch.exp(-self.log_scale)
        return log_density(t, self.df).sum(1) - self.log_scale.sum()

    @torch.no_grad()
    def sample(self, n, context=None, generator=None):
        df = self.df.expand(n, -1)
        noise = torch.randn(df.shape, generator=generator, dtype=df.dtype, device=df.device)
        # a chi-squared number with df degrees of freedom, over df
        spread = torch._standard_gamma(0.5 * df, generator=generator) / (0.5 * df)
        return self.loc + self.log_scale.exp() * noise * spread.clamp_min(1e-30).rsqrt()

    def to_normal(self, z, context=None):
        return normal_score((z - self.loc) * torch.exp(-self.log_scale), self.df)

    def from_normal(self, u, context=None):
        return self.loc + self.log_scale.exp() * quantile_of_score(u, self.df).to(u)
