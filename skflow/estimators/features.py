"""Features of a regression as numbers: categories by indicators, holes filled and told of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..persistence.attributes import list_of, numbers
from .encoding import TableEncoding
from .saved_columns import is_columns

MIN_ROWS = 5  # that a category needs for an indicator of its own
MAX_INDICATORS = 30  # of a column: of its most frequent categories


class FeatureEncoding:
    """What has to be known of a table to make features of rows like them.

    A number is itself, or the median of its column where it is missing; a category has an indicator for every value but
    rare ones. A column that had holes has one more indicator, of what is missing.

    Parameters
    ----------
    state : dict
        ``columns`` as `TableEncoding` has it, and for every column ``medians``, ``categories`` with an indicator (None
        for numbers), and whether it had ``holes``.
    """

    def __init__(self, state: dict[str, Any]):
        self.state = state
        self._encoding = TableEncoding(state["columns"])

    @classmethod
    def fit(cls, X, categorical_features="from_dtype") -> FeatureEncoding:
        """Find the kinds of the columns, their medians and their frequent categories.

        Parameters
        ----------
        X : frame or array of shape (n, d)
        categorical_features : "from_dtype" or array-like of names, numbers or truth values
        """
        encoding = TableEncoding.fit(X, categorical_features)
        rows = encoding.encode(X)
        medians, categories = np.zeros(rows.shape[1]), []
        for j, size in enumerate(encoding.n_categories.tolist()):
            observed = rows[~np.isnan(rows[:, j]), j]
            if size:
                count = np.bincount(observed.astype(int), minlength=size)
                frequent = np.argsort(-count, kind="stable")[:MAX_INDICATORS]
                categories.append(np.sort(frequent[count[frequent] >= MIN_ROWS]))
            else:
                medians[j] = np.median(observed) if len(observed) else 0.0
                categories.append(None)
        state = {"columns": encoding.state, "medians": medians, "categories": categories}
        return cls(state | {"holes": np.isnan(rows).any(0)})

    def numbers(self, X) -> np.ndarray:
        """Rows as `TableEncoding` has them, shape (n, d)."""
        return self._encoding.encode(X)

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Features (n, p) of rows of numbers (n, d)."""
        state, out = self.state, []
        for v, median, categories, holes in zip(rows.T, state["medians"], state["categories"], state["holes"]):
            missing = np.isnan(v)
            out.extend([np.where(missing, median, v)] if categories is None else (v == k for k in categories))
            if holes:
                out.append(missing)
        return np.column_stack([column.astype(float) for column in out]) if out else np.zeros((len(rows), 0))

    @property
    def n_features(self) -> int:
        """How many features there are of a row, p."""
        sizes = (1 if categories is None else len(categories) for categories in self.state["categories"])
        return sum(sizes) + int(self.state["holes"].sum())


def are_features(value: Any) -> bool:
    """What `FeatureEncoding` knows of a table."""
    if not isinstance(value, dict) or set(value) != {"columns", "medians", "categories", "holes"}:
        return False
    if not is_columns(value["columns"]) or not list_of(lambda v: v is None or numbers("k", integer=True)(v))(
        value["categories"]
    ):
        return False
    d, medians, holes = len(value["columns"]["columns"]), value["medians"], value["holes"]
    arrays = numbers(d)(medians) and isinstance(holes, np.ndarray) and holes.dtype == bool and holes.shape == (d,)
    return arrays and len(value["categories"]) == d
