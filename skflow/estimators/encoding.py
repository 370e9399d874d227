"""Tables as they come, as matrices of numbers: categories by their place, times in seconds, NaN for what is missing."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..preprocessing.columns import CATEGORY, NUMBER, decode, describe_column, encode
from ..utils.frame_columns import column_arrays, frame_of, library_of
from ..utils.frames import column_names, is_frame
from .table_kinds import SPOKEN, is_number

VALUES = str, bool, int, float  # of categories


def as_table(X):
    """Lists that hold text as an array of objects, and everything else as it is."""
    if not isinstance(X, list | tuple) or any(np.ma.isMaskedArray(row) for row in X):
        return X
    try:
        array = np.asarray(X)
    except ValueError:  # rows of several lengths: the usual check says so
        return X
    return np.array(X, dtype=object) if array.dtype.kind in "USO" and array.ndim == 2 else X


def holds_only_numbers(X) -> bool:
    """Whether a table can be taken as numbers: types that are numbers, and nothing missing."""
    if is_frame(X):
        return all(kind == NUMBER and not np.isnan(values).any() for _, kind, values, _ in column_arrays(X))
    if not isinstance(X, np.ndarray) or np.ma.isMaskedArray(X) or X.ndim != 2 or X.dtype.kind not in "bfOUS":
        return True  # or is no table at all, which the usual check says
    if X.dtype.kind == "f":
        return not np.isnan(np.min(X, initial=0.0))
    if X.dtype.kind == "b":
        return False
    try:
        return not np.isnan(X.astype(float)).any()
    except (ValueError, TypeError):
        return False


class TableEncoding:
    """What has to be known of a table's columns to make numbers of rows like them, and rows of numbers.

    Parameters
    ----------
    state : dict
        Plain values: ``library``, ``dtype`` of an array, and for every column its ``name``, ``type`` and description.
    """

    def __init__(self, state: dict[str, Any]):
        self.state = state

    @classmethod
    def fit(cls, X, categorical_features="from_dtype", atoms=None) -> TableEncoding:
        """Find the kinds of the columns.

        Parameters
        ----------
        X : frame or array of shape (n, d)
        categorical_features : "from_dtype" or array-like of names, numbers or truth values
        atoms : dict, optional
            Values that have a probability, by the names or numbers of columns.
        """
        named = column_arrays(X)
        names = [name for name, *_ in named]
        chosen = _chosen(categorical_features, names)
        atoms = {_place(name, names, "atoms"): values for name, values in (atoms or {}).items()}
        columns = []
        for j, (name, kind, values, dtype) in enumerate(named):
            kind = _resolved(kind, values, chosen is not None and j in chosen)
            description = describe_column(_values(values, kind, name, dtype), kind)
            if j in atoms:
                description["atoms"] = _checked_atoms(atoms[j], name, kind)
            columns.append({"name": name, "type": dtype, **description})
        dtype = "" if is_frame(X) else X.dtype.str
        return cls({"library": library_of(X), "dtype": dtype, "columns": columns})

    @property
    def n_categories(self) -> np.ndarray:
        """Of every column, shape (d + a,); zero for numbers.

        The last ones say of the columns with atoms, in order, which of them a number is at, or that it is at none.
        """
        sizes = [len(column["categories"]) if column["kind"] == CATEGORY else 0 for column in self.state["columns"]]
        return np.array([*sizes, *(len(values) + 1 for _, values in self.atoms.values())], dtype=np.int64)

    @functools.cached_property
    def atoms(self) -> dict[int, tuple[int, np.ndarray]]:
        """For every column with atoms the one that says which of them it is at, and their values."""
        columns = self.state["columns"]
        some = [j for j, column in enumerate(columns) if "atoms" in column]
        return {j: (len(columns) + k, columns[j]["atoms"]) for k, j in enumerate(some)}

    @property
    def indicator(self) -> np.ndarray:
        """For every column with atoms the number of that other one, shape (d + a,); -1 for all others."""
        out = np.full(len(self.n_categories), -1)
        for j, (i, _) in self.atoms.items():
            out[j] = i
        return out

    def encode(self, X, *, unknown: str = "infrequent") -> np.ndarray:
        """Rows as float64, shape (n, d + a), NaN for a number that is at an atom.

        Parameters
        ----------
        X : frame or array of shape (n, d)
        unknown : {"infrequent", "error"}
            What to do about categories that the training table did not have.
        """
        out = []
        for (name, kind, values, dtype), column in zip(column_arrays(X), self.state["columns"]):
            if column["kind"] not in (CATEGORY, NUMBER) and kind not in (column["kind"], "object"):
                raise TypeError(
                    f"Column {name!r} of X holds {_spoken(kind)}, but {_spoken(column['kind'])} when the estimator was "
                    "fitted: pass the column as it was then."
                )
            values = _values(values, column["kind"], name, dtype)
            numbers = encode(values, column)
            if unknown == "error" and column["kind"] == CATEGORY:
                self._refuse_unknown(name, values, numbers, column)
            out.append(numbers)
        for j, (_, values) in self.atoms.items():
            at = out[j][:, None] == values
            code = np.where(at.any(1), at.argmax(1), float(len(values)))
            out.append(np.where(np.isnan(out[j]), np.nan, code))
            out[j] = np.where(at.any(1), np.nan, out[j])
        return np.column_stack(out)

    def joined(self, numbers: np.ndarray) -> np.ndarray:
        """Rows with the atoms in their columns, shape (n, d)."""
        out = numbers[:, : len(self.state["columns"])].copy()
        for j, (i, values) in self.atoms.items():
            code = numbers[:, i]
            at = code < len(values)
            out[at, j] = values[code[at].astype(int)]
        return out

    @staticmethod
    def _refuse_unknown(name, values, numbers, column):
        bad = np.flatnonzero(numbers == len(column["categories"]))
        if len(bad):
            raise ValueError(
                f"Column {name!r} of X has the category {values[bad[0]]!r} at row {bad[0]}, which was not in the "
                f"training table ({', '.join(map(repr, column['categories'][:5]))}...): drop such rows, or set "
                "handle_unknown='infrequent'."
            )

    def decode(self, numbers: np.ndarray, like=None) -> Any:
        """Rows of the kind that was fitted.

        Parameters
        ----------
        numbers : ndarray of shape (n, d + a)
        like : frame or array of shape (n, d), optional
            The same rows as they came, with holes: all but what was missing stays as it is there.
        """
        numbers = self.joined(numbers)
        given = None if like is None else column_arrays(like)
        named = []
        for j, column in enumerate(self.state["columns"]):
            values = decode(numbers[:, j], column)
            if given is not None:
                before = _values(given[j][2], column["kind"], column["name"], given[j][3])
                missing = np.array([v is None for v in before]) if before.dtype == object else np.isnan(before)
                values = np.where(missing, values, before)
            named.append((column["name"], column["kind"], values, column["type"]))
        table = frame_of(self.state["library"], named, getattr(like, "index", None))
        return table.astype(self.state["dtype"]) if self.state["dtype"] else table


def _chosen(categorical_features, names) -> set[int] | None:
    """Numbers of the columns that a parameter names, None for those whose types say so."""
    if isinstance(categorical_features, str):
        return None
    some = list(categorical_features)
    if len(some) == len(names) and all(isinstance(v, bool | np.bool_) for v in some):
        return {j for j, v in enumerate(some) if v}
    return {_place(v, names, "categorical_features") for v in some}


def _place(v, names, parameter):
    if v in names:
        return names.index(v)
    if isinstance(v, int | np.integer) and 0 <= v < len(names):
        return int(v)
    raise ValueError(
        f"{parameter} names {v!r}, but X has the columns {_some(names)}: pass their names, or their numbers from 0 on"
        f"{', or a truth value for each' if parameter == 'categorical_features' else ''}."
    )


def _checked_atoms(values, name, kind):
    if kind != NUMBER:
        raise ValueError(f"atoms names the column {name!r}, which holds {_spoken(kind)}: only numbers have atoms.")
    try:
        atoms = np.unique(np.atleast_1d(np.asarray(values, dtype=float)))
    except (ValueError, TypeError):
        atoms = np.array([np.nan])
    if not np.isfinite(atoms).all() or not len(atoms):
        raise ValueError(f"atoms of the column {name!r} must be a number, or several. Got {values!r} instead.")
    return atoms


def _some(names: Iterable) -> str:
    names = list(map(repr, names))
    return ", ".join(names[:8]) + ("..." if len(names) > 8 else "")


def _resolved(kind, values, chosen):
    """What a column is: objects are categories, but numbers where nothing is observed."""
    if chosen:
        return CATEGORY
    if kind == "object":
        return CATEGORY if any(v is not None for v in values) else NUMBER
    return kind


def _values(values, kind, name, dtype):
    """Numbers as float64, categories as objects."""
    if kind == CATEGORY:
        if values.dtype != object:  # numbers that are said to be categories
            out = np.empty(len(values), dtype=object)
            out[:] = [None if v != v else int(v) if v == int(v) else v for v in values.tolist()]
            return out
        bad = next((v for v in values if v is not None and not isinstance(v, VALUES)), None)
        if bad is not None:
            described = f" (dtype {dtype['name']})" if dtype else ""
            raise TypeError(
                f"Column {name!r} of X{described} holds {str(bad)[:30]!r} ({type(bad).__name__}), but an argument must "
                "be a string, a truth value or a number: turn the column into text or numbers, or drop it."
            )
        return values
    if values.dtype != object:
        return values
    try:
        return np.array([np.nan if v is None else v for v in values], dtype=float)
    except (ValueError, TypeError) as error:
        bad = next(v for v in values if v is not None and not is_number(v))
        raise TypeError(
            f"Column {name!r} of X holds {str(bad)[:30]!r} ({type(bad).__name__}), but numbers when the estimator was "
            "fitted: the argument must be a string only where it was one then."
        ) from error


def _spoken(kind):
    return SPOKEN.get(kind, "numbers")


def check_distinct_names(X) -> None:
    """Refuse a frame that has two columns of one name."""
    names = column_names(X) or []
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"X has several columns named {twice!r}: give every column a name of its own.")
