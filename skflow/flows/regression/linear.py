"""Linear regression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LinearRegression(nn.Module):
    """``y = x . w + b``.

    Parameters
    ----------
    coefficients : Tensor of shape (p,)
    intercept : Tensor of shape ()
    """

    def __init__(self, coefficients: Tensor, intercept: Tensor):
        super().__init__()
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("intercept", intercept)

    @classmethod
    def mean(cls, models: Sequence[LinearRegression]) -> LinearRegression:
        """The one that gives the mean of what several give."""
        return cls(
            torch.stack([model.coefficients for model in models]).mean(0),
            torch.stack([model.intercept for model in models]).mean(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The mean of y given rows ``x`` (n, p); shape (n,)."""
        return (x * self.coefficients).sum(1) + self.intercept
