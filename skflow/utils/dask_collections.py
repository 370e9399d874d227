"""Dask arrays and DataFrames: a function of rows applied to each partition, when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def is_dask(X) -> bool:
    """Whether ``X`` is a Dask array, DataFrame or Series; looks at nothing but its type."""
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "__dask_graph__")


def map_rows(
    function: Callable[..., Any],
    model: Any,
    collections: Sequence,
    name: str,
    dtype: np.dtype,
    columns: list[str] | None,
):
    """Apply ``function`` to a model and the partitions of collections: lazily, and not to partitions without rows.

    Parameters
    ----------
    function : callable
        Of the model and of tables of the same number n of rows, shape (n,), or (n, k) where there are ``columns``.
    model : object
        A task of its own, on which all others depend: a worker is sent it once, and not with every partition.
    collections : sequence of Dask arrays or DataFrames
        All of the same partitions.
    name : str
        Of a column of results.
    dtype : dtype
        Of the results.
    columns : list of str or None
        The names of k columns.

    Returns
    -------
    collection
        An array where the first of ``collections`` is one, else a Series or DataFrame with its index.
    """
    import dask

    model = dask.delayed(model, pure=True, traverse=False)
    if hasattr(collections[0], "to_dask_array"):
        return _of_frame(function, model, collections, name, dtype, columns)
    import dask.array as da

    parts = [part.rechunk({j: -1 for j in range(1, part.ndim)}) for part in collections]
    shape = {"drop_axis": 1} if columns is None else {"chunks": (parts[0].chunks[0], (len(columns),))}
    empty = np.empty((0,) if columns is None else (0, len(columns)), dtype)

    def of_block(*blocks, model):
        return function(model, *blocks) if len(blocks[0]) else empty

    return da.map_blocks(of_block, *parts, model=model, dtype=dtype, meta=empty, **shape)


def _of_frame(function, model, collections, name, dtype, columns):
    import dask.dataframe as dd
    import pandas as pd

    def framed(values, index):
        if columns is None:
            return pd.Series(values, index=index, name=name, dtype=dtype)
        return pd.DataFrame(values, index=index, columns=columns, dtype=dtype)

    def of_partition(*parts, model):
        k = (0,) if columns is None else (0, len(columns))
        values = function(model, *parts) if len(parts[0]) else np.empty(k, dtype)
        return framed(np.asarray(values), parts[0].index)

    meta = framed(np.empty((0,) if columns is None else (0, len(columns)), dtype), collections[0]._meta.index)
    return dd.map_partitions(of_partition, *collections, model=model, meta=meta, align_dataframes=False)


def precision_of(X) -> np.dtype:
    """float32 for a collection of float32 alone, else float64."""
    dtypes = X.dtypes if hasattr(X, "dtypes") else [X.dtype]
    return np.dtype(np.float32 if all(dtype == np.float32 for dtype in dtypes) else np.float64)
