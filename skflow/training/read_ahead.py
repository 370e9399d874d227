"""A thread that makes the next items while the present one is at work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS = 0.1  # after which a thread that waits looks up whether it is still needed


def read_ahead(items: Iterable[Item], n: int) -> Generator[Item, None, None]:
    """The items, made by a thread that is at most ``n`` ahead; an error of theirs is raised where it was their turn.

    To be closed where it is not gone through to its end (`contextlib.closing`): that ends the thread.

    Parameters
    ----------
    items : iterable
        Used by the thread alone.
    n : int
    """
    made: queue.Queue = queue.Queue(n)
    closed = threading.Event()

    def put(item):
        while not closed.is_set():
            try:
                return made.put(item, timeout=SECONDS)
            except queue.Full:
                continue

    def work():
        iterator: Iterator[Item] = iter(items)
        try:
            for item in iterator:
                put((item, None))
                if closed.is_set():
                    break
            put((None, StopIteration()))
        except BaseException as error:  # whatever it is, the other thread is to know
            put((None, error))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=work, name="skflow-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        closed.set()
        thread.join()
