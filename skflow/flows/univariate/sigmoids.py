"""Deep sigmoidal maps of neural autoregressive flows (Huang et al. 2018)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .monotone import MonotoneCurve
from .univariate import soft_clip

IDENTITY_SHARE = 1e-3


class SigmoidMixture(MonotoneCurve):
    """Logit of a weighted mean of sigmoids (Huang et al. 2018, eq. 8), z = logit(sum_k w_k sigmoid(a_k (x - m_k))).

    Every step of the map is a hidden unit; the tails are straight. Computed from the logarithms of both F and 1 - F,
    so that neither end saturates. A share of 1e-3 of the identity is mixed in: between steps that lie far apart
    the map would otherwise be flat to rounding, and could not be inverted there.

    Parameters
    ----------
    n_units : int, default=8
    bound : float, default=100.0
        Beyond it the map goes straight on.
    """

    max_log_slope = 3.0

    def __init__(self, n_units: int = 8, bound: float = 100.0):
        self.n_units = n_units
        self.bound = bound
        self.n_params = 3 * n_units

    def start(self, x=None):
        # Equal units would move as one: they start spread out, which is close to the identity still.
        raw = torch.zeros(3, self.n_units, 1)
        raw[2, :, 0] = torch.linspace(-1, 1, self.n_units + 2, dtype=torch.float32)[1:-1]
        return raw.flatten(0, 1)

    def curve(self, x, params):
        logits, raw_slopes, centers = params.unflatten(0, (3, self.n_units))
        log_weight, log_a = logits.log_softmax(0), soft_clip(raw_slopes, self.max_log_slope)
        t = log_a.exp() * (x - centers)
        log_lower, log_upper = F.logsigmoid(t), F.logsigmoid(-t)
        lower, upper = torch.logsumexp(log_weight + log_lower, 0), torch.logsumexp(log_weight + log_upper, 0)
        # dz/dx = sum_k w_k a_k s_k (1 - s_k) / (F (1 - F))
        log_slope = torch.logsumexp(log_weight + log_a + log_lower + log_upper, 0) - lower - upper
        slope = (1 - IDENTITY_SHARE) * log_slope.exp() + IDENTITY_SHARE
        return torch.lerp(lower - upper, x, IDENTITY_SHARE), slope.log()
