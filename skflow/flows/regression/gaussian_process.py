"""The posterior mean of a Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

PAIRS_PER_CHUNK = 131_072  # of rows and centres, looked at together: about as many as the cache holds
# Distances by products of matrices lose digits far out, and then a row depends on how many stand beside it.
EXACT = "donot_use_mm_for_euclid_dist"


class GaussianProcessRegression(nn.Module):
    """``y = b + sum_i alpha_i exp(-|(x - x_i) / l|^2 / 2)`` (Rasmussen & Williams 2006, eq. 2.27).

    Parameters
    ----------
    centres : Tensor of shape (m, p)
        The x_i / l.
    alpha : Tensor of shape (m,)
        The variance of the kernel among its factors.
    length_scale : Tensor of shape (p,)
        The l.
    intercept : Tensor of shape ()
        The b.
    """

    def __init__(self, centres: Tensor, alpha: Tensor, length_scale: Tensor, intercept: Tensor):
        super().__init__()
        self.register_buffer("centres", centres)
        self.register_buffer("alpha", alpha)
        self.register_buffer("length_scale", length_scale)
        self.register_buffer("intercept", intercept)

    @classmethod
    def mean(cls, models: Sequence[GaussianProcessRegression]) -> GaussianProcessRegression:
        """The one that gives the mean of what several of the same centres and scale give."""
        alpha = torch.stack([model.alpha for model in models]).mean(0)
        intercept = torch.stack([model.intercept for model in models]).mean()
        return cls(models[0].centres, alpha, models[0].length_scale, intercept)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of y given rows ``x`` (n, p); shape (n,)."""
        parts = (x / self.length_scale).split(max(1, PAIRS_PER_CHUNK // len(self.centres)))
        return torch.cat([self._weighted(part) for part in parts]) + self.intercept

    def _weighted(self, x):
        kernel = torch.cdist(x, self.centres, compute_mode=EXACT).square_().mul_(-0.5).exp_()
        return (kernel * self.alpha).sum(1)
