"""Mutated files: of the bytes alone, and edits behind which the checksum has been made right again."""

import hashlib
import json
import struct

import numpy as np

from skflow.persistence.modules import RULES

HOSTILE = [
    None,
    True,
    -1,
    0,
    2,
    1000,
    2**50,
    2**62,
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "nan",
    "os.system",
    "skflow.flows.Flow",
    "\ud800",
    "x" * 5000,
    [],
    [1, 2],
    [[[0]]],
    {},
    {"kind": "module"},
    {"kind": "float", "value": "inf"},
    {"kind": "tuple", "items": [1]},
    {"kind": "os.system", "state": {}},
    {"kind": "RandomState", "state": {"kind": "dict", "items": []}},
    {"kind": "objects", "dtype": "U", "shape": [10**9], "items": []},
]
KEYS = ["__class__", "__reduce__", "__dict__", "score_samples", "flow", "kind", "name", "posix.system", ""]


def split(content):
    """Header and data."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    """A file of them; the checksum stays as it is."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def document(header):
    return json.loads(header["__metadata__"]["estimator"])


def sealed(header, data, edited=None):
    """A file whose checksum is right, whatever is in it."""
    metadata = {key: value for key, value in header["__metadata__"].items() if key != "sha256"}
    if edited is not None:
        metadata["estimator"] = edited if isinstance(edited, str) else json.dumps(edited)
    entries = {key: value for key, value in header.items() if key != "__metadata__"}
    checksum = hashlib.sha256(json.dumps([metadata, entries], sort_keys=True).encode() + data).hexdigest()
    return joined({"__metadata__": {**metadata, "sha256": checksum}, **entries}, data)


def places(tree):
    """Every container of a JSON value, with each of its keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield tree, key
        yield from places(child)


def _pick(rng, values):
    return values[rng.randint(len(values))]


def flipped(rng, content):
    """One to eight bits."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 9)):
        out[rng.randint(len(out))] ^= 1 << rng.randint(8)
    return bytes(out)


def flipped_in_header(rng, content):
    out = bytearray(content)
    (length,) = struct.unpack("<Q", content[:8])
    out[rng.randint(8 + length)] = rng.randint(256)
    return bytes(out)


def truncated(rng, content):
    return content[: rng.randint(len(content))]


def lengthened(rng, content):
    return content + rng.bytes(rng.randint(1, 100))


def spliced(rng, content):
    """A part of the file over another one."""
    a, b = rng.randint(len(content), size=2)
    n = rng.randint(1, 200)
    return content[:a] + content[b : b + n] + content[a + n :]


def another_length(rng, content):
    return struct.pack("<Q", int(_pick(rng, [0, 1, 100, len(content), 2**31, 2**50, 2**63, 2**64 - 1]))) + content[8:]


def swapped(rng, content):
    """The names of two tensors."""
    header, data = split(content)
    names = [name for name in header if name != "__metadata__"]
    a, b = _pick(rng, names), _pick(rng, names)
    header[a], header[b] = header[b], header[a]
    return _maybe_sealed(rng, header, data)


def claimed(rng, content):
    """Shapes, dtypes and places that are not those of the bytes."""
    header, data = split(content)
    entry = header[_pick(rng, [name for name in header if name != "__metadata__"])]
    size = int(_pick(rng, [0, -1, 10**15, 2**61, 2**64, len(data)]))
    what = rng.randint(5)
    if what == 0:
        entry["shape"] = _pick(rng, [[size], [size, 0], [1] * 1000, [2**32, 2**32], [1.0], "x", None])
    elif what == 1:
        entry["data_offsets"] = _pick(rng, [[0, size], [size, size], [5, 1], [0], None])
    elif what == 2:
        entry["dtype"] = _pick(rng, ["F32", "F64", "I64", "I32", "BOOL", "F8_E4M3", "object", None, 8])
    elif what == 3:
        entry["shape"], entry["data_offsets"] = [size], [0, 8 * size]
    else:
        entry["dtype"], entry["shape"] = "U8", [entry["data_offsets"][1] - entry["data_offsets"][0]]
    return _maybe_sealed(rng, header, data)


def other_numbers(rng, content):
    """Numbers of one tensor that no fit could have left."""
    header, data = split(content)
    entry = header[_pick(rng, [name for name in header if name != "__metadata__"])]
    start, stop = entry["data_offsets"]
    kind = {"F64": "f8", "F32": "f4", "I64": "i8"}.get(entry["dtype"], "u1")
    numbers = np.frombuffer(data[start:stop], dtype=kind).copy()
    if len(numbers):
        odd = [np.nan, np.inf, -np.inf, 1e300, 0.0, -1.0] if kind[0] == "f" else [0, 1, 77, 255]
        with np.errstate(over="ignore"):
            numbers[rng.randint(len(numbers))] = np.array(_pick(rng, odd)).astype(kind)
    return sealed(header, data[:start] + numbers.tobytes() + data[stop:])


def edited(rng, content):
    """Values of the document, one to three of them."""
    header, data = split(content)
    tree = document(header)
    for _ in range(rng.randint(1, 4)):
        holder, key = _pick(rng, list(places(tree)))
        holder[key] = _pick(rng, HOSTILE)
    return sealed(header, data, tree)


def renamed(rng, content):
    """Keys of the document."""
    header, data = split(content)
    tree = document(header)
    holder, key = _pick(rng, [(holder, key) for holder, key in places(tree) if isinstance(holder, dict)])
    value = holder.pop(key)
    if rng.rand() < 0.8:
        holder[_pick(rng, [*KEYS, *(k for _, k in places(tree) if isinstance(k, str))])] = value
    return sealed(header, data, tree)


def of_another_class(rng, content):
    """Names that are those of other classes, or leave the registry."""
    header, data = split(content)
    tree = document(header)
    holder, key = _pick(rng, [(holder, key) for holder, key in places(tree) if key == "class"])
    names = [
        *RULES,
        "Affine",
        "RationalQuadraticSpline",
        "FlowOutlierDetector",
        "os.system",
        "Module",
        "__main__.X",
        "",
    ]
    holder[key] = _pick(rng, names)
    return sealed(header, data, tree)


def moved(rng, content):
    """One part of the document in the place of another."""
    header, data = split(content)
    tree = document(header)
    some = list(places(tree))
    (holder, key), (other, name) = _pick(rng, some), _pick(rng, some)
    holder[key] = json.loads(json.dumps(other[name]))
    return sealed(header, data, tree)


def nested(rng, content):
    """Lists and objects ten thousand deep."""
    header, data = split(content)
    open_, close = _pick(rng, [("[", "]"), ('{"a":', "}"), ('{"kind":"tuple","items":[', "]}")])
    deep = open_ * 10_000 + "1" + close * 10_000
    text = header["__metadata__"]["estimator"]
    if rng.rand() < 0.5:
        return sealed(header, data, text.replace("null", deep, 1))
    raw = json.dumps(header)[:-1] + f', "deep": {deep}}}'
    return struct.pack("<Q", len(raw)) + raw.encode() + data


def doubled(rng, content):
    """One key twice."""
    header, data = split(content)
    if rng.rand() < 0.5:
        text = header["__metadata__"]["estimator"]
        return sealed(header, data, text[:-1] + ', "class": "FlowDensity"}')
    raw = (json.dumps(header)[:-1] + ', "__metadata__": {}}').encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _maybe_sealed(rng, header, data):
    return sealed(header, data) if rng.rand() < 0.8 else joined(header, data)


MUTATIONS = [
    flipped,
    flipped_in_header,
    truncated,
    lengthened,
    spliced,
    another_length,
    swapped,
    claimed,
    other_numbers,
    edited,
    renamed,
    of_another_class,
    moved,
    nested,
    doubled,
]
BY_BYTES = MUTATIONS[:6]  # these leave the checksum as it is: the model is refused or the same
