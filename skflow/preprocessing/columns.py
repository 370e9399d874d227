"""Columns of a table as numbers: what kind each is of, its categories, the grid of its values; and back."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_DECIMALS = 6
ROUNDING = 1e-12  # of the largest value is what a decimal may be off by
TIED = 0.1  # of the values are repeated: they lie on a grid, or are a few
SPARSE = 1.5  # times as far apart as the steps of their grid are values that are a few
NUMBER, CATEGORY, TIME, DURATION = "number", "category", "time", "duration"


def describe_column(values: np.ndarray, kind: str) -> dict[str, Any]:
    """What has to be known of a column to make numbers of it and to come back.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Float64 for numbers, NaN where nothing is observed; objects for categories, None where nothing is observed.
    kind : {"number", "category", "time", "duration"}

    Returns
    -------
    dict
        Of plain values: ``kind`` and, of categories, ``categories``; else ``step`` and ``first`` of the grid that the
        values lie on (zero for none), ``values`` where they are a few of its points, and their range.
    """
    if kind == CATEGORY:
        return {"kind": kind, "categories": _sorted({v for v in values.tolist() if v is not None})}
    observed = values[np.isfinite(values)]
    step, first = _grid(observed)
    few = _few(observed, step)
    span = [float(observed.min()), float(observed.max())] if len(observed) else [0.0, 0.0]
    return {"kind": kind, "step": step, "first": first, "values": few, "range": span}


def encode(values: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """A column as float64: numbers as they are, categories by their place, one beyond the last if they are unknown."""
    if column["kind"] != CATEGORY:
        return values
    place = {category: float(k) for k, category in enumerate(column["categories"])}
    place[None], unknown = np.nan, float(len(place))
    return np.array([place.get(v, unknown) for v in values.tolist()], dtype=float)


def decode(numbers: np.ndarray, column: dict[str, Any]) -> np.ndarray:
    """The inverse of `encode`; numbers are brought to the nearest value of their grid."""
    if column["kind"] == CATEGORY:
        known = np.array([*column["categories"], None], dtype=object)
        observed = ~np.isnan(numbers)
        return known[np.where(observed, np.nan_to_num(numbers), len(known) - 1).astype(int)]
    few, step = column["values"], column["step"]
    if few is not None:
        place = np.searchsorted((few[1:] + few[:-1]) / 2, numbers)
        return np.where(np.isnan(numbers), np.nan, few[place])
    if step:
        first, (low, high) = column["first"], column["range"]
        values = first + np.round((np.clip(numbers, low, high) - first) / step) * step
        # Steps such as 0.01 are no binary fractions: a quotient of whole numbers is the number that is nearest to one.
        unit = _unit(step, first)
        return np.round(values * unit) / unit
    return numbers


def _unit(*numbers):
    """The least power of ten of which all numbers, which have few decimals, are whole fractions."""
    powers = (10.0**decimals for decimals in range(MAX_DECIMALS))
    return next((p for p in powers if all(abs(v * p - round(v * p)) < 1e-9 * p for v in numbers)), 10.0**MAX_DECIMALS)


def _sorted(categories: set) -> list:
    return sorted(categories, key=lambda v: (isinstance(v, str), type(v).__name__ if not _is_real(v) else "", v))


def _is_real(value):
    return isinstance(value, bool | int | float)


def _grid(observed):
    """Step and first point of a grid of all values, whole numbers or decimals; zero for none."""
    distinct = np.unique(observed)
    if len(distinct) < 2 or np.abs(distinct).max() > 2**52:
        return 0.0, 0.0
    for decimals in range(MAX_DECIMALS + 1):
        scaled = distinct * 10.0**decimals
        whole = np.round(scaled)
        if np.abs(scaled).max() > 2**52:
            break
        if np.abs(scaled - whole).max() <= ROUNDING * max(1.0, np.abs(scaled).max()):
            step = int(np.gcd.reduce(np.diff(whole).astype(np.int64)))
            return step / 10.0**decimals, float(distinct[0])
    return 0.0, 0.0


def _few(observed, step):
    """The distinct values, where they are repeated, and far apart for the grid that they lie on, or on none."""
    distinct = np.unique(observed)
    if len(distinct) == 1:
        return distinct
    if not len(distinct) or 1 - len(distinct) / len(observed) < TIED:
        return None
    return distinct if not step or np.median(np.diff(distinct)) > SPARSE * step else None
