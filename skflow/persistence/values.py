"""Parameters and fitted attributes as JSON, and back: numbers, text, arrays, and lists of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from . import modules
from .container import DTYPES, MAX_DEPTH, NAMES
from .errors import FileFormatError
from .tensors import Reader, Writer

KIND = "kind"  # the key that every JSON object has
STATE = "state"


class Plain(NamedTuple):
    """How an object of a plain class is kept: what of it, and how it is made again from that.

    ``restored`` raises `FileFormatError`, `TypeError`, `ValueError` or `KeyError` for what makes no such object.
    """

    cls: type
    state: Callable[[Any], dict]
    restored: Callable[[dict], Any]


def _random_state(state):
    key = state["key"]
    if not isinstance(key, np.ndarray) or key.dtype != np.uint32 or key.shape != (624,):
        raise ValueError("the state of the Mersenne Twister has 624 numbers")
    if not 0 <= state["pos"] <= len(key):  # numpy would read behind the end
        raise ValueError("the place in them lies outside")
    made = np.random.RandomState(0)
    made.set_state(("MT19937", key, int(state["pos"]), int(state["has_gauss"]), float(state["gauss"])))
    return made


# The objects that may be kept, by name; classes of the folders above enter themselves.
PLAIN: dict[str, Plain] = {
    "RandomState": Plain(
        np.random.RandomState,
        lambda rng: dict(zip(("key", "pos", "has_gauss", "gauss"), rng.get_state()[1:])),
        _random_state,
    )
}


def encoded(value: Any, to: Writer, what: str) -> Any:
    """``value`` in JSON; its arrays and tensors go to the writer.

    Raises
    ------
    TypeError
        Names ``what`` can't be kept.
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {KIND: "float", "value": str(value)}
    if isinstance(value, np.generic):
        return {KIND: "number", "of": _encoded_array(np.asarray(value), to, what)}
    if isinstance(value, np.ndarray):
        return _encoded_array(value, to, what)
    if type(value) is list:
        return [encoded(item, to, what) for item in value]
    if type(value) is tuple:
        return {KIND: "tuple", "items": [encoded(item, to, what) for item in value]}
    if type(value) is dict:
        return {KIND: "dict", "items": [[encoded(k, to, what), encoded(v, to, what)] for k, v in value.items()]}
    if isinstance(value, nn.Module):
        return {KIND: "module", "of": modules.described(value, to, what)}
    if isinstance(value, torch.Tensor):
        return {KIND: "tensor", "name": to.keep(value, what)}
    for name, plain in PLAIN.items():
        if type(value) is plain.cls:
            return {KIND: name, STATE: encoded(plain.state(value), to, what)}
    raise TypeError(
        f"{what} is or holds a {type(value).__name__}, which can't be kept in a file of tensors and numbers: use "
        "pickle, joblib or cloudpickle, and open such files only where you trust who wrote them."
    )


def _encoded_array(array, to, what):
    if array.dtype.newbyteorder("=") in NAMES:
        return {KIND: "array", "name": to.keep(array, what)}
    if array.dtype.kind in "UO":
        if not all(item is None or isinstance(item, str | bool | int | float | np.generic) for item in array.flat):
            raise TypeError(f"{what} is an array that holds other things than text and numbers; it can't be kept.")
        items = [encoded(item, to, what) for item in array.ravel().tolist()]
        return {KIND: "objects", "dtype": array.dtype.kind, "shape": list(array.shape), "items": items}
    raise TypeError(f"{what} is an array of dtype {array.dtype}, which can't be kept: {list(DTYPES)} can, and text.")


def decoded(value: Any, source: Reader, depth: int = 0) -> Any:
    """The inverse of `encoded`.

    Raises
    ------
    FileFormatError
    """
    if depth > MAX_DEPTH:
        raise FileFormatError("A value of the file is nested too deep.")
    if isinstance(value, list):
        return [decoded(item, source, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise FileFormatError("A number of the file is too large for a float.")
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if not isinstance(kind, str):
        raise FileFormatError("A value of the file does not say of what kind it is.")
    if kind in PLAIN:
        return _decoded_plain(kind, value, source, depth)
    if kind not in KINDS or value.keys() != {KIND, *KINDS[kind][0]}:
        raise FileFormatError(f"A value of the file is of the kind {kind[:50]!r}, which is unknown or incomplete.")
    names, decode = KINDS[kind]
    return decode(*(value[name] for name in names), source, depth + 1)


def _decoded_plain(kind, value, source, depth):
    state = decoded(value.get(STATE), source, depth + 1)
    if not isinstance(state, dict):
        raise FileFormatError(f"A {kind} of the file has no state.")
    try:
        return PLAIN[kind].restored(state)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise FileFormatError(f"A {kind} of the file can't be restored: {error}.") from error


def _float(text, source, depth):
    if text not in ("nan", "inf", "-inf"):
        raise FileFormatError("A float of the file is none.")
    return float(text)


def _number(of, source, depth):
    array = decoded(of, source, depth)
    if not isinstance(array, np.ndarray) or array.shape:
        raise FileFormatError("A number of the file is none.")
    return array[()]


def _objects(dtype, shape, items, source, depth):
    items = decoded(items, source, depth)
    if dtype not in ("U", "O") or not isinstance(items, list) or not isinstance(shape, list):
        raise FileFormatError("An array of objects in the file is none.")
    if not all(type(n) is int and 0 <= n <= len(items) for n in shape) or math.prod(shape) != len(items):
        raise FileFormatError(f"An array of the file claims the shape {str(shape)[:50]} with {len(items)} items.")
    if len(shape) > 8 or any(isinstance(item, list | tuple | dict | np.ndarray | torch.Tensor) for item in items):
        raise FileFormatError("An array of the file holds other things than text and numbers.")
    if dtype == "U":
        if not all(isinstance(item, str) for item in items):
            raise FileFormatError("An array of text in the file holds other things too.")
        if max(map(len, items), default=0) * len(items) > 8 * sum(map(len, items)) + 100_000:
            raise FileFormatError("An array of text in the file would take much more room than the file.")
        return np.array(items, dtype=str).reshape(shape)
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _tuple(items, source, depth):
    if not isinstance(items, list):
        raise FileFormatError("A tuple of the file is none.")
    return tuple(decoded(items, source, depth))


def _dict(items, source, depth):
    pairs = decoded(items, source, depth)
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise FileFormatError("A dict of the file is none.")
    if not all(isinstance(key, str | int | float | bool | None) for key, _ in pairs):
        raise FileFormatError("A dict of the file has keys that are neither text nor numbers.")
    return dict(pairs)


# What a JSON object of each kind holds, in the order in which its reader takes them.
KINDS: Mapping[str, tuple[tuple[str, ...], Callable]] = {
    "float": (("value",), _float),
    "number": (("of",), _number),
    "array": (("name",), lambda name, source, depth: source.array(name)),
    "tensor": (("name",), lambda name, source, depth: source.tensor(name)),
    "objects": (("dtype", "shape", "items"), _objects),
    "tuple": (("items",), _tuple),
    "dict": (("items",), _dict),
    "module": (("of",), lambda of, source, depth: modules.built(of, source)),
}
