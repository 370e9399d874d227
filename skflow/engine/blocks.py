"""The blocks of integers that cross into compiled loops, declared once, by name, for both sides.

A block is a named tuple of the places of its fields: loops read ``integer_at(args, NETWORK.n_rows)``, and `pack` writes
the fields by the same names. A slip in either is an error of its own, not a wrong address.
"""

from __future__ import annotations

from collections import namedtuple

from torch import Tensor

ITEM_UNITS = 8  # of an item of work, where units of a layer are shared out and not rows
COUNTER_BYTES = 64  # from one thread's counter to the next: a cache line each
# What every call begins with: the number of items of work, how many threads take part, the address of what tells a
# thread its number, a counter for each of what has been taken of its part, and room for each to work in.
QUEUE_FIELDS = ("n_items", "n_threads", "thread_number", "counters", "workspace", "workspace_bytes")


def _block(name, *fields):
    return namedtuple(name, fields)(*range(len(fields)))


def _call(name, *fields):
    return _block(name, *QUEUE_FIELDS, *fields)


QUEUE = _call("Queue")
# Values (t, d, n), parameters (t, d, n_params, n) and what is kept of them (t, d, n_kept, n).
UNIVARIATE = _call(
    "Univariate", "d", "n", "n_params", "n_kept", "constants",
    "values", "params", "result", "log_det", "kept", "grad_result", "grad_log_det", "grad_values", "grad_params",
)  # fmt: skip
NETWORK = _call("Network", "n_tiles", "n_rows", "n_layers", "source", "source_tile")
LAYER = _block(
    "Layer", "affine", "mask", "used", "turned", "n_out", "n_in", "n_seen", "first_seen",
    "input", "output", "grad_output", "grad_input", "grad",
)  # fmt: skip
SEQUENTIAL = _call(
    "Sequential", "n_rows", "n_layers", "n_features", "n_context", "n_params", "n_work", "constants",
    "z", "context", "x", "log_det",
)  # fmt: skip
SEQUENTIAL_LAYER = _block("SequentialLayer", "used", "n_in", "n_seen", "starts")


def address(memory: Tensor | None) -> int:
    """Of a tensor; zero for none."""
    return 0 if memory is None else memory.data_ptr()


def pack(block: tuple[int, ...], **values: int | Tensor | None) -> list[int]:
    """The integers of a block, every field of which has to be told; of tensors the addresses."""
    fields = type(block)(**values)
    return [value if isinstance(value, int) else address(value) for value in fields]
