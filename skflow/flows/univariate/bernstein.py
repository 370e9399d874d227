"""Bernstein polynomials (Ramasinghe et al. 2021): smooth maps whose slope is bounded by their coefficients'."""

from __future__ import annotations

import math

import torch

from .monotone import MonotoneCurve
from .univariate import soft_clip


class BernsteinPolynomial(MonotoneCurve):
    """Polynomial of the given degree on [-bound, bound] in the Bernstein basis, with increasing coefficients.

    With t = (x + bound) / (2 bound) the map is (Ramasinghe et al. 2021, eq. 4)

        z = sum_k a_k C(n, k) t^k (1 - t)^(n - k),   dz/dt = n sum_k (a_(k+1) - a_k) C(n-1, k) t^k (1 - t)^(n-1-k)

    Its slope is a weighted mean of the n increments of the coefficients, each within a factor ``exp(max_log_slope)`` of
    the identity's: the map is well conditioned everywhere, whatever its parameters. One more parameter shifts it.

    Parameters
    ----------
    degree : int, default=8
    bound : float, default=5.0
    """

    max_log_slope = 4.0

    def __init__(self, degree: int = 8, bound: float = 5.0):
        self.degree = degree
        self.bound = bound
        self.n_params = degree + 1

    def curve(self, x, params):
        n = self.degree
        slopes = torch.exp(soft_clip(params[:n], self.max_log_slope))
        rises = slopes * (2 * self.bound / n)
        # The coefficients stand around the middle one, so that slopes stretch the map to both sides alike.
        total = torch.cumsum(rises, 0)
        coefficients = torch.cat([torch.zeros_like(total[:1]), total]) - 0.5 * total[-1]
        t = (x + self.bound) / (2 * self.bound)
        lower = _basis(t, n - 1)
        z = (coefficients * _raise(lower, t)).sum(0) + params[n]
        return z, (slopes * lower).sum(0).log()


def _basis(t, n):
    """The n + 1 Bernstein polynomials of degree n at t, along a new first axis; they sum to one."""
    k = torch.arange(n + 1, dtype=t.dtype, device=t.device).reshape(-1, *[1] * t.dim())
    binomial = torch.tensor([math.comb(n, i) for i in range(n + 1)], dtype=t.dtype, device=t.device).view_as(k)
    return binomial * t**k * (1 - t) ** (n - k)


def _raise(basis, t):
    """The basis of the next degree: B(k, n+1) = (1 - t) B(k, n) + t B(k-1, n)."""
    zero = torch.zeros_like(basis[:1])
    return torch.cat([(1 - t) * basis, zero]) + torch.cat([zero, t * basis])
