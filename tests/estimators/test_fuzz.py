"""What holds for every table, however hostile: a few in the suite, thousands by `make fuzz`.

One property a test. A failing one prints the recipe of a table that it fails for, `make fuzz` of the smallest it finds.
"""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skflow import FlowDensity, FlowOutlierDetector
from skflow.utils.cubature import integrate

from ..hostile_tables import (
    BOUNDS,
    CONTAINERS,
    DTYPES,
    FILLS,
    KINDS,
    MODERATE,
    SMOOTH,
    WEIGHTS,
    HostileTable,
    bounds_of,
    examples,
    tables,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore")
TINY = {"depth": 1, "hidden_layer_sizes": (8,), "n_bins": 4, "max_iter": 2, "random_state": 0}
FAR = [value for value in FILLS if abs(value) >= 1e20]
SCALABLE = [kind for kind in KINDS if kind != "zero"]  # a column of zeros has no unit


def density(**params):
    return FlowDensity(**{**TINY, **params})


def detector(**params):
    return FlowOutlierDetector(**{**TINY, "n_estimators": 2, **params})


def rows_to_score(X):
    """The table's first rows, and copies of them with fill values, as far as its dtype holds them."""
    rows = np.repeat(X[:2], len(FILLS), axis=0).astype(X.dtype)
    if X.dtype.kind == "f":
        info = np.finfo(X.dtype)
        for i in range(len(rows)):
            value = np.clip(FILLS[i % len(FILLS)], float(info.min), float(info.max))
            rows[i, i % X.shape[1]] = value
    return np.concatenate([X[:20], rows])


def close(a, b, tolerance, what):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    off = np.where(a == b, 0.0, np.abs(a - np.where(a == b, 0, b)) / (1 + np.where(np.isfinite(b), np.abs(b), 0)))
    assert np.nanmax(np.where(np.isnan(off), np.inf, off)) <= tolerance, f"{what}: {a} and {b}"


# The density


@examples(14, 0.16)
@given(table=tables(dtypes=DTYPES), weights=st.sampled_from(list(WEIGHTS)))
def test_every_finite_row_has_a_finite_score(table, weights):
    rows = rows_to_score(table.X)
    scores = density().fit(table.X, sample_weight=weights_of(weights, len(table.X))).score_samples(rows)
    assert scores.shape == (len(rows),)
    assert np.isfinite(scores).all(), scores


@examples(8, 0.08)
@given(table=tables(), bounds=st.sampled_from([b for b in BOUNDS if b != "none"]))
def test_scores_are_minus_infinity_outside_bounds_only(table, bounds):
    pairs, rows = bounds_of(bounds, table.X), rows_to_score(table.X)
    outside = np.zeros(len(rows), dtype=bool)
    for j, pair in enumerate(pairs):
        low, high = pair or (None, None)
        outside |= (rows[:, j] < (-np.inf if low is None else low)) | (rows[:, j] > (np.inf if high is None else high))
    scores = density(bounds=pairs).fit(table.X).score_samples(rows)
    assert (np.isneginf(scores) == outside).all(), scores
    assert np.isfinite(scores[~outside]).all(), scores


@examples(8, 0.08)
@given(table=tables(dtypes=["f8", "f4", "i8"]))
def test_score_of_a_row_does_not_depend_on_the_others(table):
    """1e-7 is promised; single precision itself is no finer than that."""
    fitted, rows = density().fit(table.X), rows_to_score(table.X)
    together = fitted.score_samples(rows)
    tolerance = 1e-5 if table.dtype == "f4" else 1e-7
    order = np.random.RandomState(0).permutation(len(rows))
    close(fitted.score_samples(rows[order]), together[order], tolerance, "in another order")
    close([fitted.score_samples(rows[i : i + 1])[0] for i in order[:8]], together[order[:8]], tolerance, "alone")


@examples(10, 0.1)
@given(table=tables(dtypes=["f8", "f4"]), bounds=st.sampled_from(list(BOUNDS)), weights=st.sampled_from(list(WEIGHTS)))
def test_samples_are_finite_rows_within_bounds(table, bounds, weights):
    pairs = bounds_of(bounds, table.X)
    fitted = density(bounds=pairs).fit(table.X, sample_weight=weights_of(weights, len(table.X)))
    sample = fitted.sample(200, random_state=0)
    assert sample.shape == (200, table.X.shape[1])
    assert np.isfinite(sample).all(), sample
    for j, pair in enumerate(pairs or []):
        low, high = pair or (None, None)
        assert low is None or sample[:, j].min() >= low, f"column {j}"
        assert high is None or sample[:, j].max() <= high, f"column {j}"


@examples(8, 0.08)
@given(table=tables(), bounds=st.sampled_from(list(BOUNDS)))
def test_rows_come_back_from_the_latent_space(table, bounds):
    """To 1e-6 of a column's largest value: tails are logarithms, whose rounding grows with the distance.

    A column of zeros has no unit but one.
    """
    fitted = density(bounds=bounds_of(bounds, table.X)).fit(table.X)
    back = fitted.inverse_transform(fitted.transform(table.X))
    with np.errstate(over="ignore"):
        error, size = np.abs(back - table.X).max(0), np.abs(table.X).max(0)
    size[size == 0] = 1
    least = 8 * np.finfo(float).smallest_subnormal
    assert (error <= 1e-6 * size + least).all(), f"errors {error} in columns of size {size}"


@examples(8, 0.08)
@given(
    table=tables(kinds=SCALABLE, exponents=MODERATE, fills=[1e12, 1e20, -9999.0]),
    powers=st.lists(st.integers(-60, 60), min_size=12, max_size=12),
)
def test_scores_move_by_the_logarithm_of_a_unit(table, powers):
    """Powers of two change no digit, so the same seed leads the fit the same way."""
    powers = np.array(powers[: table.X.shape[1]])
    unit = 2.0**powers
    rows = rows_to_score(table.X)
    rows = rows[(np.abs(rows) < 1e280).all(1)]  # in other units, too, they are numbers
    before = density().fit(table.X).score_samples(rows)
    after = density().fit(table.X * unit).score_samples(rows * unit)
    close(after, before - np.log(2.0) * powers.sum(), 1e-6, "in other units")


@examples(6, 0.05)
@given(
    table=tables(columns=(1, 1), exponents=MODERATE, fills=None)
    | tables(columns=(2, 2), kinds=[*SMOOTH, "Cauchy", "integers"], exponents=MODERATE, fills=None, copies=False)
)
def test_density_integrates_to_one(table):
    """Where cubature gets close enough to tell: it says itself how far off it may be.

    In a plane it has few cells to start with, and overlooks what is narrower in both directions.
    """
    fitted = density().fit(table.X)
    rows = np.concatenate([table.X, fitted.sample(500, random_state=0)])
    value, uncertainty = integrate(fitted.score_samples, rows, 1e-3, budget=60_000 * table.X.shape[1])
    assume(uncertainty <= 0.02)
    assert value == pytest.approx(1, abs=5e-3 + 2 * uncertainty)


@examples(6, 0.06)
@given(table=tables(dtypes=["f8", "f4", "i8"]), name=st.sampled_from(list(CONTAINERS)))
def test_kind_of_table_does_not_matter(table, name):
    plain = density().fit(table.X.astype(float))
    contained = density().fit(CONTAINERS[name](table.X.astype(float)))
    np.testing.assert_array_equal(
        contained.score_samples(CONTAINERS[name](table.X.astype(float))), plain.score_samples(table.X.astype(float))
    )


@examples(6, 0.05)
@given(
    table=tables(exponents=MODERATE, fills=None),
    weights=st.sampled_from(["random", "half of them zero", "of every size", "integers", "one dominates"]),
    power=st.sampled_from([-900, -30, 30, 900, 970]),
)
def test_common_factor_of_the_weights_has_no_say(table, weights, power):
    weight = weights_of(weights, len(table.X))
    scores = [density().fit(table.X, sample_weight=w).score_samples(table.X) for w in (weight, weight * 2.0**power)]
    close(scores[1], scores[0], 1e-7, "with a factor")


@examples(8, 0.06)
@given(table=tables(dtypes=DTYPES), weights=st.sampled_from(list(WEIGHTS)))
def test_fit_says_nothing_that_its_user_cannot_act_on(table, weights):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        density().fit(table.X, sample_weight=weights_of(weights, len(table.X)))
    assert not [str(w.message) for w in caught if "max_iter" not in str(w.message)]


# What is refused


@examples(10, 0.06)
@given(
    table=tables(rows=(2, 40)),
    name=st.sampled_from(["C order", "Fortran order", "objects", "lists", "pandas", "polars"]),
    cell=st.tuples(st.integers(0, 299), st.integers(0, 11)),
    value=st.sampled_from([np.inf, -np.inf]),
)
def test_refusal_names_the_column(table, name, cell, value):
    X, (n, d) = table.X.copy(), table.X.shape
    i, j = cell[0] % n, cell[1] % d
    X[i, j] = value
    X = CONTAINERS[name](X)
    with pytest.raises(ValueError) as error:
        density().fit(X)
    column = f"column {list(X.columns)[j]!r}" if hasattr(X, "columns") else f"column {j}"
    assert column in str(error.value) and f"row {i}" in str(error.value)


@examples(5, 0.03)
@given(table=tables(), cell=st.tuples(st.integers(0, 299), st.integers(0, 11)))
def test_failed_fit_leaves_the_previous_one_usable(table, cell):
    fitted = density().fit(table.X)
    before = fitted.score_samples(table.X)
    X = table.X.copy()
    X[cell[0] % len(X), cell[1] % X.shape[1]] = np.inf
    with pytest.raises(ValueError):
        fitted.fit(X)
    np.testing.assert_array_equal(fitted.score_samples(table.X), before)


@examples(4, 0.02)
@given(table=tables(rows=(2, 60), columns=(1, 4), dtypes=["f8"]), share=st.floats(0, 1))
def test_holes_are_questions_in_every_table(table, share):
    X = table.X.copy()
    X[np.random.RandomState(0).uniform(size=X.shape) < share] = np.nan
    fitted = density().fit(X)
    assert np.isfinite(fitted.score_samples(X)).all()
    assert np.isfinite(fitted.impute(X, random_state=0)).all()
    assert np.isfinite(fitted.sample(20, random_state=0)).all()


# The detector


@examples(5, 0.05)
@given(table=tables(dtypes=["f8", "f4", "i8"]), weights=st.sampled_from(list(WEIGHTS)))
def test_detector_gives_every_row_a_score_a_p_value_and_reasons(table, weights):
    fitted = detector().fit(table.X, sample_weight=weights_of(weights, len(table.X)))
    rows = rows_to_score(table.X)
    scores, p = fitted.score_samples(rows), fitted.p_values(rows)
    assert np.isfinite(scores).all(), scores
    assert ((p > 0) & (p <= 1)).all(), p
    some = rows[-4:].astype(float)
    reasons = fitted.explain(some)
    assert np.isfinite(reasons).all(), reasons
    close(reasons.sum(1), fitted.score_samples(some) - fitted.typical_score_, 1e-9, "sums of the reasons")


@examples(5, 0.03)
@given(
    table=tables(rows=(20, 300), exponents=MODERATE, fills=None, copies=False),
    column=st.integers(0, 11),
    value=st.sampled_from(FAR),
)
def test_detector_flags_an_absurd_row(table, column, value):
    fitted = detector().fit(table.X)
    absurd = np.median(table.X, axis=0)[None]
    absurd[0, column % table.X.shape[1]] = value
    assert fitted.predict(absurd)[0] == -1
    assert fitted.p_values(absurd)[0] <= fitted.p_values(table.X).min()


@examples(5, 0.03)
@given(
    table=tables(rows=(60, 300), columns=(1, 6), kinds=SMOOTH, exponents=MODERATE, fills=None, copies=False),
    cell=st.tuples(st.integers(0, 59), st.integers(0, 5)),
    value=st.sampled_from([30.0, 1e3, *FAR]),
)
def test_detector_flags_an_absurd_row_that_it_was_fitted_to(table, cell, value):
    """A gross error of at least 30 standard deviations, in one cell."""
    X = table.X.copy()
    i, j = cell[0], cell[1] % X.shape[1]
    X[i, j] = value if abs(value) in map(abs, FAR) else X[:, j].mean() + value * X[:, j].std()
    assert detector().fit_predict(X)[i] == -1


def test_recipe_makes_the_same_table_again():
    recipe = {
        "n": 9,
        "columns": [("Cauchy", 3, 0.0), ("nearly a copy", 0, 1e3)],
        "copies": "every row twice",
        "seed": 5,
    }
    np.testing.assert_array_equal(HostileTable(**recipe).X, HostileTable(**recipe).X)
