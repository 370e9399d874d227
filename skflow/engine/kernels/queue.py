"""The loop that threads share: each takes the items of its own part, then those that are left of the others'.

The parts are the same in every loop, so that a thread finds in its core's cache what it has written there itself: to
fetch it from another core's takes longer than to compute it.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable
from pathlib import Path

import numba

from ..blocks import COUNTER_BYTES, QUEUE
from ..tiles import LANES
from .memory import address_of, call, integer_at, take_next, zero_of

# Called from compiled code alone: no wrappers for Python, and `shared` has a kernel inlined. Both save time to compile.
compiled = functools.partial(
    numba.njit, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@functools.cache
def _sources():
    """Of all that is compiled: a change in any file makes another name for what is kept of each."""
    folder = Path(__file__).parent
    files = [*sorted(folder.glob("*.py")), folder.parent / "blocks.py", folder.parent / "tiles.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def do_item(args, own, item, zero):
    """Stands for what `shared` is given: the address of the arguments, of the thread's workspace, and the number."""
    raise NotImplementedError


def _shared_loop(sources):
    def run(pointer):
        sources  # noqa: B018 - what numba keeps on disk is found by the values of such variables
        args, zero = address_of(pointer), zero_of(pointer)
        n_items, n_threads = integer_at(args, QUEUE.n_items), integer_at(args, QUEUE.n_threads)
        number = call(integer_at(args, QUEUE.thread_number)) if n_threads > 1 else 0
        own = integer_at(args, QUEUE.workspace) + number * integer_at(args, QUEUE.workspace_bytes)
        for k in range(n_threads):
            part = (number + k) % n_threads
            begin, end = part * n_items // n_threads, (part + 1) * n_items // n_threads
            counter = integer_at(args, QUEUE.counters) + part * COUNTER_BYTES
            item = begin + take_next(counter)
            while item < end:
                do_item(args, own, item, zero)
                item = begin + take_next(counter)

    return run


def _with_globals(function, name, **values):
    """The same function where some of its module's names stand for something else."""
    its = {**function.__globals__, **values}
    other = types.FunctionType(function.__code__, its, name, function.__defaults__, function.__closure__)
    other.__qualname__, other.__module__ = name, function.__module__
    return other


@functools.cache
def shared(function: Callable, part: Callable | None = None, part_name: str = "") -> Callable:
    """The loop over the items of ``function(args, own, item, zero)``, to be compiled with a pointer as argument.

    ``part`` is what `evaluate`, a name that the function uses, stands for.
    """
    name = f"{function.__module__.rpartition('.')[2]}-{function.__name__}-{part_name}"
    body = compiled(_with_globals(function, name, **({"evaluate": part} if part else {})), inline="always")
    return _with_globals(_shared_loop(_sources()), name, do_item=body)


@compiled
def tile_and_start(item, n):
    """The tile of an item of `LANES` rows, and where it starts in the batch of ``n``."""
    return item * LANES // n, item * LANES % n


numba.njit(_shared_loop(""), cache=True)  # raises where there is no folder for what is compiled
