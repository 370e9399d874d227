"""Tables that come in chunks: files of Parquet, datasets of Arrow, and what gives frames or arrays anew when asked."""

from __future__ import annotations

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from .frames import is_frame

ROWS_AT_A_TIME = 65_536  # of a file or a table; chunks that the user makes stay as they are


class Chunks(ABC):
    """A table in chunks, read as often as is asked.

    A chunk comes with the number of its first row in the table as it stands, and with the name of where it is from.

    Attributes
    ----------
    n_rows : int or None
        Of the whole table, where that is known without reading it.
    """

    n_rows: int | None = None

    @abstractmethod
    def read(self, rng: np.random.RandomState | None = None) -> Iterator[tuple[int, str, Any]]:
        """Number of the first row, origin, and rows of every chunk; in random order where ``rng`` is given."""


class ChunksInTurn(Chunks):
    """The chunks of any iterable, always in its own order."""

    def __init__(self, source: Iterable):
        self.source = source

    def read(self, rng=None):
        first = 0
        for k, chunk in enumerate(self.source):
            yield first, f"chunk {k}", chunk
            first += len(chunk)


class SequenceOfChunks(Chunks):
    """Chunks that can be had by their number."""

    def __init__(self, source: Sequence):
        self.source = source
        self.first: np.ndarray | None = None  # rows, once the chunks have been seen in order

    def read(self, rng=None):
        if rng is not None and self.first is not None:
            for k in rng.permutation(len(self.source)):
                yield int(self.first[k]), f"chunk {k}", self.source[int(k)]
            return
        firsts, first = [], 0
        for k in range(len(self.source)):
            chunk = self.source[k]
            firsts.append(first)
            yield first, f"chunk {k}", chunk
            first += len(chunk)
        self.first = np.array(firsts)


class RowsInChunks(Chunks):
    """A frame or array in memory, some rows at a time."""

    def __init__(self, table):
        self.table = table
        self.n_rows = len(table)

    def read(self, rng=None):
        starts = np.arange(0, len(self.table), ROWS_AT_A_TIME)
        for first in (starts if rng is None else rng.permutation(starts)).tolist():
            stop = first + ROWS_AT_A_TIME
            rows = self.table.iloc if hasattr(self.table, "iloc") else self.table
            yield first, "the table", rows[first:stop]


class DatasetChunks(Chunks):
    """A `pyarrow.dataset.Dataset`: row groups of Parquet, whole fragments of other formats."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.pieces, self.n_rows = self._pieces()

    def _pieces(self):
        """Fragment, its name and the number of its first row, of every row group; and the number of all rows."""
        try:
            fragments = list(self.dataset.get_fragments())
        except ValueError as error:
            raise ValueError(
                f"The dataset has been filtered or projected, and can't be read in random order ({error}): write it to "
                "Parquet first, or pass the one without the filter."
            ) from error
        pieces, first = [], 0
        for k, fragment in enumerate(fragments):
            name = getattr(fragment, "path", None) or f"fragment {k}"
            self._check_columns(fragment, fragments[0], name)
            n_before = first
            split = getattr(fragment, "split_by_row_group", None)
            for part in split() if split else [fragment]:
                pieces.append((part, name, first))
                first += sum(group.num_rows for group in part.row_groups) if split else part.count_rows()
            if first == n_before:
                raise ValueError(f"{name} has no rows: remove it from what is read.")
        return pieces, first

    def _check_columns(self, fragment, first, name):
        from pyarrow.dataset import get_partition_keys

        found = fragment.physical_schema.names
        derived = get_partition_keys(fragment.partition_expression)  # columns that stand in the names of folders
        for column in self.dataset.schema.names:
            if column not in found and column not in derived:
                raise ValueError(f"{name} has no column {column!r}, but other files have: give all the same columns.")
        for column in found:
            if column not in first.physical_schema.names:  # what the first has too, the schema leaves out on purpose
                raise ValueError(f"{name} has a column {column!r}, but other files don't: give all the same columns.")

    def read(self, rng=None):
        import pyarrow as pa

        order = range(len(self.pieces)) if rng is None else rng.permutation(len(self.pieces))
        for k in order:
            fragment, name, first = self.pieces[k]
            for batch in fragment.to_batches(self.dataset.schema, batch_size=ROWS_AT_A_TIME, use_threads=False):
                if batch.num_rows:
                    yield first, name, pa.Table.from_batches([batch])
                    first += batch.num_rows


def as_chunks(X) -> Chunks | None:
    """The chunks of what is no table in memory; None for a table, and for what is nothing of both.

    Parameters
    ----------
    X : path-like, str, pyarrow.dataset.Dataset or iterable of frames or arrays
        A path of a Parquet file or of a folder of such, a pattern such as "year=2024/*.parquet", or a URL.

    Raises
    ------
    FileNotFoundError
        Where no file matches a path.
    """
    if isinstance(X, str | os.PathLike):
        return DatasetChunks(_dataset_of_files(os.fspath(X)))
    if type(X).__module__.startswith("pyarrow._dataset"):
        return DatasetChunks(X)
    if isinstance(X, Iterator) or not _gives_chunks(X):
        return None
    by_number = hasattr(X, "__getitem__") and hasattr(X, "__len__")
    return SequenceOfChunks(X) if by_number else ChunksInTurn(X)


def _gives_chunks(X):
    """Whether an object that is no table gives tables when it is iterated."""
    if is_frame(X) or hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, Mapping | Set | bytes):
        return False
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(is_frame(part) or getattr(part, "ndim", 0) == 2 for part in X)
    return hasattr(X, "__iter__")


def _dataset_of_files(path):
    try:
        import pyarrow.dataset as ds
    except ImportError as error:
        raise ImportError(f"X is the path {path!r}, and to read Parquet takes pyarrow: pip install pyarrow.") from error
    if "://" in path or os.path.exists(path):
        return ds.dataset(path, format="parquet")
    files = sorted(glob.glob(path, recursive=True))
    if not files:
        raise FileNotFoundError(
            f"X is the str {path!r}, and no Parquet file matches it: pass the path of a file or folder, a pattern such "
            "as 'folder/*.parquet', or the table itself, of shape (n_samples, n_features)."
        )
    return ds.dataset(files, format="parquet")


def check_same_columns(names: list | None, first_names: list | None, origin: str) -> None:
    """Refuse a chunk whose columns are not those of the first.

    Parameters
    ----------
    names, first_names : list or None
        As `skflow.utils.frames.column_names` has them.
    origin : str
        What the chunk is called.

    Raises
    ------
    ValueError
    """
    if names == first_names:
        return
    if names is None or first_names is None:
        raise ValueError(f"{origin} has {'no ' if names is None else ''}names of columns, unlike the first one.")
    lacking, more = [v for v in first_names if v not in names], [v for v in names if v not in first_names]
    if lacking:
        raise ValueError(f"{origin} has no column {lacking[0]!r}, but the first one has: give all the same columns.")
    if more:
        raise ValueError(f"{origin} has a column {more[0]!r}, but the first one doesn't: give all the same columns.")
    raise ValueError(f"{origin} has the columns {names}, in another order than {first_names}, those of the first one.")
