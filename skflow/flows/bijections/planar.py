"""Planar layers, with an exact inverse."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .bijection import Bijection
from .parameters import ContextParameters, Scalar, positive_slope, start_of_zeros


class Planar(Bijection):
    """``z = x + u tanh(w^T x + b)`` (Rezende & Mohamed 2015, eq. 10), with an exact inverse.

    ``u`` is moved along ``w`` so that ``w . u > -1`` (their appendix A.1; here at least -0.99, and u = 0 stays zero).
    The inverse solves ``p + (w . u) tanh(p) = w . z + b`` for the number p, between two bounds and to machine
    precision; then ``x = z - u tanh(p)``.
    """

    def __init__(self, n_features: int, n_context: int = 0, hidden_layer_sizes: Sequence[int] = (64, 64)):
        super().__init__()
        self.n_features = n_features
        start = start_of_zeros(2 * n_features + 1)
        start[:n_features] = torch.randn(n_features, dtype=torch.float32)
        start[-1] = torch.randn((), dtype=torch.float32)
        self.parameters_ = ContextParameters(start, n_context, hidden_layer_sizes)

    def _maps(self, context):
        w, u, b = self.parameters_(context).split((self.n_features, self.n_features, 1))
        along = (w * u).sum(0)
        slope = positive_slope(along)
        norm = (w * w).sum(0).clamp_min(torch.finfo(w.dtype).tiny ** 0.5)
        return w, u + (slope - 1 - along) * (w / norm), b[0], Scalar(slope)

    def forward(self, x, context=None):
        w, u, b, scalar = self._maps(context)
        p = (w * x.t()).sum(0) + b
        return (x.t() + u * torch.tanh(p)).t(), scalar(p)[1]

    def inverse(self, z, context=None):
        w, u, b, scalar = self._maps(context)
        p, log_slope = scalar.solve((w * z.t()).sum(0) + b)
        return (z.t() - u * torch.tanh(p)).t(), -log_slope
