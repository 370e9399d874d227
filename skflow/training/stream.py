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
from .data import WHOLE, Batch, Part
from .read_ahead import read_ahead
from .reservoir import places_in_reservoir
from .sampled_density import HeldOut

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
    number : ndarray of shape (m,), int
        Which rows of the stream they are.
    n_rows : int
        Of the whole stream.
    """

    X: np.ndarray
    number: np.ndarray
    n_rows: int

    @classmethod
    def draw(cls, rows: Rows, seed: int) -> Sample:
        """Read the stream once and draw `hp.SAMPLE_ROWS` of its rows."""
        rng, n_rows, capacity = np.random.RandomState(seed), 0, hp.SAMPLE_ROWS
        parts: list[np.ndarray] = []
        number = np.empty(capacity, dtype=np.int64)
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
                number[places] = first + taken
                n_rows += len(X)
        X = np.concatenate(parts) if parts else np.empty((0, 0))
        return cls(X, number[: len(X)], n_rows)


class StreamSource:
    """Batches of a stream on the scale of the network: see `skflow.training.data.TableSource`.

    A thread reads the chunks in random order, and a buffer mixes their rows: whenever it is full, half of its rows are
    drawn for batches. What is left of a pass, less than a batch, waits for another pass.

    Parameters
    ----------
    rows : Rows
    n_rows : int
        Of the stream.
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
        return self.n_rows - len(self.held_out)

    def batches(self, batch_size: int, generator: torch.Generator, part: Part = WHOLE) -> StreamBatches:
        """All rows but those left out, once, in random order, in batches of ``batch_size``: see `Source`."""
        seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
        return StreamBatches(self, min(batch_size, len(self)), seed, part)

    def scaled(self, rng: np.random.RandomState) -> Iterator[Tensor]:
        """The rows of one chunk after another, chunks in random order, as a network sees them."""
        for first, X in self.rows.read(rng):
            rest = np.flatnonzero(~self.held_out.has(X, np.arange(first, first + len(X))))
            if len(rest):
                x = self.dequantisation.spread(X[rest], rng)
                with torch.no_grad():
                    yield torch.cat([self.preprocessing(part)[0].float() for part in x.split(ROWS_AT_A_TIME)])


class StreamBatches:
    """A pass over a `StreamSource`, whose thread ends with it."""

    def __init__(self, source: StreamSource, batch_size: int, seed: int, part: Part):
        self.device, self.part = source.device, part
        self.mixed = _mixed(source, batch_size, seed)

    def __iter__(self) -> StreamBatches:
        return self

    def __next__(self) -> Batch:
        z = next(self.mixed)
        z = z[self.part.of(len(z))].to(self.device)
        return Batch(z, None, z.new_full((len(z),), 1 / max(1, len(z))))

    def skip(self, n: int) -> None:
        """Leave out the next ``n`` batches; they have to be read and mixed all the same."""
        for _ in range(n):
            next(self.mixed)


def _mixed(source: StreamSource, size: int, seed: int) -> Iterator[Tensor]:
    """Rows of one batch after another, through the buffer."""
    generator = torch.Generator().manual_seed(seed)
    full, n_given, n_waiting = max(hp.SHUFFLE_ROWS, 2 * size), 0, 0
    waiting: list[Tensor] = []
    with closing(read_ahead(source.scaled(np.random.RandomState(seed)), CHUNKS_AHEAD)) as chunks:
        for z in chunks:
            waiting.append(z)
            n_waiting += len(z)
            if n_waiting >= full:
                z = _permuted(waiting, generator)
                n_batches = len(z) // 2 // size
                yield from z[: n_batches * size].split(size)
                n_given += n_batches
                waiting = [z[n_batches * size :].clone()]
                n_waiting = len(waiting[0])
    for z in _permuted(waiting, generator).split(size) if waiting else ():
        if len(z) == size or not n_given:
            yield z
            n_given += 1


def _permuted(parts, generator):
    z = torch.cat(parts)
    return z[torch.randperm(len(z), generator=generator)]
