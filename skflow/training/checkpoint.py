"""Checkpoints: a fit is a sequence of runs, and of each is kept how far it has come."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from . import hyperparameters as hp

Arrays = dict[str, np.ndarray]


class Stateful(Protocol):
    """A run, as far as its checkpoint goes."""

    def state(self, *, with_tensors: bool) -> tuple[dict, Arrays]:
        """How far it has come, in plain values and arrays."""


class Storage(ABC):
    """Where checkpoints are kept."""

    @abstractmethod
    def write(self, document: dict[str, Any], arrays: Arrays) -> None:
        """Keep plain values and arrays by name, as a whole or not at all."""


class Journal:
    """The runs of a fit in the order in which it makes them, and how far each has come.

    What a fit does between its runs follows from its table, its parameters and its seed: a fit that was killed does
    that again, makes the same runs, and each goes on from the state of its predecessor at its place in the sequence.

    Parameters
    ----------
    storage : Storage or None
        None keeps nothing.
    runs : list of dict
        What has been kept of the runs of an earlier fit, by `Run.state`.
    arrays : dict of str to ndarray
        Theirs.
    n_steps : int
        How many steps have been made of this fit: a checkpoint is known by that, since the same step leads to the same
        state.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        runs: list[dict] | None = None,
        arrays: Arrays | None = None,
        n_steps: int = 0,
    ):
        self.storage = storage
        self.n_steps = n_steps
        self.interrupted = False
        self._earlier = [(run, _of_run(arrays or {}, k)) for k, run in enumerate(runs or [])]
        self._runs: list[Stateful | tuple[dict, Arrays]] = []
        self._next = time.monotonic() + hp.CHECKPOINT_SECONDS

    def enter(self, run: Stateful) -> tuple[dict, Arrays] | None:
        """Note a new run; the state of the one in its place before, if there was one."""
        k = len(self._runs)
        if self.storage is not None:
            self._runs.append(run)
        return self._earlier[k] if k < len(self._earlier) else None

    def close(self, run: Stateful, *, trained: bool) -> None:
        """Note that a run is at an end; of one that is not ``trained`` nobody will ask for its tensors."""
        if run in self._runs:
            self._runs[self._runs.index(run)] = run.state(with_tensors=trained)

    def interrupt(self) -> None:
        """Note that the fit ends before its time, and may be gone on with."""
        self.interrupted = self.storage is not None

    def step(self) -> bool:
        """Count a step; whether it is time for another checkpoint."""
        if self.storage is None:
            return False
        self.n_steps += 1
        return time.monotonic() >= self._next

    def write(self) -> None:
        """Keep the state of all runs."""
        started = time.monotonic()
        states = [run if isinstance(run, tuple) else run.state(with_tensors=True) for run in self._runs]
        arrays = {f"{k}.{name}": value for k, (_, own) in enumerate(states) for name, value in own.items()}
        self.storage.write({"n_steps": self.n_steps, "runs": [document for document, _ in states]}, arrays)
        now = time.monotonic()
        self._next = now + max(hp.CHECKPOINT_SECONDS, (now - started) / hp.CHECKPOINT_SHARE)


def _of_run(arrays, k):
    start = f"{k}."
    return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}


_NOTHING = Journal()
_CURRENT: ContextVar[Journal] = ContextVar("journal of the fit", default=_NOTHING)


def current() -> Journal:
    """The journal of the fit that this call is made in."""
    return _CURRENT.get()


@contextlib.contextmanager
def kept_in(journal: Journal) -> Iterator[None]:
    """A block whose runs are kept in a journal."""
    before = _CURRENT.set(journal)
    try:
        yield
    finally:
        _CURRENT.reset(before)
