"""Calls of compiled loops, which torch's own threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import COUNTER_BYTES, QUEUE_FIELDS
from .compiler import compile
from .tape import Tape
from .threads import most_threads, run_shared, thread_number

HEADER = QUEUE_FIELDS[: QUEUE_FIELDS.index("workspace")]  # what a call fills in itself


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
    return dict.fromkeys(HEADER, 0) | {"workspace": workspace, "workspace_bytes": workspace_bytes}


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
        self._counters = (ctypes.c_byte * (COUNTER_BYTES * max(n_threads for *_, n_threads in self._steps)))()

    def __call__(self):
        most = torch.get_num_threads()
        for (body, run), n_items, n_threads in self._steps:
            n_threads, counters = min(n_threads, most), ctypes.addressof(self._counters)
            ctypes.memset(counters, 0, COUNTER_BYTES * n_threads)
            self._arguments[: len(HEADER)] = [n_items, n_threads, thread_number(), counters]
            if n_threads > 1:
                run_shared(body.address, self._address, n_threads)
            else:
                run(self._address)
