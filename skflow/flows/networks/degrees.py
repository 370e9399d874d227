"""The degrees of a masked network's units, which say who sees whom (Germain et al. 2015, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def unit_degrees(n_features: int, n_context: int, hidden_layer_sizes: Sequence[int]) -> list[Tensor]:
    """Of the inputs, a context and then the features, and of the units of every hidden layer, in ascending order.

    Feature i, counted from one, has degree i. A hidden unit of degree m sees what is of degree m or less; of degree 0
    is what depends on the context alone.
    """
    lowest = 0 if n_context or n_features == 1 else 1
    degrees = [torch.cat([torch.zeros(n_context, dtype=torch.long), torch.arange(1, n_features + 1)])]
    for size in hidden_layer_sizes:
        spread = torch.arange(size) * (n_features - lowest) // max(size, 1) + lowest
        degrees.append(spread.clamp_max(max(n_features - 1, 0)))
    return degrees


def masks(degrees: Sequence[Tensor], n_params: int) -> list[Tensor]:
    """What every layer sees of the one before it (Germain et al. 2015, eq. 12 and 13).

    One tensor of shape (n_out, 1 + n_in) a layer: one where a unit sees an input, or the bias on the left. The units of
    the last layer are ``n_params`` for each feature, and see what is of a degree below the feature's.
    """
    features = degrees[0][degrees[0] > 0]
    layers = [*degrees, (features - 1).repeat_interleave(n_params)]
    out = []
    for below, above in zip(layers, layers[1:]):
        mask = torch.ones(len(above), 1 + len(below), dtype=torch.float32, device=above.device)
        mask[:, 1:] = above[:, None] >= below
        out.append(mask)
    return out
