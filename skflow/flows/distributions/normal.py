"""The standard normal distribution."""

from __future__ import annotations

import torch

from .distribution import LOG_2PI, BaseDistribution


class StandardNormal(BaseDistribution):
    """Independent standard normals."""

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))

    def log_prob(self, z, context=None):
        return -0.5 * (z * z).sum(1) - 0.5 * z.shape[1] * LOG_2PI

    def sample(self, n, context=None, generator=None):
        return torch.randn(n, len(self.mean), generator=generator, dtype=self.mean.dtype, device=self.mean.device)

    def to_normal(self, z, context=None):
        return z

    def from_normal(self, u, context=None):
        return u
