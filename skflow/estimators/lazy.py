"""Methods that answer row by row, and of a Dask collection lazily."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from ..utils.dask_collections import is_dask, map_rows, precision_of


def lazy_on_dask(
    *, dtype: type | None = None, columns: Callable[[Any], list[str]] | None = None
) -> Callable[[Callable], Callable]:
    """Decorate a method of rows: of a Dask array or DataFrame it gives a collection that is computed when asked.

    Parameters
    ----------
    dtype : type, optional
        Of the answers; by default the precision of the rows.
    columns : callable, optional
        Of the estimator, the names of the columns that an answer has; by default it is one number a row.
    """

    def decorate(method):
        @functools.wraps(method)
        def of_rows(self, X, *args, **kwargs):
            if not is_dask(X):
                return method(self, X, *args, **kwargs)
            check_is_fitted(self)
            if kwargs.get("return_std"):
                raise ValueError(
                    "return_std gives two answers, and a Dask collection has room for one: leave it at False, or map "
                    "the method over the partitions yourself."
                )
            # What an answer needs of the columns is looked at before any of it is computed.
            validate_data(self, X._meta if hasattr(X, "to_dask_array") else X, reset=False, skip_check_array=True)
            local = getattr(self, "to_local", lambda: self)()
            answer = functools.partial(_answer, method.__name__, kwargs)
            names = None if columns is None else columns(self)
            kind = precision_of(X) if dtype is None else np.dtype(dtype)
            return map_rows(answer, local, [X, *args], method.__name__, kind, names)

        return of_rows

    return decorate


def _answer(name, kwargs, estimator, *parts):
    return getattr(estimator, name)(*parts, **kwargs)
