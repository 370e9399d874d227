"""A kernel estimate for every class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .distribution import LOG_2PI, Distribution

PAIRS_PER_CHUNK = 131_072  # of rows and centres, looked at together: about as many as the cache holds
# Distances by products of matrices lose digits far out, and then a row depends on how many stand beside it.
EXACT = "donot_use_mm_for_euclid_dist"


class ClassKernels(Distribution):
    """Given class c, one-hot in the context: a mixture of isotropic Gaussians round the rows of the class.

    Parameters
    ----------
    centres : Tensor of shape (m, d)
    weights : Tensor of shape (m,)
        Positive; those of a class need not add up to one.
    label : Tensor of shape (m,), int
        The class of every centre; each class has one at least.
    width : float
        Standard deviation of the kernels.
    """

    def __init__(self, centres: Tensor, weights: Tensor, label: Tensor, width: float):
        super().__init__()
        self.register_buffer("centres", centres)
        self.register_buffer("weights", weights)
        self.register_buffer("label", label)
        self.width = width

    def log_prob(self, z, context=None):
        label, out = context.argmax(1), z.new_empty(len(z))
        for c in label.unique().tolist():
            own = label == c
            out[own] = self._of_class(z[own] / self.width, c)
        return out - z.shape[1] * (0.5 * LOG_2PI + math.log(self.width))

    def _of_class(self, z, c):
        of_class = self.label == c
        centres, log_weight = self.centres[of_class] / self.width, self.weights[of_class].log()
        log_weight = log_weight - torch.logsumexp(log_weight, 0)
        parts = [
            torch.logsumexp(log_weight - 0.5 * torch.cdist(part, centres, compute_mode=EXACT).square(), 1)
            for part in z.split(max(1, PAIRS_PER_CHUNK // len(centres)))
        ]
        return torch.cat(parts)

    def sample(self, n, context=None, generator=None):
        label = context.argmax(1)
        z = self.width * torch.randn(
            n, self.centres.shape[1], generator=generator, dtype=self.centres.dtype, device=self.centres.device
        )
        for c in label.unique().tolist():
            own, of_class = label == c, self.label == c
            drawn = torch.multinomial(self.weights[of_class], int(own.sum()), replacement=True, generator=generator)
            z[own] += self.centres[of_class][drawn]
        return z
