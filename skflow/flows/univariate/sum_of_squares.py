"""Sum-of-squares polynomials (Jaini et al. 2019): increasing because the slope is a sum of squares."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from .monotone import MonotoneCurve
from .univariate import soft_clip

MIN_SLOPE = 1e-2  # least share of the mean slope


class SumOfSquares(MonotoneCurve):
    """Integral of a sum of squared polynomials on [-bound, bound].

    With u = x / bound and Legendre polynomials P_j the map is (Jaini et al. 2019, eq. 8)

        z = b + exp(s) integral_0^x q(u) du,   q = sum_k p_k(u)^2 / mean(sum_k p_k^2),   p_k = sum_j a_kj P_j

    with a small constant mixed into q. Dividing by the mean over the interval, ``sum_kj a_kj^2 / (2j + 1)``, leaves the
    overall scale to ``s`` alone, so that the slope is bounded for any parameters. The first polynomial has a_10 = 1.

    Parameters
    ----------
    degree : int, default=4
        Of the polynomials that are squared; the map is of degree ``2 degree + 1``.
    n_squares : int, default=2
        Two suffice for any positive polynomial.
    bound : float, default=5.0
    """

    max_log_scale = 4.0

    def __init__(self, degree: int = 4, n_squares: int = 2, bound: float = 5.0):
        self.degree = degree
        self.n_squares = n_squares
        self.bound = bound
        self.n_params = n_squares * (degree + 1) + 1

    def start(self, x=None):
        # A square has no slope at zero: the other polynomials start a little off it, each in a direction of its own.
        n_first = self.degree
        raw = torch.zeros(self.n_params, 1)
        rest = torch.arange(self.n_params - 2 - n_first)
        raw[2 + n_first :, 0] = 0.1 * torch.where(rest % 2 == 0, 1.0, -1.0)
        return raw

    def curve(self, x, params):
        shift, log_scale = params[0], soft_clip(params[1], self.max_log_scale)
        one = torch.ones_like(params[:1])
        shape = (self.n_squares, self.degree + 1, *params.shape[1:])
        a = torch.cat([one, params[2:]]).reshape(shape)
        odd = torch.arange(1, 2 * self.degree + 2, 2, dtype=x.dtype, device=x.device)
        mean = (a * a / odd.reshape(-1, *[1] * x.dim())).sum((0, 1))

        def slope(u):
            squares = torch.einsum("kj...,j...->k...", a, _legendre(u, self.degree)) ** 2
            return MIN_SLOPE + (1 - MIN_SLOPE) * squares.sum(0) / mean

        # Gauss-Legendre quadrature with degree + 1 nodes is exact for the polynomial, which has twice the degree.
        u = x / self.bound
        area = sum(w * slope(u * share) for w, share in _nodes(self.degree + 1))
        return shift + torch.exp(log_scale) * x * area, log_scale + slope(u).log()


@functools.cache
def _nodes(n: int) -> list[tuple[float, float]]:
    """Weights and nodes of Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return [(float(w) / 2, float(x + 1) / 2) for x, w in zip(nodes, weights)]


def _legendre(u: Tensor, degree: int) -> Tensor:
    """P_0 ... P_degree at u by Bonnet's recursion, along a new first axis."""
    terms = [torch.ones_like(u), u]
    for j in range(1, degree):
        terms.append(((2 * j + 1) * u * terms[j] - j * terms[j - 1]) / (j + 1))
    return torch.stack(terms[: degree + 1])
