"""A stack of regression models for every target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedRegression(nn.Module):
    """Weighted means of several models of each target, and what each model says (Breiman 1996, "Stacked Regressions").

    Parameters
    ----------
    shift, scale : Tensor of shape (p,)
        The models are given ``(x - shift) / scale``.
    models : sequence of Module
        Those of the first target, then those of the next one.
    weights : Tensor of shape (k, n_models)
        Of the models of every target.
    """

    def __init__(self, shift: Tensor, scale: Tensor, models: Sequence[nn.Module], weights: Tensor):
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.models = nn.ModuleList(models)
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """For rows ``x`` (n, p) the stack's prediction of every target, and then every model's; (n, k + k n_models)."""
        x = (x - self.shift) / self.scale
        each = torch.stack([model(x) for model in self.models], 1)
        return torch.cat([(each.unflatten(1, self.weights.shape) * self.weights).sum(2), each], 1)
