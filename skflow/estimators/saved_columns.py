"""What a file may say of the columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..flows.distributions.mixed_distribution import MixedDistribution
from ..persistence.attributes import dict_of, is_bool, is_number, list_of, numbers, optional
from ..preprocessing.columns import CATEGORY, DURATION, NUMBER, TIME
from .encoding import TableEncoding
from .saved import disagreement

LIBRARIES = "numpy", "pandas", "polars", "pyarrow"


def _is_plain(value):
    return value is None or isinstance(value, str) or is_bool(value) or is_number(value)


DESCRIPTION = {
    NUMBER: {
        "step": lambda value: is_number(value) and 0 <= value < np.inf,
        "first": is_number,
        "values": optional(numbers("points")),
        "range": lambda value: list_of(is_number)(value) and len(value) == 2,
    },
    CATEGORY: {"categories": list_of(_is_plain)},
}
DESCRIPTION[TIME] = DESCRIPTION[DURATION] = DESCRIPTION[NUMBER]


def _is_column(value):
    if not isinstance(value, dict) or value.get("kind") not in DESCRIPTION:
        return False
    checks = {
        "name": _is_plain,
        "type": dict_of(lambda v: _is_plain(v) or list_of(_is_plain)(v)),
        **DESCRIPTION[value["kind"]],
    }
    more = {"atoms": numbers("atoms")} if value["kind"] == NUMBER else {}
    if not set(checks) <= set(value) - {"kind"} <= set(checks) | set(more):
        return False
    return all(check(value[name]) for name, check in (checks | more).items() if name in value)


def is_columns(value: Any) -> bool:
    """What `TableEncoding` knows of a table."""
    return (
        isinstance(value, dict)
        and set(value) == {"library", "dtype", "columns"}
        and value["library"] in LIBRARIES
        and isinstance(value["dtype"], str)
        and list_of(_is_column)(value["columns"])
    )


def columns_disagree(density, n_more: int = 0) -> str | None:
    """As `disagreement`, and of the columns that a density remembers and those of its flow, which has some more."""
    columns, base = density._columns, getattr(density.flow_, "base", None)
    if isinstance(base, MixedDistribution):
        if columns is None:
            return "it has forgotten what its columns are"
        encoding = TableEncoding(columns)
        n_columns = len(base.n_categories) - n_more
        if encoding.n_categories.tolist() != base.n_categories[:n_columns].tolist():
            return "its flow is of other categories"
        if encoding.indicator.tolist() != base.indicator[:n_columns].tolist():
            return "its flow is of other atoms"
    elif columns is not None and len(columns["columns"]) != density.n_features_in_:
        return "it remembers other columns"
    return disagreement(density, n_more)
