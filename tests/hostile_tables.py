"""Tables that nobody hopes for, as hypothesis draws them: what real files hold, to the end of what numbers can hold.

A table is a recipe (a kind, a power of ten and an offset for each column, copied rows, fill values, a dtype) and a
seed: a failure is told in one line. `make fuzz` draws thousands anew and shrinks what fails to a simple recipe; the
suite draws always the same few.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

TABLES_IN_ALL = int(os.environ.get("SKFLOW_FUZZ_TABLES", 0))  # of a run of `make fuzz`; none for the suite


def examples(in_suite: int, share: float):
    """So many tables for a property in the suite, or its share of a run of `make fuzz`."""
    n = max(1, round(share * TABLES_IN_ALL)) if TABLES_IN_ALL else in_suite
    return settings(
        max_examples=n,
        derandomize=not TABLES_IN_ALL,
        phases=list(Phase) if TABLES_IN_ALL else [Phase.generate],  # the suite has no time to shrink a failure
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


# What a column holds, of a size about one. The columns before it stand at its disposal.
KINDS = {
    "normal": lambda rng, n, before: rng.randn(n),
    "skewed": lambda rng, n, before: rng.lognormal(size=n),
    "Cauchy": lambda rng, n, before: rng.standard_cauchy(n),
    "two humps": lambda rng, n, before: np.where(rng.rand(n) < 0.3, -1.0, 1.0) + 0.1 * rng.randn(n),
    "two widths": lambda rng, n, before: np.where(rng.rand(n) < 0.5, 1e-4, 1.0) * rng.randn(n),
    "integers": lambda rng, n, before: rng.poisson(2.0, n).astype(float),
    "two values": lambda rng, n, before: (rng.rand(n) < 0.5).astype(float),
    "mostly zero": lambda rng, n, before: np.where(rng.rand(n) < 0.9, 0.0, rng.randn(n)),
    "constant": lambda rng, n, before: np.full(n, 1.0),
    "zero": lambda rng, n, before: np.zeros(n),
    "counter": lambda rng, n, before: np.arange(n, dtype=float),
    "copy": lambda rng, n, before: before[-1] if before else rng.randn(n),
    "nearly a copy": lambda rng, n, before: (before[-1] if before else 0) + 1e-6 * rng.randn(n),
    "sum": lambda rng, n, before: sum(before) if before else rng.randn(n),
}
SMOOTH = ["normal", "skewed", "two humps"]
EXPONENTS = [0, -320, -307, -150, -38, -9, -3, 3, 9, 38, 150, 300, 307]
MODERATE = [0, -9, -3, 3, 9]
FILLS = [1e12, 1e20, -3.4e38, 9.97e36, -1.797e308, -9999.0]
DTYPES = ["f8", "f4", "f2", ">f8", ">f4", "i8", "i1", "u1", "bool"]
COPIES = {
    "none": lambda X, rng: X,
    "every row twice": lambda X, rng: np.repeat(X, 2, axis=0),
    "every row ten times": lambda X, rng: np.repeat(X[:30], 10, axis=0),
    "half of the rows one": lambda X, rng: np.concatenate([X, np.repeat(X[:1], len(X), axis=0)]),
    "shuffled copies": lambda X, rng: X[rng.randint(len(X), size=2 * len(X))],
}


@dataclass
class HostileTable:
    """A table, and how it came about."""

    n: int
    columns: list[tuple[str, int, float]]  # kind, power of ten, offset
    copies: str = "none"
    fills: list[tuple[int, int, float]] = field(default_factory=list)  # row, column, value
    dtype: str = "f8"
    seed: int = 0

    def __post_init__(self):
        rng = np.random.RandomState(self.seed)
        units, columns = [], []
        for kind, exponent, offset in self.columns:
            units.append(KINDS[kind](rng, self.n, units))
            with np.errstate(all="ignore"):
                columns.append((units[-1] + offset) * 10.0**exponent)
        X = COPIES[self.copies](np.column_stack(columns), rng)[:300]
        for i, j, value in self.fills:
            X[i % len(X), j % X.shape[1]] = value
        self.X = _within(X, np.dtype(self.dtype))


def _within(X, dtype):
    """As a table of that dtype, cut off at its ends: what is tested is not numpy's own overflow."""
    if dtype.kind == "b":
        return X > np.median(X, axis=0)
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    low, high = float(info.min), float(info.max)
    if dtype.kind in "iu" and info.bits == 64:
        high = np.nextafter(high, 0)  # the largest integer itself is no float
    return np.clip(X, low, high).astype(dtype)


@st.composite
def tables(
    draw,
    rows=(2, 300),
    columns=(1, 12),
    kinds=tuple(KINDS),
    exponents=EXPONENTS,
    dtypes=("f8",),
    fills=FILLS,
    copies=True,
):
    """Hostile tables; the arguments say which parts of the repertoire are played."""
    offsets = st.sampled_from([0.0, 0.0, 1e3, -1e9])
    column = st.tuples(st.sampled_from(kinds), st.sampled_from(exponents), offsets)
    cell = st.tuples(st.integers(0, 299), st.integers(0, 11), st.sampled_from(fills)) if fills else st.nothing()
    return HostileTable(
        n=draw(st.integers(*rows)),
        columns=draw(st.lists(column, min_size=columns[0], max_size=columns[1])),
        copies=draw(st.sampled_from(list(COPIES))) if copies else "none",
        fills=draw(st.lists(cell, max_size=3)) if fills else [],
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


ODD_NAMES = ["", " ", "x", "x.1", "ü", "日本", "'", '"', "a\nb", "0", "None", "%s", "{}", "<b>", "\\", "~", "-1", "nan"]


def _frame(X, kind):
    names = ODD_NAMES[: X.shape[1]]
    X = X.astype(X.dtype.newbyteorder("="))
    return kind(X, columns=names) if kind is pd.DataFrame else kind(dict(zip(names, X.T)))


CONTAINERS = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "backwards": lambda X: X[::-1].copy()[::-1],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "foreign byte order": lambda X: X.astype(X.dtype.newbyteorder("S")),
    "objects": lambda X: X.astype(object),
    "read-only": lambda X: np.frombuffer(np.ascontiguousarray(X).tobytes(), X.dtype).reshape(X.shape),
    "lists": lambda X: X.tolist(),
    "pandas": lambda X: _frame(X, pd.DataFrame),
    "polars": lambda X: _frame(X, pl.DataFrame),
}

WEIGHTS = {
    "none": lambda rng, n: None,
    "one number": lambda rng, n: 3.0,
    "random": lambda rng, n: rng.rand(n) + 1e-3,
    "half of them zero": lambda rng, n: np.where(np.arange(n) % 2, 0.0, 1.0) if n > 3 else np.ones(n),
    "of every size": lambda rng, n: 10.0 ** rng.uniform(-6, 6, n),
    "one dominates": lambda rng, n: np.r_[1e12, np.ones(n - 1)],
    "two count": lambda rng, n: np.r_[1.0, 1.0, np.full(n - 2, 1e-300)],
    "tiny": lambda rng, n: 1e-300 * (1 + rng.rand(n)),
    "huge": lambda rng, n: 1e305 * (1 + rng.rand(n)),
    "integers": lambda rng, n: rng.randint(1, 5, n),
}


def weights_of(name: str, n: int) -> np.ndarray | float | None:
    """Weights for n rows."""
    return WEIGHTS[name](np.random.RandomState(n), n)


BOUNDS = {
    "none": lambda low, high: None,
    "tight": lambda low, high: (low, high),
    "below": lambda low, high: (low, None),
    "above": lambda low, high: (None, high),
}


def bounds_of(name: str, X: np.ndarray) -> list | None:
    """Bounds on every other column that just hold its values; on none that is constant."""
    if name == "none":
        return None
    pairs = [(float(x.min()), float(x.max())) for x in X.T.astype(float)]
    return [BOUNDS[name](*p) if j % 2 == 0 and p[0] < p[1] else None for j, p in enumerate(pairs)]
