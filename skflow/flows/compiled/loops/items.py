"""What every loop that threads share begins with: see `skflow.flows.compiled.team`."""

from __future__ import annotations

import numba

from ...tiles import LANES
from .memory import integer_at, take_next

NEXT, SLOT, N_ITEMS = range(3)  # counters, and the number of items of work
_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def next_item(args):
    """The number of an item that no thread has taken yet; -1 where none is left."""
    item = take_next(args + 8 * NEXT)
    return item if item < integer_at(args, N_ITEMS) else -1


@_compiled
def tile_and_start(item, n):
    """The tile of an item of `LANES` rows, and where it starts in the batch of ``n``."""
    return item * LANES // n, item * LANES % n


@_compiled
def own_slot(args):
    """A number for this thread alone, from zero."""
    return take_next(args + 8 * SLOT)
