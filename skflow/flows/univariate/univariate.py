"""Univariate maps: stateless, element-wise, increasing bijections whose parameters come from elsewhere.

A univariate map has ``n_params``, ``forward(x, params)`` and ``inverse(z, params)``. ``x`` may have any shape;
``params`` stacks ``n_params`` raw (unconstrained) tensors of that shape along its first axis. Each direction returns
the mapped values and the log of the absolute derivative, element by element. Raw parameters of zero are the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_clip(raw: Tensor, limit: float) -> Tensor:
    """``raw / (1 + |raw| / limit)``: leaves small values as they are and keeps all of them within the limit."""
    return raw / (1 + raw.abs() / limit)


class Univariate:
    """Base of the univariate maps; see the module's docstring for the contract."""

    n_params: int
    reads_rows = False  # whether `start` depends on the rows that it is given

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``x`` to ``z``; return ``z`` and log |dz/dx|."""
        raise NotImplementedError

    def inverse(self, z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``z`` to ``x``; return ``x`` and log |dx/dz|."""
        raise NotImplementedError

    def start(self, x: Tensor | None = None) -> Tensor:
        """Raw parameters to start training from, shape (n_params, d), or (n_params, 1) for all columns alike.

        Zero, the identity, unless the map's parts would then all move as one (a mixture of equal components stays one),
        or unless its parameters can be read off rows ``x`` of shape (d, n), where they are given.
        """
        return torch.zeros(self.n_params, 1)
