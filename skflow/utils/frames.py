"""Frames of pandas, polars and pyarrow: their columns, some of their rows, and frames like them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def is_frame(X) -> bool:
    """Whether ``X`` is a table of named columns."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_columns") or hasattr(X, "column_names"))


def column_names(X) -> list | None:
    """Names of the columns, of whatever type; None for what is no frame."""
    if not is_frame(X):
        return None
    return list(getattr(X, "column_names", X.columns))


def columns(X) -> list[tuple[Any, Any]]:
    """Name and values of every column of a frame."""
    if hasattr(X, "iloc"):
        return [(name, X.iloc[:, j]) for j, name in enumerate(X.columns)]  # names may occur twice
    return list(zip(column_names(X), X.get_columns() if hasattr(X, "get_columns") else X.columns))


def some_rows(X, rows: list[int]):
    """Rows by their numbers, in a table of the same kind."""
    if not is_frame(X):
        return np.asarray(X)[rows]
    numbers = np.arange(len(X))[rows].tolist()
    return X.iloc[numbers] if hasattr(X, "iloc") else X[numbers] if hasattr(X, "get_columns") else X.take(numbers)


def concatenated(tables: Sequence[Any]) -> Any:
    """Tables of the same kind and columns, or arrays, one after the other."""
    first = tables[0]
    if not is_frame(first):
        return np.concatenate([np.asarray(table) for table in tables])
    library = importlib.import_module(type(first).__module__.partition(".")[0])
    if hasattr(first, "iloc"):
        return library.concat(tables, ignore_index=True)
    return library.concat(tables) if hasattr(first, "get_columns") else library.concat_tables(tables)


def with_nan(X):
    """A pandas frame of objects with NaN for what is missing, from which numpy can make numbers; others as they are."""
    if not (is_frame(X) and hasattr(X, "iloc") and "object" in map(str, X.dtypes)):
        return X
    return frame_like(X, X.to_numpy(dtype=object, na_value=np.nan), index=True)


def frame_like(X, values: np.ndarray, *, index: bool = False):
    """``values`` in a frame of the kind of ``X`` and with its column names, or as they are where ``X`` is no frame.

    Parameters
    ----------
    X : table
    values : ndarray of shape (n, d)
    index : bool, default=False
        Whether a pandas index goes along: n is then the number of rows of ``X``.
    """
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return type(X)(values, columns=X.columns, index=X.index if index else None)
    if not is_frame(X):
        return values
    if hasattr(X, "get_columns"):
        return type(X)(values, schema=list(X.columns))
    return type(X).from_arrays(list(values.T.copy()), names=X.column_names)
