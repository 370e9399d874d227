"""Mixtures of Gaussians with full covariances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..univariate.mixture_cdf import mixture_cdf, mixture_quantile
from .distribution import LOG_2PI, BaseDistribution


class GaussianMixture(BaseDistribution):
    """A mixture of K full-covariance Gaussians, trained along with the flow.

    Component k has mean ``means[k]`` and precision ``P_k^T P_k`` with ``P_k`` lower triangular: ``P_k (z - m_k)`` is
    standard normal. The diagonal of ``P_k`` is kept as its logarithm in ``log_diagonal``.

    Parameters
    ----------
    weights : Tensor of shape (K,)
    means : Tensor of shape (K, d)
    precision_factors : Tensor of shape (K, d, d)
    diagonal : bool, default=False
        Leave what stands below the diagonal of ``P_k`` out of the training.
    """

    def __init__(self, weights: Tensor, means: Tensor, precision_factors: Tensor, *, diagonal: bool = False):
        super().__init__()
        self.diagonal = diagonal
        self.logits = nn.Parameter(weights.log())
        self.means = nn.Parameter(means.clone())
        self.log_diagonal = nn.Parameter(precision_factors.diagonal(dim1=-2, dim2=-1).log().clone())
        self.lower = nn.Parameter(torch.tril(precision_factors, -1), requires_grad=not diagonal)

    def n_idle(self) -> int:
        """Number of entries that are not free: those of ``lower`` that count for nothing or stay, and one logit."""
        k, d = self.means.shape
        return k * (d * d if self.diagonal else d * (d + 1) // 2) + 1

    def _factors(self):
        return torch.tril(self.lower, -1) + torch.diag_embed(self.log_diagonal.exp())

    def components(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every component of rows ``z`` in tiles (t, d, m), so laid out that the batch is contiguous.

        Returns
        -------
        white : Tensor of shape (t, K, d, m)
            ``P_k (z - m_k)``.
        log_prob : Tensor of shape (t, K, m)
            Log of the density times the weight.
        factors : Tensor of shape (K, d, d)
            All ``P_k``.
        """
        factors = self._factors()
        (k, d), (t, _, m) = self.means.shape, z.shape
        offset = (factors @ self.means[:, :, None]).reshape(k * d, 1)
        white = torch.baddbmm(offset, factors.reshape(k * d, d).expand(t, -1, -1), z, beta=-1).view(t, k, d, m)
        log_scale = self.log_diagonal.sum(1) + torch.log_softmax(self.logits, 0) - 0.5 * d * LOG_2PI
        return white, log_scale[:, None] - 0.5 * (white * white).sum(2), factors

    def log_prob(self, z, context=None):
        return torch.logsumexp(self.components(z.t()[None])[1], 1)[0]

    def sample(self, n, context=None, generator=None):
        weights = torch.softmax(self.logits, 0)
        component = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(
            n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        z = torch.empty_like(noise)
        for k, factor in enumerate(self._factors()):
            rows = component == k
            z[rows] = self.means[k] + torch.linalg.solve_triangular(factor, noise[rows].t(), upper=False).t()
        return z

    def to_normal(self, z, context=None):
        return self._rosenblatt(z, forward=True)

    def from_normal(self, u, context=None):
        return self._rosenblatt(u, forward=False)

    def _rosenblatt(self, v, forward):
        """Column by column: given the columns before it, a column of a Gaussian mixture is a mixture in one dimension.

        With z = m + C e, C the lower-triangular inverse of the precision factor, row i of C gives the mean and scale of
        column i; each column's density then updates the components' posterior weights.
        """
        chol = torch.linalg.inv(self._factors()).tril()
        log_weight = torch.log_softmax(self.logits, 0)[:, None].expand(-1, len(v))
        noise: list[Tensor] = []
        out = []
        for i, v_i in enumerate(v.t()):
            mean = self.means[:, i, None].expand(-1, len(v))
            if i:
                mean = mean + torch.einsum("kj,jkn->kn", chol[:, i, :i], torch.stack(noise))
            scale = chol[:, i, i, None].expand_as(mean)
            convert = mixture_cdf if forward else mixture_quantile
            out.append(convert(v_i, log_weight, mean, scale))
            noise.append(((v_i if forward else out[-1]) - mean) / scale)
            log_weight = torch.log_softmax(log_weight - 0.5 * noise[-1] ** 2 - scale.log(), 0)
        return torch.stack(out, 1)
