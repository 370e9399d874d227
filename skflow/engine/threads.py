"""How many threads take part: torch's own, for the size of the work and for what else the machine does.

Torch's operations and the compiled loops share one pool of threads: a second one would fight with the first, whose
threads keep their cores busy for a while after every operation.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

import torch

MIN_WORK_PER_THREAD = 2_000_000  # multiply-adds of a step; below it a thread costs about what it brings
MIN_WORK_PER_LOOP = 100_000  # multiply-adds that a thread is given of one compiled loop
PATIENCE = 0.3  # seconds, after which calls are made on one thread for comparison
N_TRIALS = 3  # calls
MOST_LOST = 0.1  # of the time may be lost in trials
GAIN = 0.9  # of the time is what the other way must not take longer than, to be gone on with
NEWEST = 0.1  # is the weight of the last call in the mean
Result = TypeVar("Result")
_BLOCKS = threading.local()  # the thread counts around the open blocks, the outermost first


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Run a block with as many threads as ``work`` (multiply-adds of one call) can feed, never more than were set.

    Small tensors gain nothing from a second thread, and lose a great deal when another process keeps its core busy.
    Inside another such block the number set around the outermost counts.
    """
    before = vars(_BLOCKS).setdefault("before", [])
    before.append(torch.get_num_threads())
    _set_threads(max(1, min(before[0], int(work // MIN_WORK_PER_THREAD))))
    try:
        yield
    finally:
        _set_threads(before.pop())


def on_one_thread(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function on a single thread: what torch's operations come to may depend on how many they are shared among."""

    @functools.wraps(function)
    def call(*args):
        with threads_for(0):
            return function(*args)

    return call


def _set_threads(n):
    if n != torch.get_num_threads():
        torch.set_num_threads(n)


def _stay_alone():
    """In the child of a fork: torch's other threads are not there, and it would wait for them for ever."""
    torch.set_num_threads(1)
    before = vars(_BLOCKS).get("before", [])
    before[:] = [1] * len(before)


def fork_safe_lock() -> threading.Lock:
    """A lock that is open in the child of a fork, whichever thread of the parent held it."""
    lock = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stay_alone)


class _Pool(NamedTuple):
    """The threads that torch's operations run on: what runs a function on them, and where one asks for its number."""

    run: Callable
    thread_number: int


@functools.cache
def _pool():
    """That of the OpenMP library that torch has loaded, where it has a name for such a thing."""
    try:
        library = ctypes.CDLL(None)
        run, number = library.GOMP_parallel, ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p).value
    except (AttributeError, OSError, TypeError):
        return None
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return _Pool(run, number)


@functools.cache
def _n_cores():
    return os.cpu_count() or 1


def most_threads(work: int) -> int:
    """The most threads that one compiled loop of so many multiply-adds is given."""
    return max(1, min(_n_cores() if _pool() else 1, work // MIN_WORK_PER_LOOP))


def thread_number() -> int:
    """The address of the function that tells a thread of `run_shared` its number; zero where there is one thread."""
    return _pool().thread_number if _pool() else 0


def run_shared(function: int, argument: int, n_threads: int) -> None:
    """Run the function at an address on several threads, each with the same argument."""
    _pool().run(function, argument, n_threads, 0)


class Pace:
    """Makes calls of about the same work with all threads, or with one while that is faster.

    Where another process keeps a core busy, threads wait for each other at the end of every operation, and a call may
    take a hundred times as long as on one thread. So a few calls are made the other way now and then, so rarely that
    they take little of the time, and the faster way is gone on with.
    """

    def __init__(self):
        self.alone = False
        self.seconds = 0.0  # that a call takes the present way, on average of late
        self.time_left = PATIENCE  # before the other way is tried
        self.trials: list[float] = []  # seconds of calls the other way

    def call(self, function: Callable[..., Result], *args: object) -> Result:
        """``function(*args)``."""
        if torch.get_num_threads() == 1:
            return function(*args)
        start, on_trial = time.perf_counter(), self.time_left <= 0
        with threads_for(0) if self.alone != on_trial else nullcontext():
            result = function(*args)
        self._note(time.perf_counter() - start, on_trial)
        return result

    def _note(self, seconds, on_trial):
        if not on_trial:
            self.time_left -= seconds
            self.seconds += NEWEST * (seconds - self.seconds) if self.seconds else seconds
            return
        self.trials.append(seconds)
        if len(self.trials) < N_TRIALS:
            return
        other = sum(self.trials) / N_TRIALS
        self.trials.clear()
        if other < GAIN * self.seconds:
            self.alone, self.seconds, other = not self.alone, other, self.seconds
        self.time_left = N_TRIALS * other / MOST_LOST
