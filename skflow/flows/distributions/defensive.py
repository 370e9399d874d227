"""A Gaussian mixture made safe as a proposal: a share of its draws has the tails of Student's t."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .distribution import LOG_2PI, Distribution
from .gaussian_mixture import GaussianMixture


class DefensiveMixture(Distribution):
    """A mixture of a `GaussianMixture` and of the Student t distributions with its centres and scales.

    Importance weights of draws from it are bounded wherever the target's tails are no heavier than those of Student's t
    (a defensive mixture: Hesterberg 1995).

    Parameters
    ----------
    mixture : GaussianMixture
    df : float
        Degrees of freedom.
    share : float
        Of the Student t distributions, between zero and one.
    """

    def __init__(self, mixture: GaussianMixture, df: float, share: float):
        super().__init__()
        self.mixture = mixture
        self.df = df
        self.share = share

    def log_prob(self, z, context=None):
        return torch.logaddexp(
            self.mixture.log_prob(z) + math.log1p(-self.share), self.student_log_prob(z) + math.log(self.share)
        )

    def student_log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of the Student t part alone, rows (n, d), shape (n,)."""
        return torch.logsumexp(self.student_components(z)[1], 1)

    def student_components(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of rows ``z`` (n, d): white offsets (n, K, d), log weighted t densities (n, K), and factors (K, d, d)."""
        d, df = z.shape[1], self.df
        white, log_prob, factors = self.mixture.components(z.t()[None])
        white = white[0].permute(2, 0, 1)
        square = white.square().sum(2)
        constant = math.lgamma(0.5 * (df + d)) - math.lgamma(0.5 * df) - 0.5 * d * math.log(math.pi * df)
        # the Gaussian components' log-densities without their exponent are the scales and the weights
        log_scale = log_prob[0].t() + 0.5 * square + 0.5 * d * LOG_2PI
        return white, log_scale + constant - 0.5 * (d + df) * torch.log1p(square / df), factors

    @torch.no_grad()
    def sample(self, n, context=None, generator=None):
        z = self.mixture.sample(n, None, generator)
        weights = torch.softmax(self.mixture.logits, 0)
        rows = (torch.rand(n, generator=generator, dtype=z.dtype, device=z.device) < self.share).nonzero()[:, 0]
        if not len(rows):
            return z
        component = torch.multinomial(weights, len(rows), replacement=True, generator=generator)
        noise = torch.randn(len(rows), z.shape[1], generator=generator, dtype=z.dtype, device=z.device)
        shape = torch.full((len(rows), 1), 0.5 * self.df, dtype=z.dtype, device=z.device)
        noise = noise * (torch._standard_gamma(shape, generator=generator) / shape).clamp_min(1e-30).rsqrt()
        return z.index_copy(0, rows, self.from_white(noise, component))

    def from_white(self, white: Tensor, component: Tensor) -> Tensor:
        """Rows whose offsets from the centres of their components are ``white`` (n, d)."""
        inverses = torch.linalg.inv(self.mixture._factors())
        return self.mixture.means[component] + torch.einsum("nij,nj->ni", inverses[component], white)
