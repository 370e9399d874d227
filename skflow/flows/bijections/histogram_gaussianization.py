"""Gaussianization of a column whose values lie on a grid: by a histogram that has a bin for every value."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..distributions.distribution import LOG_2PI
from ..univariate.mixture_cdf import log_ndtri
from .bijection import Bijection


class HistogramGaussianization(Bijection):
    """One column to normal scores by a histogram, and beyond its bins as another map has it.

    Inside the bins the density is flat in each, of the masses given; outside it is ``share`` times that of the other
    map's normal scores. Where a bin stands for one value of a grid, its mass is the probability of the value.

    Parameters
    ----------
    smooth : Bijection
        Of one column, increasing: to normal scores.
    edges : Tensor of shape (K + 1,)
        Of the bins, increasing.
    mass : Tensor of shape (K,)
        Of the bins, positive.
    tails : Tensor of shape (2,)
        Mass to the left and to the right of the bins.
    share : Tensor of shape ()
    """

    def __init__(self, smooth: Bijection, edges: Tensor, mass: Tensor, tails: Tensor, share: Tensor):
        super().__init__()
        self.smooth = smooth
        self.register_buffer("edges", edges)
        self.register_buffer("mass", mass)
        self.register_buffer("tails", tails)
        self.register_buffer("share", share)

    def forward(self, x, context=None):
        bin_ = self._bin(x, self.edges)
        left, width = self.edges[bin_], self._widths[bin_]
        part = ((x - left) / width).clamp(0, 1)
        z, log_slope = self._score(bin_, part)
        z_out, log_slope_out = self._smooth(x)
        inside = (x >= self.edges[0]) & (x < self.edges[-1])
        return torch.where(inside, z, z_out), torch.where(inside, log_slope, log_slope_out)[:, 0]

    def inverse(self, z, context=None):
        below, above = self._cumulative()
        scores = _score(below, above)
        bin_ = self._bin(z, scores)
        below = (torch.special.ndtr(z) - below[bin_]) / self.mass[bin_]
        above = (torch.special.ndtr(-z) - above[bin_ + 1]) / self.mass[bin_]
        part = torch.where(z < 0, below, 1 - above).clamp(0, 1)
        x, log_slope = self.edges[bin_] + part * self._widths[bin_], self._score(bin_, part)[1]
        x_out, _ = self.smooth.inverse(_with_tail(z, -self.share.log()))
        inside = (z >= scores[0]) & (z < scores[-1])
        return torch.where(inside, x, x_out), -torch.where(inside, log_slope, self._smooth(x_out)[1])[:, 0]

    @staticmethod
    def _bin(v, edges):
        return torch.searchsorted(edges, v.contiguous(), right=True).clamp(1, len(edges) - 1) - 1

    @property
    def _widths(self):
        return self.edges.diff()

    def _cumulative(self):
        """The mass on either side of every edge: one precise where it is small on the left, one on the right."""
        left, right = self.tails[:, None]
        below, above = torch.cat([left, self.mass]), torch.cat([self.mass, right])
        return below.cumsum(0), above.flip(0).cumsum(0).flip(0)

    def _score(self, bin_, part):
        """Of points that lie a part of their bin's width from its left edge, and the logarithm of its slope."""
        below, above = self._cumulative()
        mass = self.mass[bin_]
        z = _score(below[bin_] + part * mass, above[bin_ + 1] + (1 - part) * mass)
        return z, (mass / self._widths[bin_]).log() + _minus_log_normal(z)

    def _smooth(self, x):
        z, log_slope = self.smooth(x)
        out = _with_tail(z, self.share.log())
        return out, log_slope[:, None] - _minus_log_normal(z) + self.share.log() + _minus_log_normal(out)


def _score(below, above):
    """The normal score between a mass below it and one above it, by way of the smaller one."""
    low = torch.special.ndtri(below.clamp(0, 1))
    return torch.where(below < above, low, -torch.special.ndtri(above.clamp(0, 1)))


def _with_tail(z, log_share):
    """The score with a tail, on the side of ``z``, of ``exp(log_share)`` times the mass."""
    side = torch.where(z < 0, 1.0, -1.0).to(z)
    return side * log_ndtri((torch.special.log_ndtr(side * z) + log_share).clamp_max(-math.log(2)))


def _minus_log_normal(z):
    return 0.5 * z * z + 0.5 * LOG_2PI
