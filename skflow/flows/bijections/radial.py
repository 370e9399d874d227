"""Radial layers, with an exact inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..univariate.univariate import soft_clip
from .bijection import Bijection
from .parameters import ContextParameters, positive_slope, start_of_zeros


class Radial(Bijection):
    """``z = x + beta (x - x0) / (alpha + r)``, r = |x - x0| (Rezende & Mohamed 2015, eq. 14), with an exact inverse.

    ``alpha > 0`` and ``beta > -alpha`` (their appendix A.2; here at least -0.99 alpha). The inverse keeps the direction
    from ``x0`` and finds the radius as the positive root of ``r^2 + (alpha + beta - R) r - alpha R = 0``, R = |z - x0|.
    """

    max_log_alpha = 4.0

    def __init__(self, n_features: int, n_context: int = 0, hidden_layer_sizes: Sequence[int] = (64, 64)):
        super().__init__()
        self.n_features = n_features
        start = start_of_zeros(n_features + 2)
        start[:n_features] = torch.randn(n_features, dtype=torch.float32)
        self.parameters_ = ContextParameters(start, n_context, hidden_layer_sizes)

    def _maps(self, context):
        center, raw_alpha, raw_slope = self.parameters_(context).split((self.n_features, 1, 1))
        return center, soft_clip(raw_alpha[0], self.max_log_alpha).exp(), positive_slope(raw_slope[0])

    def _log_abs_det(self, r, alpha, slope):
        # 1 + beta h and 1 + beta h + beta h' r of the paper, as means of the slope at the center and of one
        share = alpha / (alpha + r)
        tangential, radial = 1 + (slope - 1) * share, 1 + (slope - 1) * share * share
        return (self.n_features - 1) * tangential.log() + radial.log()

    def forward(self, x, context=None):
        center, alpha, slope = self._maps(context)
        offset = x.t() - center
        r = _norm(offset)
        stretch = (slope - 1) * (alpha / (alpha + r))
        return (x.t() + stretch * offset).t(), self._log_abs_det(r, alpha, slope)

    def inverse(self, z, context=None):
        center, alpha, slope = self._maps(context)
        offset = z.t() - center
        radius = _norm(offset)
        half = 0.5 * (radius - alpha * slope)
        product = alpha * radius
        # Of the two forms of the root the one that adds numbers of one sign.
        root = torch.hypot(half, product.clamp_min(torch.finfo(z.dtype).tiny).sqrt())
        r = torch.where(half > 0, half + root, product / (root - half.clamp_max(0)))
        stretch = (slope - 1) * (alpha / (alpha + r))
        return (center + offset / (1 + stretch)).t(), -self._log_abs_det(r, alpha, slope)


def _norm(offset):
    """Length of every column, with a gradient of zero instead of none at the origin."""
    square = (offset * offset).sum(0)
    return square.clamp_min(torch.finfo(offset.dtype).tiny).sqrt()
