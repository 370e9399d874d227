"""Tables longer than memory: a sample of the rows that decides, and a source that trains on all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..preprocessing.dequantisation import Dequantisation
from . import hyperparameters as hp
from .data import Batch
from .read_ahead import read_ahead
from .reservoir import places_in_reservoir

CHUNKS_AHEAD = 2
ROWS_AT_A_TIME = 2048


class Rows(ABC):
    """A table that is read in chunks, as often as is asked."""

    @abstractmethod
    def read(self, rng: np.random.RandomState | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Number of the first row, and rows (n, d), of every chunk; in random order where ``rng`` is given."""


@dataclass(frozen=True)
class Sample:
    """Rows of a stream, every one equally likely to be among them; of a short stream all, in their order.

    Attributes
    ----------
    X : ndarray of shape (m, d)
    numbers : ndarray of shape (m,), int
        Which rows of the stream they are.
    n_rows : int
        Of the whole stream.
    """

    X: np.ndarray
    numbers: np.ndarray
    n_rows: int

    @classmethod
    def draw(cls, rows: Rows, seed: int) -> Sample:
        """Read the stream once and draw `hp.SAMPLE_ROWS` of its rows."""
        rng, n_rows, capacity = np.random.RandomState(seed), 0, hp.SAMPLE_ROWS
        parts: list[np.ndarray] = []
        numbers = np.empty(capacity, dtype=np.int64)
        with closing(read_ahead(rows.read(), CHUNKS_AHEAD)) as chunks:
            for first, X in chunks:
                taken, places = places_in_reservoir(rng, n_rows, len(X), capacity)
                n_first = min(len(X), max(0, capacity - n_rows))
                if n_first:
                    parts.append(X[:n_first].copy())
                if n_rows + len(X) >= capacity and len(parts) > 1:
                    parts = [np.concatenate(parts)]
                if n_first < len(taken):
                    parts[0][places[n_first:]] = X[taken[n_first:]]
                numbers[places] = first + taken
                n_rows += len(X)
        X = np.concatenate(parts) if parts else np.empty((0, 0))
        return cls(X, numbers[: len(X)], n_rows)


class HeldOut:
    """Rows that a stream is to leave out, and their copies with them.

    Where the rows of the sample agree by chance, as those of a few categories do, a copy is a row of its own.

    Parameters
    ----------
    sample : Sample
    rows : ndarray of int
        Which rows of the sample.
    n_groups : int
        How many groups of copies the rows of the sample form.
    """

    def __init__(self, sample: Sample, rows: np.ndarray, n_groups: int):
        keys = row_hashes(sample.X)
        self.by_value = len(np.unique(keys)) >= n_groups
        self.keys = np.sort((keys if self.by_value else sample.numbers.astype(np.uint64))[rows])

    def __len__(self) -> int:
        return len(self.keys)

    def rest(self, first: int, X: np.ndarray) -> np.ndarray:
        """The rows of a chunk that are not left out, by their number in the chunk."""
        if not len(self.keys):
            return np.arange(len(X))
        keys = row_hashes(X) if self.by_value else np.arange(first, first + len(X), dtype=np.uint64)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.flatnonzero(self.keys[places] != keys)


def row_hashes(X: np.ndarray) -> np.ndarray:
    """A number of 64 bits for every row, the same for rows that agree in every column; shape (n,)."""
    out = np.zeros(len(X), dtype=np.uint64)
    for column in X.T:
        out ^= (column.astype(np.float64) + 0.0).view(np.uint64)  # minus zero is zero
        out *= np.uint64(0x9E3779B97F4A7C15)
        out ^= out >> np.uint64(32)
    return out


class StreamSource:
    """Batches of a stream on the scale of the network: see `skflow.training.data.TableSource`.

    A thread reads the chunks in random order, and a buffer mixes their rows: whenever it is full, half of its rows are
    drawn for batches. What is left of a pass, less than a batch, waits for another pass.

    Parameters
    ----------
    rows : Rows
    n_rows : int
        About how many rows a pass has.
    held_out : HeldOut
        Rows to leave out.
    dequantisation : Dequantisation
    preprocessing : Bijection
        In double precision.
    device : torch.device
    log_abs_det : float
        What the mean log-density lacks to data units.
    """

    def __init__(
        self,
        rows: Rows,
        n_rows: int,
        held_out: HeldOut,
        dequantisation: Dequantisation,
        preprocessing: Bijection,
        device: torch.device,
        log_abs_det: float,
    ):
        self.rows = rows
        self.n_rows = n_rows
        self.held_out = held_out
        self.dequantisation = dequantisation
        self.preprocessing = preprocessing
        self.device = device
        self.log_abs_det = log_abs_det

    def __len__(self) -> int:
        return self.n_rows

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All rows but those left out, once, in random order, in batches of ``batch_size``."""
        rng = np.random.RandomState(int(torch.randint(2**31 - 1, (1,), generator=generator)))
        batch_size = min(batch_size, len(self))
        full, n_given, waiting, n_waiting = max(hp.SHUFFLE_ROWS, 2 * batch_size), 0, [], 0
        with closing(read_ahead(self._scaled(rng), CHUNKS_AHEAD)) as chunks:
            for z in chunks:
                waiting.append(z)
                n_waiting += len(z)
                if n_waiting >= full:
                    z = _permuted(waiting, generator)
                    n_batches = len(z) // 2 // batch_size
                    for part in z[: n_batches * batch_size].split(batch_size):
                        yield self._batch(part)
                    n_given += n_batches
                    waiting = [z[n_batches * batch_size :].clone()]
                    n_waiting = len(waiting[0])
        z = _permuted(waiting, generator)
        for part in z.split(batch_size):
            if len(part) == batch_size or not n_given:
                yield self._batch(part)
                n_given += 1

    def _batch(self, z):
        z = z.to(self.device)
        return Batch(z, None, z.new_full((len(z),), 1 / len(z)))

    def _scaled(self, rng) -> Iterator[Tensor]:
        for first, X in self.rows.read(rng):
            rest = self.held_out.rest(first, X)
            if len(rest):
                x = self.dequantisation.spread(X[rest], rng)
                with torch.no_grad():
                    yield torch.cat([self.preprocessing(part)[0].float() for part in x.split(ROWS_AT_A_TIME)])


def _permuted(parts, generator):
    z = torch.cat(parts)
    return z[torch.randperm(len(z), generator=generator)]
