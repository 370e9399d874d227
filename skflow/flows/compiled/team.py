"""Calls of compiled loops, which the threads of torch's own team share."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MIN_WORK_PER_THREAD = 200_000  # multiply-adds of one call, where `skflow._threads` allows more threads than one


@functools.cache
def _parallel():
    """Runs a function on the threads that torch's operations run on, where its OpenMP library has a name for that."""
    try:
        run = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return run


@functools.cache
def _n_cores():
    return os.cpu_count() or 1


def is_shared() -> bool:
    """Whether calls can be shared by torch's threads, or there is nothing to share."""
    return _parallel() is not None or _n_cores() == 1


def most_threads(work: int) -> int:
    """The most threads that a call of so many multiply-adds is given."""
    return max(1, min(_n_cores() if _parallel() else 1, work // MIN_WORK_PER_THREAD))


@functools.cache
def _compile(loop, dtype):
    from numba import cfunc, types

    number = {torch.float32: types.float32, torch.float64: types.float64}[dtype]
    body = cfunc(types.void(types.CPointer(number)), cache=True)(loop)
    return body, ctypes.CFUNCTYPE(None, ctypes.c_void_p)(body.address)


def address(memory: Tensor | None) -> int:
    """Of a tensor; zero for none."""
    return 0 if memory is None else memory.data_ptr()


class Step(NamedTuple):
    """A loop over items of work.

    Attributes
    ----------
    loop : callable
        To be compiled. Its argument points to integers, of which the first three are counters and the number of items;
        that it points to numbers of some type says which the loop works with.
    n_items : int
    work : int
        Multiply-adds, in all.
    """

    loop: Callable
    n_items: int
    work: int


class Call:
    """Compiled loops one after the other, with their arguments, to be called time and again.

    Parameters
    ----------
    steps : sequence of Step
    dtype : torch.float32 or torch.float64
        Of the numbers.
    arguments : sequence of int
        The integers behind the first three.
    memory : sequence of Tensor or None
        What has to last as long as the addresses among them are used.
    """

    def __init__(
        self, steps: Sequence[Step], dtype: torch.dtype, arguments: Sequence[int], memory: Sequence[Tensor | None]
    ):
        self._memory = memory
        self._arguments = (ctypes.c_int64 * (3 + len(arguments)))(0, 0, 0, *arguments)
        self._pointer = ctypes.c_void_p(ctypes.addressof(self._arguments))
        self._steps = [(_compile(step.loop, dtype), step.n_items, most_threads(step.work)) for step in steps]

    def __call__(self):
        most, arguments = torch.get_num_threads(), self._arguments
        for (body, run), n_items, n_threads in self._steps:
            arguments[0], arguments[1], arguments[2] = 0, 0, n_items
            if min(n_threads, most) > 1:
                _parallel()(body.address, self._pointer, min(n_threads, most), 0)
            else:
                run(self._pointer)
