"""Torch's thread count for the size of the work, restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MIN_WORK_PER_THREAD = 2_000_000  # multiply-adds of one call; below it a thread costs more than it brings


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Run a block with as many threads as ``work`` (multiply-adds of one call) can feed, never more than were set.

    Small tensors gain nothing from a second thread, and lose a great deal when another process keeps its core busy.
    """
    before = torch.get_num_threads()
    wanted = max(1, min(before, int(work // MIN_WORK_PER_THREAD)))
    if wanted == before:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
