"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write to in a block, at whose end it takes the place of what stands at ``path``.

    If the block raises, what has been written is removed, and what stands at ``path`` stays.
    """
    path = Path(os.path.realpath(path))  # a link is kept, and what it points to replaced
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else _default_mode())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    _sync_folder(path.parent)


def write_atomically(path: str | os.PathLike, parts: Iterable[bytes | memoryview]) -> None:
    """Write ``parts``, one after the other, to ``path``: a file that stands there is replaced once all are on disk.

    Parameters
    ----------
    path : path-like
    parts : iterable of bytes-like
    """
    with new_file(path) as file:
        for part in parts:
            file.write(part)


def _default_mode():
    """What a file gets that is opened for writing; the temporary one belongs to its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder):
    """The new name is on disk too; only POSIX lets a folder be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
