"""The degrees of a masked network's units, which say who sees whom (Germain et al. 2015, section 4)."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import torch
from torch import Tensor

UNITS_PER_BAND = 64  # below this a smaller matrix product costs as much as the larger one it replaces
MAX_BANDS = 6


class Connections(NamedTuple):
    """Who sees whom between two layers of units that are sorted by degree.

    Attributes
    ----------
    mask : Tensor of shape (n_out, 1 + n_in)
        One where a unit of degree m sees an input of degree at most m, or the ones on top.
    gain : Tensor of shape (n_out, 1)
        By how much the weights of a unit start larger, as it sees fewer inputs.
    bands : list of (start, stop, n_seen)
        Bands of units, and the number of leading inputs, the ones among them, that each can see.
    n_seen : Tensor of shape (n_out,), int
        The number of leading inputs that each unit can see.
    first_seen : Tensor of shape (1 + n_in,), int
        The first unit that sees each input.
    """

    mask: Tensor
    gain: Tensor
    bands: list[tuple[int, int, int]]
    n_seen: Tensor
    first_seen: Tensor

    @classmethod
    def between(cls, in_degrees: Tensor, out_degrees: Tensor, group: int = 1) -> Connections:
        """From the degrees; units come in groups of ``group``, which no band divides."""
        n_in, n_out = len(in_degrees), len(out_degrees)
        mask = torch.ones(n_out, 1 + n_in, dtype=torch.float32)
        mask[:, 1:] = out_degrees[:, None] >= in_degrees
        n_seen, n_groups = mask.sum(1), n_out // group
        n_bands = max(1, min(MAX_BANDS, n_out // UNITS_PER_BAND, n_groups))
        edges = [round(i * n_groups / n_bands) * group for i in range(n_bands + 1)]
        bands = [(start, stop, int(n_seen[stop - 1])) for start, stop in zip(edges, edges[1:])]
        gain = (n_in / (n_seen - 1).clamp_min(1)).sqrt()[:, None]
        return cls(mask, gain, bands, n_seen.long(), n_out - mask.sum(0).long())


def _degrees(n_features: int, n_context: int, hidden_layer_sizes: tuple[int, ...]) -> list[Tensor]:
    lowest = 0 if n_context or n_features == 1 else 1  # degree 0 sees the context alone
    degrees = [torch.cat([torch.zeros(n_context, dtype=torch.long), torch.arange(1, n_features + 1)])]
    for size in hidden_layer_sizes:
        spread = torch.arange(size) * (n_features - lowest) // max(size, 1) + lowest
        degrees.append(spread.clamp_max(max(n_features - 1, 0)))
    return degrees


@functools.lru_cache(maxsize=16)
def connections(
    n_features: int, n_context: int, n_params: int, hidden_layer_sizes: tuple[int, ...]
) -> list[Connections]:
    """Of every layer of a masked network; networks of one shape share them."""
    with torch.inference_mode(False), torch.device("cpu"):
        degrees = _degrees(n_features, n_context, hidden_layer_sizes)
        outputs = torch.arange(n_features).repeat_interleave(n_params)
        hidden = [Connections.between(a, b) for a, b in zip(degrees, degrees[1:])]
        return [*hidden, Connections.between(degrees[-1], outputs, n_params)]


@functools.lru_cache(maxsize=16)
def counts_by_degree(n_features: int, n_context: int, hidden_layer_sizes: tuple[int, ...]) -> list[list[int]]:
    """The numbers of inputs and of hidden units of degree 0, 1, ..., n_features - 1, level by level."""
    with torch.device("cpu"):
        degrees = _degrees(n_features, n_context, hidden_layer_sizes)
    return [torch.bincount(units, minlength=n_features)[:n_features].tolist() for units in degrees]


@functools.lru_cache(maxsize=16)
def starts_by_degree(
    n_features: int, n_context: int, n_params: int, hidden_layer_sizes: tuple[int, ...]
) -> list[Tensor]:
    """Of every layer the first units of degree 0, 1, ..., n_features - 1 and the number of units; of shape (d + 1,)."""
    with torch.inference_mode(False), torch.device("cpu"):
        counts = counts_by_degree(n_features, n_context, hidden_layer_sizes)
        layers = [*counts[1:], [n_params] * n_features]
        return [torch.tensor([0, *itertools.accumulate(count)]) for count in layers]
