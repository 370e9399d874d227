"""Columns of frames as arrays, by kind, and frames of such columns: pandas, polars and pyarrow alike."""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from .frames import columns, is_frame

NANOSECONDS = 1e9


def library_of(X) -> str:
    """The name of the package of a frame; "numpy" for what is no frame."""
    return type(X).__module__.split(".")[0] if is_frame(X) else "numpy"


def column_arrays(X) -> list[tuple[Any, str, np.ndarray, dict[str, Any]]]:
    """Name, kind, values and type of every column.

    Returns
    -------
    list of (name, kind, values, dtype)
        Kinds are "number", "category", "time", "duration" and "object". Numbers are float64 with NaN for what is
        missing, times and durations likewise, in seconds, since 1970 for times; the others are objects, with None.
        Objects all of which are real numbers, decimals and fractions too, are numbers.
        ``dtype`` is a dict of plain values from which `frame_of` makes the type again.
    """
    library = library_of(X)
    if library == "pyarrow":
        X, library = X.to_pandas(), "pandas"
    if library == "numpy":
        return [(j, *_of_array(column)) for j, column in enumerate(X.T)]
    of = _of_pandas if library == "pandas" else _of_polars
    return [(name, *of(column)) for name, column in columns(X)]


def _of_array(column):
    if column.dtype.kind == "b":
        return "category", column.astype(object), {}
    if column.dtype.kind in "fiu":
        return "number", column.astype(float), {}
    return *_of_objects(column), {}


def _of_pandas(series):
    dtype = series.dtype
    name, described = str(dtype), {"name": str(dtype)}
    if name == "category":
        levels = dtype.categories
        described |= {"levels": _objects(levels).tolist(), "ordered": bool(dtype.ordered), "of": str(levels.dtype)}
        return "category", _objects(series), described
    if dtype.kind == "M" or name.startswith(("timestamp", "date")):
        import pandas as pd

        return "time", _seconds(pd.to_datetime(series, utc=True).dt.tz_localize(None), "datetime64[ns]"), described
    if dtype.kind == "m" or name.startswith("duration"):
        return "duration", _seconds(series.astype("timedelta64[ns]"), "timedelta64[ns]"), described
    if dtype.kind == "b":
        return "category", _objects(series), described
    if dtype.kind in "fiu":
        return "number", series.to_numpy(dtype=float, na_value=np.nan), described
    if name == "object":
        return *_of_objects(series), described
    if name.startswith("decimal"):  # pyarrow's, whose scale pandas can't make of the name
        return "number", series.to_numpy(dtype=float, na_value=np.nan), {"name": "double[pyarrow]"}
    return "category", _objects(series), described


def _seconds(series, unit):
    values = np.asarray(series, dtype=unit)
    return np.where(np.isnat(values), np.nan, values.astype("int64") / NANOSECONDS)


def _of_objects(values):
    """Kind and values: numbers, if all that is observed, and something is, is numbers and no truth values."""
    values = _objects(values)
    types = {type(v) for v in values if v is not None}
    if types and all(issubclass(t, Real | Decimal) and not issubclass(t, bool) for t in types):
        return "number", np.array([np.nan if v is None else v for v in values], dtype=float)
    return "object", values


def _objects(values):
    """Python's own values, None for what is missing."""
    out = np.empty(len(values), dtype=object)
    out[:] = [None if _is_missing(v) else v.item() if isinstance(v, np.generic) else v for v in values]
    return out


def _is_missing(value):
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | Decimal) and value != value


def _of_polars(series):
    import polars as pl

    dtype = series.dtype
    described: dict[str, Any] = {"name": type(dtype).__name__ if not isinstance(dtype, type) else dtype.__name__}
    if dtype.is_numeric():
        described |= {k: getattr(dtype, k) for k in ("precision", "scale") if hasattr(dtype, k)}
        return "number", series.cast(pl.Float64).fill_null(float("nan")).to_numpy(), described
    if dtype.is_temporal():
        described |= {k: getattr(dtype, k) for k in ("time_unit", "time_zone") if hasattr(dtype, k)}
        if described["name"] in ("Date", "Datetime"):
            series = series.cast(pl.Datetime("ns"))
        elif described["name"] == "Duration":
            series = series.cast(pl.Duration("ns"))
        values = series.to_physical().cast(pl.Float64).fill_null(float("nan")).to_numpy() / NANOSECONDS
        return ("duration" if described["name"] in ("Duration", "Time") else "time"), values, described
    if described["name"] == "Object":
        return *_of_objects(series.to_list()), described
    if described["name"] == "Enum":
        described["levels"] = dtype.categories.to_list()
    return "category", _objects(series.to_list()), described


def select_columns(X, names: list):
    """The columns of these names, in a frame of the same kind."""
    return X[names] if hasattr(X, "iloc") else X.select(names)


def arrow_table(X):
    """A frame as a `pyarrow.Table`, without an index."""
    import pyarrow as pa

    if hasattr(X, "iloc"):
        return pa.Table.from_pandas(X, preserve_index=False)
    return X.to_arrow() if hasattr(X, "to_arrow") else X


def frame_of(library: str, named: list[tuple[Any, str, np.ndarray, dict[str, Any]]], index=None):
    """The inverse of `column_arrays`: a frame of such columns, or an array."""
    if library == "numpy":
        return np.column_stack([values for _, _, values, _ in named])
    if library == "polars":
        import polars as pl

        return pl.DataFrame([_to_polars(*column) for column in named])
    import pandas as pd

    series = [
        _to_pandas(kind, values, dtype).set_axis(index if index is not None else range(len(values)))
        for _, kind, values, dtype in named
    ]
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index([name for name, *_ in named])
    if library == "pyarrow":
        import pyarrow as pa

        return pa.Table.from_pandas(frame, preserve_index=False)
    return frame


def _to_pandas(kind, values, dtype):
    import pandas as pd

    name = dtype["name"]
    if "levels" in dtype:
        levels = pd.Index(dtype["levels"], dtype=dtype["of"])
        return pd.Series(pd.Categorical(values.tolist(), categories=levels, ordered=dtype["ordered"]))
    if kind in ("time", "duration"):
        whole = np.where(np.isnan(values), np.iinfo("int64").min, np.round(np.nan_to_num(values) * NANOSECONDS))
        if kind == "duration":
            return pd.Series(whole.astype("int64").view("timedelta64[ns]")).astype(name)
        times = pd.Series(whole.astype("int64").view("datetime64[ns]"))
        return times.dt.tz_localize("UTC").astype(name) if "," in name else times.astype(name)
    series = pd.Series(values, dtype=object if values.dtype == object else float)
    if kind == "number" and series.dtype != object:
        holes = series.isna()
        if name.lower().startswith(("int", "uint")):
            series = series.round()
            if holes.any():
                name = name.capitalize().replace("Uint", "UInt") if "[" not in name else name
                series = series.astype(object).where(~holes, None).map(lambda v: pd.NA if v is None else int(v))
    elif name == "bool" and series.isna().any():
        name = "boolean"
    return series.astype(name)


def _to_polars(name, kind, values, dtype):
    import polars as pl

    cls = getattr(pl, dtype["name"])
    if "levels" in dtype:
        return pl.Series(name, values.tolist(), dtype=pl.Enum(dtype["levels"]))
    if kind in ("time", "duration"):
        whole = [None if np.isnan(v) else round(v * NANOSECONDS) for v in values]
        stamp = pl.Series(name, whole, dtype=pl.Int64).cast(
            pl.Duration("ns") if kind == "duration" else pl.Datetime("ns")
        )
        options = {k: dtype[k] for k in ("time_unit", "time_zone") if dtype.get(k) is not None}
        if options.pop("time_zone", None):
            stamp = stamp.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype["time_zone"])
        return stamp.dt.cast_time_unit(options["time_unit"]) if options else stamp.cast(cls)
    if kind == "number":
        whole = cls.is_integer()
        missing = np.isnan(values)
        numbers = [None if m else int(round(v)) if whole else float(v) for v, m in zip(values, missing)]
        if "scale" in dtype:
            cls = cls(dtype["precision"], dtype["scale"])
        return pl.Series(name, numbers, dtype=cls)
    return pl.Series(name, values.tolist(), dtype=cls)
