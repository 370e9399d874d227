"""A fit that can be killed: of which table and parameters a checkpoint is, and where the fit goes on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..persistence.checkpoints import Checkpoint, CheckpointFiles
from ..training import checkpoint, distributed
from ..training.checkpoint import Arrays, Journal, Storage
from ..utils.fingerprint import fingerprint
from ..utils.user_warnings import warn_user
from .validation import make_seed

LEFT_OUT = {"checkpoint", "verbose", "random_state"}  # of the parameters: the fit is the same whatever they are


@contextlib.contextmanager
def seeded(estimator, *tables: Any, resumable: bool = True) -> Iterator[int]:
    """A block that makes one fit, with its seed, which goes on from a checkpoint where there is one.

    All processes of a fit have the same seed and go on from the same checkpoint. A fit that comes to its end leaves no
    file behind; one that is interrupted does.

    Parameters
    ----------
    estimator : BaseFlow
    tables : array-like or None
        What it is fitted to, as it has been validated.
    resumable : bool, default=True
        Whether the estimator's ``checkpoint`` is minded.

    Raises
    ------
    ValueError
        For a checkpoint of another table, or of other parameters, which are named.
    """
    processes = distributed.current()
    seed = processes.first(make_seed(estimator.random_state))
    if estimator.checkpoint is None or not resumable:
        yield seed
        return
    rank, size = processes.part
    path = os.fspath(estimator.checkpoint)
    files = CheckpointFiles(path if processes.alone else f"{path}.{rank}")
    fit = _described(estimator, tables, rank, size)
    found = _common(files.read(), processes)
    if found is None:
        journal = Journal(_Files(files, {**fit, "seed": seed}))
    else:
        _check_same(files, found.fit, fit, seed, estimator.random_state)
        seed, document = found.fit["seed"], found.document
        storage = _Files(files, found.fit)
        journal = Journal(storage, document["runs"], found.arrays, document["n_steps"])
    with checkpoint.kept_in(journal):
        yield seed
    if journal.interrupted:
        return
    processes.sum()  # or one might have no file any more when another still needs its own
    files.remove()


class _Files(Storage):
    def __init__(self, files: CheckpointFiles, fit: dict[str, Any]):
        self.files = files
        self.fit = fit

    def write(self, document: dict[str, Any], arrays: Arrays) -> None:
        self.files.write(Checkpoint(self.fit, document, arrays))


def _common(found, processes):
    """The latest checkpoint that all processes have; they write them after the same step, but one may be killed."""
    latest = {one.document["n_steps"]: one for one in reversed(found)}
    of_all = [set(numbers) for numbers in processes.gather(list(latest))]
    common = set.intersection(*of_all)
    if not common and any(of_all):
        warn_user(
            "Some processes of the fit have a checkpoint and others have none, or one of another time: the fit begins "
            "anew. Start them with the same ranks, where they find their files."
        )
    return latest[max(common)] if common else None


def _described(estimator, tables, rank, size):
    """What has to be the same for a fit to go on."""
    values = {k: v for k, v in estimator.get_params(deep=False).items() if k not in LEFT_OUT}
    return {
        "estimator": type(estimator).__name__,
        "parameters": {key: _shown(value) for key, value in values.items()},
        "table": fingerprint(*tables),
        "process": [rank, size],
    }


def _shown(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if callable(value):
        value = getattr(value, "__qualname__", type(value).__qualname__)
    return repr(value)


def _check_same(files, theirs, mine, seed, random_state):
    differ = [
        f"{key}={theirs['parameters'].get(key)} then and {value} now"
        for key, value in mine["parameters"].items()
        if theirs["parameters"].get(key) != value
    ]
    if theirs["estimator"] != mine["estimator"]:
        differ.append(f"a {theirs['estimator']} then and a {mine['estimator']} now")
    if random_state is not None and seed != theirs["seed"]:
        differ.append("another random_state")
    if theirs["process"] != mine["process"]:
        (rank, size), (now, n_now) = theirs["process"], mine["process"]
        differ.append(f"rank {rank} of {size} processes then and rank {now} of {n_now} now")
    if theirs["table"] != mine["table"]:
        differ.append("another table (rows, weights, groups or targets)")
    if differ:
        raise ValueError(
            f"The checkpoint {str(files.path)!r} is of another fit: {'; '.join(differ)}. Fit with the same to go on, "
            "remove the file to begin anew, or give 'checkpoint' another path."
        )
