"""Columns as numbers and back."""

import numpy as np
import pytest

from skflow.preprocessing.columns import NUMBER, decode, describe_column

RNG = np.random.RandomState(0)
GRIDS = {
    "tenths": np.round(3 * RNG.standard_normal(500), 1),
    "cents": np.round(100 * RNG.uniform(size=500), 2),
    "eighths": 0.125 * RNG.randint(0, 100, 500),
    "millionths": np.round(1e-3 * RNG.uniform(size=500), 6),
    "tenths off zero": 0.05 + 0.1 * RNG.randint(0, 90, 500).round(1),
    "days in seconds": 86_400.0 * RNG.randint(0, 10**6, 500),
    "whole numbers": RNG.randint(-1_000, 1_000, 500).astype(float),
}


@pytest.mark.parametrize("name", GRIDS)
def test_values_near_a_grid_become_the_numbers_of_the_table(name):
    """Not ones that differ from them in the last digit."""
    values = np.round(GRIDS[name], 6)
    column = describe_column(values, NUMBER)
    assert column["step"] > 0
    moved = values + 0.4 * column["step"] * RNG.uniform(-1, 1, len(values))
    np.testing.assert_array_equal(decode(moved, column), values)
