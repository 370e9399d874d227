"""`save` and `load`: an estimator in one safetensors file, from which no code is ever run."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
import torch

from ..utils.global_settings import shield
from ..utils.version import __version__
from .atomic import write_atomically
from .container import Container, packed, parsed, size_of, unpacked
from .documents import document_of, estimator_of
from .errors import FileFormatError
from .tensors import Reader, Writer

FORMAT = "skflow"
FORMAT_VERSION = 1  # the one that is written; all up to it are read


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write an estimator, fitted or not, to a safetensors file.

    Parameters
    ----------
    estimator : estimator of skflow
    path : path-like
        By custom with the ending ``.safetensors``. A file that stands there is replaced, once the new one is complete.

    Raises
    ------
    TypeError
        Where something of the estimator, which is named, can't be kept without pickle.
    """
    write_atomically(path, _parts(estimator))


def to_bytes(estimator: Any) -> bytes:
    """What `save` writes."""
    return b"".join(_parts(estimator))


def _parts(estimator):
    to = Writer()
    document = document_of(estimator, to)
    versions = {
        "skflow": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "versions": json.dumps(versions),
        "estimator": json.dumps(document, allow_nan=False),
    }
    return packed(metadata, to.arrays)


@shield()
def load(path: str | os.PathLike, flow: Callable | None = None) -> Any:
    """Read an estimator from a file that ``estimator.save(path)`` wrote.

    Only skflow's own estimators and torch modules are built, after everything in the file has been checked; no code of
    the file is run, whoever wrote it. What the estimator answers is equal, bit for bit, to what the saved one would.

    Parameters
    ----------
    path : path-like
    flow : callable, optional
        The estimator's parameter of that name, where it was no name: code is not saved.

    Returns
    -------
    estimator : FlowDensity, FlowOutlierDetector or another estimator of skflow

    Raises
    ------
    skflow.persistence.FileFormatError
        Says what is wrong with the file.
    OSError
        Where there is no such file, or it can't be read.

    Examples
    --------
    >>> import numpy as np, tempfile, skflow
    >>> X = np.random.RandomState(0).randn(100, 2)
    >>> density = skflow.FlowDensity(max_iter=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     density.save(f"{folder}/density.safetensors")
    ...     loaded = skflow.load(f"{folder}/density.safetensors")
    >>> bool((loaded.score_samples(X) == density.score_samples(X)).all())
    True
    """
    with open(path, "rb") as file:
        return _estimator(unpacked(file, size_of(file)), flow)


@shield()
def from_bytes(content: bytes) -> Any:
    """The inverse of `to_bytes`; see `load`."""
    return _estimator(unpacked(io.BytesIO(content), len(content)), None)


def _estimator(container: Container, flow):
    metadata = container.metadata
    if metadata.get("format") != FORMAT:
        raise FileFormatError("The file is a safetensors file, but not of an estimator of skflow.")
    version = metadata.get("format_version", "")
    if not version.isascii() or not version.isdigit() or len(version) > 9:
        raise FileFormatError("The file does not say of what version its format is.")
    if int(version) > FORMAT_VERSION:
        raise FileFormatError(
            f"The file is of format {version}; this version of skflow, {__version__}, reads formats up to "
            f"{FORMAT_VERSION}. Upgrade skflow."
        )
    document = parsed(metadata.get("estimator", ""), "the document of the estimator")
    return estimator_of(document, Reader(container.arrays), flow)
