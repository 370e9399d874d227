"""A function of one item after another, by several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from sklearn import get_config, set_config

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """What a function gives for every item, in their order.

    As many items are at work at a time as torch has threads, each with one of them, and one more waits. Where items are
    large, that makes better use of the cores than to give all threads to each: nothing waits for the slowest thread of
    a step, and the next item is read, and the last result used, while others are at work. To be closed where it is not
    gone through to its end (`contextlib.closing`).

    Parameters
    ----------
    function : callable
        That may be called by several threads at once.
    items : iterable
        Gone through by the caller's thread.
    """
    n_threads, config = torch.get_num_threads(), get_config()

    def initialize():
        torch.set_num_threads(1)
        set_config(**config)

    waiting: deque = deque()
    pool = ThreadPoolExecutor(n_threads, "skflow-map", initialize)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)  # for threads that start later, which have what was set last in any
