"""Columns of frames as arrays, and frames of such columns."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from skflow.utils.frame_columns import column_arrays, frame_of

PRICES = [Decimal("0.25"), Decimal("2.50"), None]
ARROW = pa.table({"price": pa.array(PRICES, pa.decimal128(8, 2))})
NUMBERS = {
    "decimals": [Decimal("0.5"), Decimal("2"), None],
    "decimals, one of them not a number": [Decimal("0.5"), Decimal("2"), Decimal("NaN")],
    "fractions": [Fraction(1, 2), 2, None],
    "floats": [0.5, 2.0, float("nan")],
    "numpy's": [np.float32(0.5), np.int64(2), np.float32("nan")],
    "pandas' missing value": [0.5, 2, pd.NA],
}
OTHERS = {
    "truth values": [True, False, None],
    "truth values of numpy": [np.True_, np.False_, None],
    "a truth value among numbers": [1, True, 2.0],
    "text among numbers": [Decimal("1"), "one", None],
    "text of numbers": ["1", "2", None],
    "complex numbers": [1j, 2.0, None],
    "nothing": [None, None, None],
}
FRAMES = {
    "pandas": lambda values: pd.DataFrame({"a": pd.Series(values, dtype=object)}),
    "polars": lambda values: pl.DataFrame({"a": pl.Series(values, dtype=pl.Object)}),
    "numpy": lambda values: np.array([values], dtype=object).T,
}


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("values", NUMBERS)
def test_objects_that_are_real_numbers_are_numbers(values, library):
    [(_, kind, array, _)] = column_arrays(FRAMES[library](NUMBERS[values]))
    assert kind == "number" and array.dtype == float
    np.testing.assert_array_equal(array, [0.5, 2, np.nan])


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("values", OTHERS)
def test_other_objects_stay_objects(values, library):
    [(_, kind, array, _)] = column_arrays(FRAMES[library](OTHERS[values]))
    assert kind == "object" and array.tolist() == OTHERS[values]


@pytest.mark.parametrize(
    "frame",
    [ARROW, ARROW.to_pandas(types_mapper=pd.ArrowDtype), pl.from_arrow(ARROW)],
    ids=["pyarrow", "pandas", "polars"],
)
def test_columns_of_decimals_are_numbers(frame):
    [(_, kind, array, _)] = column_arrays(frame)
    assert kind == "number"
    np.testing.assert_array_equal(array, [0.25, 2.5, np.nan])


@pytest.mark.parametrize(
    "frame",
    [FRAMES["pandas"]([0.5, 2.0]), FRAMES["polars"]([0.5, 2.0]), pl.from_arrow(ARROW)],
    ids=["pandas' objects", "polars' objects", "polars' decimals"],
)
def test_a_frame_of_their_columns_has_their_types(frame):
    library = type(frame).__module__.split(".")[0]
    back = frame_of(library, column_arrays(frame))
    assert list(back.dtypes) == list(frame.dtypes)
    np.testing.assert_array_equal(column_arrays(back)[0][2], column_arrays(frame)[0][2])


def test_decimals_of_pyarrow_in_pandas_come_back_as_floats_of_pyarrow():
    frame = ARROW.to_pandas(types_mapper=pd.ArrowDtype)
    back = frame_of("pandas", column_arrays(frame))
    assert str(back.dtypes["price"]) == "double[pyarrow]"
    np.testing.assert_array_equal(back["price"].to_numpy(float, na_value=np.nan), [0.25, 2.5, np.nan])
