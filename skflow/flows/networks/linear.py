"""Affine layers, dense and masked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DenseLinear(nn.Module):
    """An affine layer.

    Attributes
    ----------
    affine : Parameter of shape (n_out, 1 + n_in)
        The bias and, on its right, the weight.
    """

    def __init__(self, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(max(n_in, 1))
        # Drawn in one precision, so that the default one has no say in the numbers.
        affine = torch.empty(n_out, 1 + n_in, dtype=torch.float32).uniform_(-bound, bound)
        self.affine = nn.Parameter(affine.to(torch.get_default_dtype()))

    @property
    def bias(self) -> Tensor:
        """Shape (n_out,)."""
        return self.affine[:, 0]

    @property
    def weight(self) -> Tensor:
        """Shape (n_out, n_in)."""
        return self.affine[:, 1:]

    def used(self) -> Tensor:
        """What inputs are multiplied with, of the shape of ``affine``."""
        return self.affine


class MaskedLinear(DenseLinear):
    """An affine layer where units see some of the inputs: those where ``mask`` is one, of the shape of ``affine``."""

    def __init__(self, mask: Tensor, *, zero: bool = False):
        super().__init__(mask.shape[1] - 1, len(mask))
        self.register_buffer("mask", mask.to(self.affine), persistent=False)
        gain = (self.weight.shape[1] / (mask.sum(1) - 1).clamp_min(1)).sqrt()[:, None]  # a unit sees fewer inputs
        with torch.no_grad():
            self.affine.mul_(0.0 if zero else gain.to(self.affine.device)).mul_(self.mask)

    def used(self):
        """Whatever stands in the hidden entries has no say."""
        return self.affine * self.mask

    def n_idle(self) -> int:
        """Number of entries of ``affine`` that the mask hides."""
        return int((self.mask == 0).sum())


def affine_map(affine: Tensor, h: Tensor) -> Tensor:
    """Units (n_out, n) from inputs (n_in, n); ``affine`` holds the bias and the weight."""
    bias, weight = affine.split((1, affine.shape[1] - 1), 1)  # whose gradients are joined in one go
    return torch.addmm(bias, weight, h)
