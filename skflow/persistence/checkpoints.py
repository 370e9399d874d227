"""The checkpoint of a fit, and the one before it, as safetensors files from which no code is run."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import torch

from ..utils.user_warnings import warn_user
from ..utils.version import __version__
from .atomic import write_atomically
from .container import packed, parsed, size_of, unpacked
from .errors import FileFormatError

FORMAT = "skflow checkpoint"
FORMAT_VERSION = "1"


class Checkpoint(NamedTuple):
    """What stands in a file: of which fit it is, how far that has come, and arrays by name."""

    fit: dict[str, Any]
    document: dict[str, Any]
    arrays: dict[str, np.ndarray]


class CheckpointFiles:
    """A file, and beside it the one before, whose name ends in ``.previous``.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(os.path.abspath(path))
        self.previous = self.path.with_name(self.path.name + ".previous")

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, as a whole or not at all; the present one becomes the one before."""
        metadata = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "versions": json.dumps(_versions()),
            "fit": json.dumps(checkpoint.fit),
            "document": json.dumps(checkpoint.document, allow_nan=False),
        }
        parts = packed(metadata, checkpoint.arrays)
        if self.path.exists():
            os.replace(self.path, self.previous)
        write_atomically(self.path, parts)

    def read(self) -> list[Checkpoint]:
        """What is there, the latest first; a damaged file is left out, with a warning, where there is another.

        Raises
        ------
        FileFormatError
            Where nothing but damaged files is there, or one is of another version.
        """
        found, damaged = [], None
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                found.append(_read(path))
            except _OtherVersion:
                raise
            except FileFormatError as error:
                damaged = damaged or (path, error)
        if damaged and not found:
            raise FileFormatError(
                f"The checkpoint {str(damaged[0])!r} can't be read, and there is no other. {damaged[1]} Remove it to "
                "begin anew."
            )
        if damaged and damaged[0] == self.path:
            warn_user(f"The checkpoint {str(self.path)!r} can't be read, and the one before it is used. {damaged[1]}")
            os.replace(self.previous, self.path)  # or the next one written would make the damaged one the one before
        return found

    def remove(self) -> None:
        """Remove both files, and what is left of one that was not finished."""
        for path in (self.path, self.previous, *self.path.parent.glob(f".{self.path.name}.*.part")):
            path.unlink(missing_ok=True)


class _OtherVersion(FileFormatError):
    """A checkpoint of another version."""


def _versions():
    return {
        "skflow": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }


def _read(path):
    with open(path, "rb") as file:
        metadata, arrays = unpacked(file, size_of(file))
    if metadata.get("format") != FORMAT:
        raise _OtherVersion(f"{str(path)!r} is no checkpoint of a fit: give 'checkpoint' a path where nothing stands.")
    theirs = {"the format": metadata.get("format_version"), **parsed(metadata.get("versions", ""), "the versions")}
    for name, mine in {"the format": FORMAT_VERSION, **_versions()}.items():
        if theirs.get(name) != mine:
            raise _OtherVersion(
                f"The checkpoint {str(path)!r} was written by another version of {name}, {theirs.get(name)}, and this "
                f"is {mine}: a fit goes on to the same end with the same versions alone. Go on with those, or remove "
                "the file to begin anew."
            )
    fit, document = (parsed(metadata.get(key, ""), f"what it says of the {key}") for key in ("fit", "document"))
    return Checkpoint(fit, document, arrays)
