"""Shift, and scale and shift."""

from __future__ import annotations

import torch

from .univariate import Univariate, soft_clip


class Additive(Univariate):
    """Shift, ``z = x + b``, of derivative one: the map of NICE (Dinh et al. 2014, eq. 6)."""

    n_params = 1

    def forward(self, x, params):
        return x + params[0], torch.zeros_like(x)

    def inverse(self, z, params):
        return z - params[0], torch.zeros_like(z)


class Affine(Univariate):
    """Scale and shift, ``z = x exp(s) + b``: the map of RealNVP (Dinh et al. 2017, eq. 7) and MAF.

    The raw log-scale ``r`` passes through ``r / (1 + |r| / c)``, which leaves small values as they are and keeps the
    scale within a factor ``exp(c)`` of one, so that no row can meet a scale of zero or of infinity.
    """

    n_params = 2
    max_log_scale = 5.0

    def forward(self, x, params):
        log_scale = soft_clip(params[1], self.max_log_scale)
        return torch.addcmul(params[0], x, log_scale.exp()), log_scale

    def inverse(self, z, params):
        log_slope = -soft_clip(params[1], self.max_log_scale)
        return (z - params[0]) * log_slope.exp(), log_slope
