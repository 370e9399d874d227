"""The safetensors format: the length of a JSON header in 8 bytes, the header, and the bytes of all tensors.

It is written and read here, not by the library of that name, so that every claim of a header is checked before anything
is allocated, and so that a checksum covers it all: a flipped bit in a tensor would load as another model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import FileFormatError

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER = 16_000_000  # bytes
MAX_VALUES = 300_000  # in a header: what Python makes of one takes up to a hundred bytes
MAX_DEPTH = 100  # of lists and objects within each other
MAX_DIMENSIONS = 8
ALIGNMENT = 8  # bytes; the header is filled up with spaces
TORCH_ALIGNMENT = 64  # bytes
METADATA = "__metadata__"
CHECKSUM = "sha256"


class Container(NamedTuple):
    """What is in a file: strings by name, and arrays by name."""

    metadata: dict[str, str]
    arrays: dict[str, np.ndarray]


def packed(metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    """The parts of a file, to be written one after the other.

    Parameters
    ----------
    metadata : mapping of str to str
    arrays : mapping of str to ndarray
        Of the types in `DTYPES`.

    Raises
    ------
    ValueError
        Where the header would be longer than what `unpacked` reads.
    """
    entries, data, start = {}, [], 0
    # By the width of their numbers, so that all lie at multiples of it.
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        array = np.ascontiguousarray(array).reshape(array.shape)  # the former makes a vector of a number
        stop = start + array.nbytes
        entries[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, stop]}
        data.append(memoryview(array.reshape(-1).view(np.uint8)))
        start = stop
    checksum = _checksum(metadata, entries)
    for part in data:
        checksum.update(part)
    text = json.dumps({METADATA: {**metadata, CHECKSUM: checksum.hexdigest()}, **entries}).encode("ascii")
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > MAX_HEADER or _n_values(text) > MAX_VALUES:
        raise ValueError(
            f"All but the tensors would take {len(text)} bytes; at most {MAX_HEADER} can be read back, of {MAX_VALUES} "
            "values. Long lists of numbers are better kept as arrays."
        )
    return [struct.pack("<Q", len(text)), text, *data]


def unpacked(file, size: int) -> Container:
    """Read a file back, every claim of it checked first.

    Parameters
    ----------
    file : binary file
        At its beginning.
    size : int
        Its length in bytes.

    Raises
    ------
    FileFormatError
    """
    length = _header_length(file.read(8), size)
    header = parsed(_all_of(file, length), "the header")
    metadata = _metadata(header)
    entries = {name: entry for name, entry in header.items() if name != METADATA}
    layout = _layout(entries, size - 8 - length)
    claimed = metadata.pop(CHECKSUM, None)
    checksum, arrays = _checksum(metadata, entries), {}
    for name, dtype, shape in layout:
        array = _aligned(shape, dtype)
        view = memoryview(array.reshape(-1).view(np.uint8))
        if file.readinto(view) != len(view):
            raise FileFormatError("The file ends before its last tensor.")
        checksum.update(view)
        arrays[name] = array
    if checksum.hexdigest() != claimed:
        raise FileFormatError("The checksum is wrong: the file has been damaged or edited since it was saved.")
    for name, array in arrays.items():
        if array.dtype == bool and (array.view(np.uint8) > 1).any():
            raise FileFormatError(f"Tensor {name!r} of booleans holds other bytes than 0 and 1.")
    return Container(metadata, arrays)


def parsed(text: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object from ``text``: bounded in length, values and depth, no key twice, no NaN.

    Raises
    ------
    FileFormatError
        Which says of ``what``.
    """
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(text) > MAX_HEADER or _n_values(text) > MAX_VALUES:
        raise FileFormatError(
            f"In the file, {what} has {len(text)} bytes and {_n_values(text)} values; a model has at most {MAX_HEADER} "
            f"and {MAX_VALUES}."
        )
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except FileFormatError:
        raise
    except RecursionError:
        raise FileFormatError(f"In the file, {what} is nested too deep.") from None
    except ValueError as error:  # of JSON, of UTF-8, and of integers of thousands of digits
        raise FileFormatError(f"In the file, {what} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise FileFormatError(f"In the file, {what} is no JSON object.")
    return found


def _n_values(text):
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FileFormatError("A key stands twice in one object of the header.")
    return found


def _no_constant(name):
    raise FileFormatError(f"The header holds {name}, which is no number of JSON.")


def _header_length(prefix, size):
    if len(prefix) < 8:
        raise FileFormatError(f"The file has {size} bytes: it is no safetensors file.")
    (length,) = struct.unpack("<Q", prefix)
    if length > MAX_HEADER:
        raise FileFormatError(f"The header claims {length} bytes; at most {MAX_HEADER} are read.")
    if length > size - 8:
        raise FileFormatError(f"The header claims {length} bytes, but {size - 8} follow: the file is cut off.")
    return length


def _all_of(file, length):
    text = file.read(length)
    if len(text) != length:
        raise FileFormatError("The file ends within its header.")
    return text


def _metadata(header):
    metadata = header.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileFormatError(f"{METADATA} of the header must hold strings by name.")
    return dict(metadata)


def _layout(entries, n_bytes):
    """Name, dtype and shape of every tensor in the order of their bytes, which they fill without gaps."""
    claims = []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise FileFormatError(f"Tensor {name!r} must have a dtype, a shape and data_offsets.")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
            raise FileFormatError(f"Tensor {name!r} is of dtype {str(entry['dtype'])[:20]!r}, not of {list(DTYPES)}.")
        if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:
            raise FileFormatError(f"Tensor {name!r} has a shape or offsets that are no lists of sizes.")
        dtype = DTYPES[entry["dtype"]]
        if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0] or max(shape, default=0) > n_bytes:
            raise FileFormatError(f"Tensor {name!r} of shape {shape} does not fill its bytes {offsets}.")
        claims.append((*offsets, name, dtype, tuple(shape)))
    end = 0
    for start, stop, name, _, _ in sorted(claims, key=lambda claim: claim[:2]):
        if start != end or stop > n_bytes:
            raise FileFormatError(f"The bytes of tensor {name!r} overlap others, leave a gap or end behind the file.")
        end = stop
    if end != n_bytes:
        raise FileFormatError(f"{n_bytes - end} bytes of the file belong to no tensor.")
    return [claim[2:] for claim in sorted(claims, key=lambda claim: claim[:2])]


def _aligned(shape, dtype):
    """An empty array that begins where torch would let it begin: the sums of a product depend on that."""
    n_bytes = math.prod(shape) * dtype.itemsize
    room = np.empty(n_bytes + TORCH_ALIGNMENT, np.uint8)
    start = -room.ctypes.data % TORCH_ALIGNMENT
    return room[start : start + n_bytes].view(dtype).reshape(shape)


def _are_sizes(values):
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)


def _checksum(metadata, entries):
    """Of everything in a header but the sum itself; the bytes of the tensors follow."""
    return hashlib.sha256(json.dumps([metadata, entries], sort_keys=True).encode("utf-8"))


def size_of(file) -> int:
    """Length of an open file in bytes."""
    return os.fstat(file.fileno()).st_size
