"""Tiles: how rows are laid out for arithmetic.

A tile holds about `TILE` rows, feature by feature, so that its batch is contiguous and the activations of one layer for
one tile fit the second-level cache of a core. A table of n rows becomes a tensor of shape (tiles, d, batch), filled up
with rows of zeros.
"""

from __future__ import annotations

from torch import Tensor

TILE = 256
LANES = 32  # the batch is a multiple: compiled loops take as many numbers at once


def to_tiles(x: Tensor) -> Tensor:
    """Rows ``x`` (n, d) as tiles (t, d, m); also numbers (n,), as (t, m)."""
    n = len(x)
    t = max(1, round(n / TILE))
    m = max(1, -(-n // (t * LANES))) * LANES
    tiles = x.new_zeros(t, *x.shape[1:], m)
    fill_tiles(tiles, x)
    return tiles


def fill_tiles(tiles: Tensor, x: Tensor) -> None:
    """Write rows over the first ones of ``tiles``, which `to_tiles` made of at least as many."""
    (t, *_, m), x = tiles.shape, x.t()
    full = x.shape[-1] // m
    tiles[:full].copy_(x[..., : full * m].unflatten(-1, (full, m)).movedim(-2, 0))
    if full < t:
        tiles[full, ..., : x.shape[-1] - full * m].copy_(x[..., full * m :])


def from_tiles(z: Tensor, n: int) -> Tensor:
    """The first ``n`` rows of tiles, (n, d) with the batch contiguous; also numbers (t, m), as (n,)."""
    return z.movedim(0, -2).flatten(-2)[..., :n].t()
