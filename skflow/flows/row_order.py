"""How the rows of a curve's values, one for every tile and feature, are sorted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .tape import Tape


class RowOrder(NamedTuple):
    """By band of features first, then by tile, then by feature; where there is one band, by tile and feature.

    Attributes
    ----------
    order, undo : Tensor of shape (R,), int, or None
        From tile by tile to band by band, and back; None where these are the same.
    tile : Tensor of shape (R,), int
        The tile of each row.
    """

    order: Tensor | None
    undo: Tensor | None
    tile: Tensor


@functools.lru_cache(maxsize=256)
def row_order(n_tiles: int, bands: tuple[tuple[int, int], ...], device: torch.device) -> RowOrder:
    """The order for bands of features, each from its first one up to a last one."""
    with torch.inference_mode(False):
        n_features = bands[-1][1]
        numbers = torch.arange(n_tiles * n_features, device=device).view(n_tiles, n_features)
        order = torch.cat([numbers[:, start:stop].flatten() for start, stop in bands])
        if n_tiles == 1 or len(bands) == 1:
            return RowOrder(None, None, order // n_features)
        return RowOrder(order, torch.argsort(order), order // n_features)


def record_sorted(tape: Tape, rows: Tensor, index: Tensor | None, memory: Callable[..., Tensor]) -> Tensor:
    """Rows (R, m) by their numbers, in ``memory`` of the tape; None for all in turn."""
    if index is None:
        return rows
    out = memory(len(index), rows.shape[1])
    tape.add(torch.index_select, rows, 0, index, out=out)
    return out
