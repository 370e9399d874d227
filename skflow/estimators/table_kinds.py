"""Tables that can't be used as they are: what is wrong with them, in which column, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import numpy as np

from ..utils.frames import column_names, columns, is_frame

TEMPORAL = ("timestamp", "date", "time", "duration")  # how pyarrow's names of such types begin


def refuse_kind(X, name: str = "X") -> None:
    """Refuse what numpy would misread or refuse without a remedy: masks, records, dates, and what is no table.

    Raises
    ------
    ValueError, TypeError
        With the ``name`` of the argument.
    """
    kind = f"{name} is a {type(X).__name__}"
    if isinstance(X, Iterator):
        raise TypeError(f"{kind}, which can be gone through once: pass a table, such as list({name}).")
    if isinstance(X, Mapping) and not hasattr(X, "shape"):  # scipy has a sparse table that is one
        raise TypeError(f"{kind}: pass a table, such as pandas.DataFrame({name}).")
    if isinstance(X, Set | str | bytes):
        raise TypeError(f"{kind}: pass a table of shape (n_samples, n_features).")
    if is_frame(X):
        _refuse_dates_in_frame(X, name)
        return
    refuse_masked(X, name)
    dtype = getattr(X, "dtype", None)
    if getattr(dtype, "names", None):
        raise TypeError(
            f"{name} is a structured (record) array of the fields {', '.join(map(repr, dtype.names))}, not a table of "
            f"2 dimensions: numpy.lib.recfunctions.structured_to_unstructured({name}) makes one of its fields."
        )
    if getattr(dtype, "kind", None) in ("m", "M"):
        _refuse_dates(name, name, dtype)


def refuse_masked(X, name: str) -> None:
    """Refuse masked values, in an array or in a list of arrays: the numbers behind the mask would be taken.

    Raises
    ------
    ValueError
    """
    for i, part in enumerate(X if isinstance(X, list | tuple) else [X]):
        if not np.ma.isMaskedArray(part) or not np.ma.is_masked(part):
            continue
        mask = np.ma.getmaskarray(part)
        mask = np.atleast_2d(mask.reshape(len(mask), -1) if mask.ndim > 2 else mask)
        row, column = np.argwhere(mask)[0]
        raise ValueError(
            f"{name} holds {int(mask.sum())} masked values, first in column {column} at row {row if part is X else i}. "
            "The mask would be ignored: drop those rows (numpy.ma.compress_rows) or impute the values, for example by "
            f"sklearn.impute.SimpleImputer on {name}.astype(float).filled(numpy.nan)."
        )


def _refuse_dates_in_frame(X, name):
    dtypes = X.dtypes if hasattr(X, "dtypes") else [field.type for field in X.schema]
    for column, dtype in zip(column_names(X), dtypes):
        if _is_temporal(dtype):
            _refuse_dates(f"Column {column!r} of {name}", f"{name}[{column!r}]", dtype)


def _is_temporal(dtype):
    if hasattr(dtype, "is_temporal"):
        return dtype.is_temporal()
    return getattr(dtype, "kind", None) in ("m", "M") or str(dtype).startswith(TEMPORAL)


def _refuse_dates(holder, what, dtype):
    is_difference = getattr(dtype, "kind", None) == "m" or str(dtype).lower().startswith("duration")
    kind, differences = ("time differences", what) if is_difference else ("dates or times", f"{what} - {what}.min()")
    raise TypeError(
        f"{holder} holds {kind} (dtype {dtype}): turn them into numbers, such as the seconds in {differences}, or drop "
        "them."
    )


def column_without_numbers(X) -> str:
    """What holds no numbers, and what to do about it; nothing where every column does."""
    try:
        named = columns(X) if is_frame(X) else list(enumerate(np.asarray(X, dtype=object).T))
    except (ValueError, TypeError):
        return ""
    for name, column in named:
        try:
            np.asarray(column, dtype=float)
        except (ValueError, TypeError):
            return _described(f"Column {name!r}", column if is_frame(X) else None, np.asarray(column, dtype=object))
    return ""


def _described(name, column, values):
    dtype = "" if column is None else f" (dtype {getattr(column, 'dtype', getattr(column, 'type', 'object'))})"
    value = next((v for v in values.ravel() if not is_number(v)), None)
    if isinstance(value, str):
        return (
            f"{name}{dtype} holds text, such as {value[:30]!r}; encode it (for example with "
            "sklearn.preprocessing.OrdinalEncoder) or drop it."
        )
    return (
        f"{name}{dtype} holds values that are no numbers, such as {str(value)[:30]!r} ({type(value).__name__}): turn "
        "them into numbers or drop the column."
    )


def is_number(value) -> bool:
    """Whether a value is a number, or text that stands for one."""
    try:
        float(value)
    except (ValueError, TypeError):
        return False
    return True
