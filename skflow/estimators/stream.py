"""What a fit makes of a stream: rows of numbers, checked chunk by chunk, and a table of a sample of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_regressor

from ..preprocessing.columns import NUMBER
from ..training import distributed
from ..training.stream import Rows, Sample
from ..training.stream_density import StreamFitting
from ..utils.chunks import Chunks, as_chunks, check_same_columns
from ..utils.fingerprint import fingerprint
from ..utils.frame_columns import column_arrays, select_columns
from ..utils.frames import column_names, frame_like, is_frame
from ..utils.global_settings import shield
from .table_kinds import SPOKEN
from .validation import check_bounds, check_table


class CheckedRows(Rows):
    """The chunks of a stream as arrays; whatever is wrong with one is said with the number of the row in the stream.

    Parameters
    ----------
    estimator : BaseFlow
        Which learns the columns from the first chunk that is read, unless it has been ``fitted``.
    chunks : Chunks
    fitted : bool
    """

    def __init__(self, estimator, chunks: Chunks, *, fitted: bool):
        self.estimator = estimator
        self.chunks = chunks
        self.fitted = fitted
        self.first: Any = None  # the first chunk, a few rows of it

    def read(self, rng: np.random.RandomState | None = None) -> Iterator[tuple[int, np.ndarray]]:
        for first, origin, chunk in self.chunks.read(rng):
            with shield():
                X = self._checked(first, origin, chunk)
            yield first, X

    def _checked(self, first_row, origin, chunk):
        name = type(self.estimator).__name__
        if not is_frame(chunk) and getattr(chunk, "ndim", 0) != 2:
            raise TypeError(
                f"{origin} of X is a {type(chunk).__name__}: {name} takes a table of shape (n_samples, n_features), or "
                "an iterable that gives frames or arrays of two dimensions."
            )
        if not len(chunk):
            raise ValueError(f"{origin} of X has no rows: leave it out.")
        if self.first is None:
            refuse_other_than_numbers(chunk, name)
            self.first = chunk[:2] if not hasattr(chunk, "iloc") else chunk.iloc[:2]
        check_same_columns(column_names(chunk), column_names(self.first), origin)
        X = check_table(self.estimator, chunk, reset=not self.fitted, first_row=first_row)
        self.fitted = True
        if not is_regressor(self.estimator):  # whose bounds are those of the targets
            check_bounds(self.estimator, X, first_row=first_row)
        return X

    def table(self, X: np.ndarray) -> Any:
        """Rows in a frame of the kind of the chunks and with the types of their columns, or as they are."""
        first = self.first
        if not is_frame(first):
            return X
        frame = frame_like(first, X)
        if hasattr(first, "iloc"):
            typed = frame.astype(first.dtypes)
        else:
            typed = frame.cast(first.schema, **({"safe": False} if hasattr(first, "column_names") else {}))
        # Whole numbers in the first chunk need not be whole in others.
        return typed if np.array_equal(np.asarray(typed, dtype=X.dtype), X) else frame


def refuse_other_than_numbers(chunk, name: str) -> None:
    """Refuse a stream with columns of categories, times or text.

    Raises
    ------
    ValueError
        With the name of the column.
    """
    array = chunk if is_frame(chunk) else np.asarray(chunk)
    for column, kind, *_ in column_arrays(array[:100] if not hasattr(array, "iloc") else array.iloc[:100]):
        if kind != NUMBER:
            held = SPOKEN.get(kind, "text or objects")
            raise ValueError(
                f"Column {column!r} of the stream holds {held}, and {name} takes streams of numbers alone: "
                "turn the column into numbers, drop it, or fit to the whole table in memory, such as "
                "pandas.read_parquet gives."
            )


def sampled(estimator, X, go_on: bool, **others: object) -> tuple[Any, Callable | None]:
    """A table of a sample of the rows of a stream, and what fits a flow to all of them; a table as it is, and None.

    Parameters
    ----------
    estimator : BaseFlow
    X : table or stream
    go_on : bool
        Whether the estimator has been fitted to these columns before.
    others : array-like or None
        By name, what only comes with a table.

    Returns
    -------
    table : array or frame
        All rows in their order where there are no more than a sample has.
    fitting_of : callable or None
        Of the validated sample; None where the table is all there is.
    """
    chunks = as_chunks(X)
    if chunks is None:
        return X, None
    if not isinstance(getattr(estimator, "categorical_features", ""), str):
        raise ValueError(
            "categorical_features names columns, but X is a stream, and its columns are numbers: leave it at "
            "'from_dtype', or fit to the whole table in memory."
        )
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name} comes with a table in memory, but X is a stream: leave {name} at None.")
    rows = CheckedRows(estimator, chunks, fitted=go_on)
    group = distributed.current()
    sample = Sample.draw(rows, seed=0)  # whatever the random state: a fit that goes on finds the same rows
    if not sample.n_rows:
        raise ValueError("X gave no chunk: pass what gives chunks of rows whenever it is iterated.")
    for rank, found in enumerate(group.gather(fingerprint(sample.X))):
        if found != fingerprint(sample.X):
            raise ValueError(
                f"X is a stream, and rank {rank} has read other rows from it than rank {group.part.rank}: give all "
                "processes the same stream, of which each trains on a part, or tables in memory."
            )
    table = rows.table(sample.X)
    if sample.n_rows == len(sample.X):
        return table, None
    return table, lambda X: functools.partial(StreamFitting, rows=rows, sample=sample)


def sampled_with_targets(estimator, X, y, **others: object) -> tuple[Any, Any]:
    """As `sampled`, of a stream in which ``y`` names the columns of targets; X and y as they are otherwise."""
    if as_chunks(X) is None:
        return X, y
    single = isinstance(y, str | Integral)
    if not single and not (isinstance(y, list | tuple) and all(isinstance(name, str | Integral) for name in y)):
        raise ValueError(
            "X is a stream, and the targets are columns of it: pass the name of the column as y, or a list of names. "
            f"Got a {type(y).__name__} instead."
        )
    table, _ = sampled(estimator, X, False, **others)
    names = column_names(table)
    names, targets = list(range(table.shape[1])) if names is None else names, [y] if single else list(y)
    for name in targets:
        if name not in names:
            raise ValueError(f"y names the column {name!r}, but X has the columns {', '.join(map(repr, names[:8]))}.")
    given = _selected(table, [name for name in names if name not in targets])
    y = np.asarray(_selected(table, targets), dtype=float)
    return given, y[:, 0] if single else y


def _selected(table, names):
    return select_columns(table, names) if is_frame(table) else table[:, names]
