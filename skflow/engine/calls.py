"""Calls of compiled loops, which torch's own threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import QUEUE_FIELDS
from .compiler import compile
from .tape import Tape
from .threads import most_threads, run_shared

N_COUNTERS = QUEUE_FIELDS.index("n_items") + 1


class Step(NamedTuple):
    """A loop over items of work.

    Attributes
    ----------
    loop : callable
        See `skflow.engine.compiler.loop`.
    n_items : int
    work : int
        Multiply-adds, in all.
    """

    loop: Callable
    n_items: int
    work: int


def queue_fields(tape: Tape, work: int, workspace_bytes: int) -> dict:
    """The fields that every block of a call begins with, with room for as many threads as may take part."""
    numbers = workspace_bytes // tape.like.element_size()
    workspace = tape.scratch(most_threads(work), numbers) if numbers else None
    return dict.fromkeys(QUEUE_FIELDS[:N_COUNTERS], 0) | {"workspace": workspace, "workspace_bytes": workspace_bytes}


class Call:
    """Compiled loops one after the other, with their arguments, to be called time and again.

    Parameters
    ----------
    steps : sequence of Step
    dtype : torch.float32 or torch.float64
        Of the numbers.
    arguments : sequence of int
        Blocks of `skflow.engine.blocks`.
    memory : sequence of Tensor or None
        What has to last as long as the addresses among them are used.
    """

    def __init__(
        self, steps: Sequence[Step], dtype: torch.dtype, arguments: Sequence[int], memory: Sequence[Tensor | None]
    ):
        self._memory = memory
        self._arguments = (ctypes.c_int64 * len(arguments))(*arguments)
        self._address = ctypes.addressof(self._arguments)
        self._steps = [(compile(step.loop, dtype), step.n_items, most_threads(step.work)) for step in steps]

    def __call__(self):
        most = torch.get_num_threads()
        for (body, run), n_items, n_threads in self._steps:
            self._arguments[:N_COUNTERS] = [0] * (N_COUNTERS - 1) + [n_items]
            if min(n_threads, most) > 1:
                run_shared(body.address, self._address, min(n_threads, most))
            else:
                run(self._address)
