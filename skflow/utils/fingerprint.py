"""Whether two tables, in two processes or at two times, are the same: a hash of their content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .frames import columns, is_frame


def fingerprint(*tables: Any) -> str:
    """A hash of the content of arrays, frames, lists or None, in hexadecimal.

    Parameters
    ----------
    tables : array-like, frame or None
        Names and types of columns count, too; an index does not.

    Examples
    --------
    >>> import numpy as np
    >>> from skflow.utils.fingerprint import fingerprint
    >>> X = np.eye(3)
    >>> fingerprint(X) == fingerprint(X.copy()), fingerprint(X) == fingerprint(X, [1, 2, 3])
    (True, False)
    """
    found = hashlib.blake2b(digest_size=16)
    for table in tables:
        if is_frame(table):
            for name, values in columns(table):
                found.update(repr((name, str(getattr(values, "dtype", getattr(values, "type", ""))))).encode())
                _add(found, np.asarray(values))
        else:
            _add(found, np.asarray(table))
    return found.hexdigest()


def _add(found, array):
    found.update(repr((array.dtype.str, array.shape)).encode())
    if array.dtype.hasobject:
        found.update(repr(array.tolist()).encode("utf-8", "surrogatepass"))
    else:
        found.update(memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8)))
