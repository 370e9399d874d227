"""Tables as they come, for the estimators that take them."""

from __future__ import annotations

from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ..flows.bijections.columnwise import Columnwise
from ..utils.frames import column_names, is_frame
from .encoding import TableEncoding, as_table, check_distinct_names, holds_only_numbers
from .validation import check_finite, check_table


def taking_tables(tags):
    """Tags that say that a table may have holes, categories and text."""
    tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
    return tags


class MixedTables:
    """What makes numbers of tables with categories, times and holes, and remembers what their columns were."""

    _columns: dict | None = None  # of a frame, or of a table with categories or holes: what `TableEncoding` knows of it
    _answers_holes = False  # of a table of numbers that had none
    atoms: dict | None = None
    handle_unknown: str = "infrequent"

    def __sklearn_tags__(self):
        return taking_tables(super().__sklearn_tags__())

    @property
    def _fitted_to_mixed(self) -> bool:
        """Whether the table of the fit had categories or holes."""
        return isinstance(getattr(getattr(self, "flow_", None), "bijection", None), Columnwise)

    def _is_mixed(self, X) -> bool:
        """Whether a table, or the one that the estimator was fitted to, has categories or holes."""
        return self._fitted_to_mixed or not self._is_numeric(X)

    def _is_numeric(self, X):
        return isinstance(self.categorical_features, str) and not self.atoms and holds_only_numbers(X)

    def _numbers(self, X, *, reset, min_rows=1):
        check_distinct_names(X)
        if self._is_numeric(X) or not reset:
            if reset:
                self._columns = TableEncoding.fit(X).state if is_frame(X) else None
            return check_table(self, X, reset=reset, min_rows=min_rows), None
        validate_data(self, X, reset=True, skip_check_array=True)
        if len(X) < min_rows:
            raise ValueError(f"Found {len(X)} sample(s) while a minimum of {min_rows} is required: pass more rows.")
        encoding = TableEncoding.fit(X, self.categorical_features, self.atoms)
        self._columns = encoding.state
        numbers = encoding.encode(X)
        check_finite(self, numbers, column_names(X), allow_nan=True)
        return numbers, (encoding.n_categories, encoding.indicator)

    def _table(self, X):
        check_is_fitted(self, "flow_")
        X = as_table(X)
        if not self._fitted_to_mixed:
            return check_table(self, X, reset=False, allow_nan=self._answers_holes)
        X = X if is_frame(X) else check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(self, X, reset=False, skip_check_array=True)
        numbers = TableEncoding(self._columns).encode(X, unknown=self.handle_unknown)
        check_finite(self, numbers, column_names(X), allow_nan=True)
        return numbers
