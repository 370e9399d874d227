"""The loop that threads share: each takes the next item of work until none is left."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable
from pathlib import Path

import numba

from ..blocks import QUEUE
from ..tiles import LANES
from .memory import address_of, integer_at, take_next, zero_of

compiled = functools.partial(numba.njit, nogil=True, error_model="numpy")


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
        slot = take_next(args + 8 * QUEUE.next_slot)
        own = integer_at(args, QUEUE.workspace) + slot * integer_at(args, QUEUE.workspace_bytes)
        while True:
            item = take_next(args + 8 * QUEUE.next_item)
            if item >= integer_at(args, QUEUE.n_items):
                break
            do_item(args, own, item, zero)

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
    body = compiled(_with_globals(function, name, **({"evaluate": part} if part else {})))
    return _with_globals(_shared_loop(_sources()), name, do_item=body)


@compiled
def tile_and_start(item, n):
    """The tile of an item of `LANES` rows, and where it starts in the batch of ``n``."""
    return item * LANES // n, item * LANES % n


numba.njit(_shared_loop(""), cache=True)  # raises where there is no folder for what is compiled
