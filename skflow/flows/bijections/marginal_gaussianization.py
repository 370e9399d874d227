"""Marginal Gaussianization: single columns through their own smoothed distribution functions, to standard normals."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributions.distribution import LOG_2PI
from ..univariate.mixture_cdf import log_ndtri
from ..univariate.rational_quadratic import rise_and_log_slope, root
from .bijection import Bijection


class MarginalGaussianization(Bijection):
    """Some columns to normal scores: a rational-quadratic spline through quantiles, generalised Pareto tails beyond.

    Between the outermost knots it is the monotone rational-quadratic interpolant (Gregory & Delbourgo 1982,
    eq. 5). Past them, an exceedance ``t`` of a tail of mass ``p`` has the survival ``p (1 + xi t / sigma)^(-1 / xi)``
    (Pickands 1975), exponential for ``xi = 0``: a heavy tail in the data becomes a normal tail in the latent, in closed
    form both ways. Sigma follows from the slope at the knot, so that the density is continuous there.

    Parameters
    ----------
    columns : Tensor of shape (c,), int
        The columns that are mapped; the others pass unchanged.
    knots_x : Tensor of shape (c, K)
        Knots in data units, strictly increasing.
    knots_z : Tensor of shape (K,)
        Normal scores of the knots.
    slopes : Tensor of shape (c, K)
        dz/dx at the knots, positive.
    tail_index : Tensor of shape (c, 2)
        xi >= 0 of the left and of the right tail.
    """

    def __init__(self, columns: Tensor, knots_x: Tensor, knots_z: Tensor, slopes: Tensor, tail_index: Tensor):
        super().__init__()
        self.register_buffer("columns", columns)
        self.register_buffer("knots_x", knots_x)
        self.register_buffer("knots_z", knots_z)
        self.register_buffer("slopes", slopes)
        self.register_buffer("tail_index", tail_index)

    def forward(self, x, context=None):
        return self._map(x, self._spline, self._tail)

    def inverse(self, z, context=None):
        return self._map(z, self._inverse_spline, self._inverse_tail)

    def _map(self, v, spline, tail):
        columns, log_slope = self._map_columns(v.t()[self.columns], spline, tail)
        return v.t().index_copy(0, self.columns, columns).t(), log_slope.sum(0)

    def _map_columns(self, v, spline, tail):
        """Number by number; the tails, a few per cent of the numbers, are computed by themselves."""
        inner, past, out, log_slope = spline(v)
        row, _ = index = past.nonzero(as_tuple=True)
        side = torch.where(v[index] > inner[index], 1.0, -1.0).to(v.dtype)
        out_tail, log_slope_tail = tail(v[index], row, side)
        return out.index_put(index, out_tail), log_slope.index_put(index, log_slope_tail)

    def column_log_density(self, x: Tensor) -> Tensor:
        """Log-density in nats of every number under its own column's distribution, shape (n, c)."""
        z, log_slope = self._map_columns(x.t()[self.columns], self._spline, self._tail)
        return (log_slope - 0.5 * z * z - 0.5 * LOG_2PI).t()

    def _segment(self, v, knots):
        k = torch.searchsorted(knots, v.contiguous(), right=True).clamp_(1, knots.shape[1] - 1) - 1
        x0, x1 = self.knots_x.gather(1, k), self.knots_x.gather(1, k + 1)
        z0, z1 = self.knots_z[k], self.knots_z[k + 1]
        return x0, x1 - x0, z0, z1 - z0, self.slopes.gather(1, k), self.slopes.gather(1, k + 1)

    def _spline(self, x):
        inner = torch.minimum(torch.maximum(x, self.knots_x[:, :1]), self.knots_x[:, -1:])
        x0, w, z0, h, d0, d1 = self._segment(inner, self.knots_x)
        rise, log_slope = rise_and_log_slope((inner - x0) / w, h / w, d0, d1)
        return inner, inner != x, z0 + h * rise, log_slope

    def _inverse_spline(self, z):
        inner = z.clamp(self.knots_z[0], self.knots_z[-1])
        x0, w, z0, h, d0, d1 = self._segment(inner, self.knots_z.expand(len(z), -1).contiguous())
        t = root(inner - z0, h, h / w, d0, d1)
        return inner, inner != z, x0 + t * w, -rise_and_log_slope(t, h / w, d0, d1)[1]

    def _tail_parameters(self, row, side):
        """Edge, log-mass, sigma and xi of each number's tail."""
        end = torch.where(side > 0, self.knots_x.shape[1] - 1, 0)
        z_edge = self.knots_z[end]
        log_mass = torch.special.log_ndtr(-side * z_edge)
        log_density = -0.5 * z_edge * z_edge - 0.5 * LOG_2PI + self.slopes[row, end].log()
        xi = self.tail_index[row, (side > 0).long()].clamp_min(1e-9)
        return self.knots_x[row, end], log_mass, torch.exp(log_mass - log_density), xi

    def _tail(self, x, row, side):
        edge, log_mass, sigma, xi = self._tail_parameters(row, side)
        log1 = torch.log1p(xi * (side * (x - edge) / sigma))
        score = log_ndtri(log_mass - log1 / xi)
        log_density = log_mass - log1 / xi - log1 - sigma.log()
        return -side * score, log_density + 0.5 * score * score + 0.5 * LOG_2PI

    def _inverse_tail(self, z, row, side):
        edge, log_mass, sigma, xi = self._tail_parameters(row, side)
        log1 = xi * (log_mass - torch.special.log_ndtr(-side * z))
        log_density = log_mass - log1 / xi - log1 - sigma.log()
        return edge + side * sigma * torch.expm1(log1) / xi, -(log_density + 0.5 * z * z + 0.5 * LOG_2PI)
