"""Tables and weights: what comes in, in which kinds, and what is refused with which words."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

from ..helpers import ESTIMATORS, fit_quietly, quick, same_flow


def with_value(value, dtype=float):
    X = np.arange(40, dtype=dtype).reshape(20, 2)
    X[7, 1] = value
    return X


def frame(**columns):
    return pd.DataFrame({"length": np.arange(20.0), "width": np.arange(20.0) % 7, **columns})


BAD_TABLES = {
    "nan": (with_value(np.nan), ["NaN", "column 1", "row 7", "SimpleImputer"]),
    "inf": (with_value(np.inf), ["infinity", "column 1", "row 7", "drop"]),
    "minus inf": (with_value(-np.inf), ["infinity", "column 1", "row 7", "drop"]),
    "nan in a frame": (frame(width=np.nan), ["NaN", "'width'", "row 0", "SimpleImputer"]),
    "text": (with_value("tall", object), ["tall", "Column 1", "OrdinalEncoder"]),
    "text in a frame": (frame(name=["a"] * 20), ["'name'", "OrdinalEncoder"]),
    "empty": (np.empty((0, 2)), ["0 sample", "at least 2 rows"]),
    "no columns": (np.empty((20, 0)), ["0 feature", "at least one column"]),
    "one row": (np.ones((1, 2)), ["1 sample", "at least 2 rows"]),
    "sparse": (sparse.csr_matrix(np.eye(20)), ["Sparse", "toarray"]),
    "complex": (with_value(1j, complex), ["Complex data not supported", "real and imaginary parts"]),
    "one dimension": (np.arange(20.0), ["1D array", "reshape"]),
    "three dimensions": (np.zeros((20, 2, 2)), ["dim 3", "reshape"]),
    "nothing": (None, ["None", "X"]),
}
MIXED = {"nan", "nan in a frame", "text", "text in a frame"}  # what a density takes as it comes


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table_is_explained(cls, case):
    X, words = BAD_TABLES[case]
    if case in MIXED:  # every estimator takes tables as they come
        assert np.isfinite(fit_quietly(quick(max_iter=2), X).score_samples(X)).all()
        return
    with pytest.raises((ValueError, TypeError)) as error:
        fit_quietly(quick(cls), X)
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, f"{missing} not in: {error.value}"


@pytest.mark.parametrize("case", ["inf", "text", "sparse", "complex"])
def test_bad_rows_are_explained_when_scoring(case, table):
    density = fit_quietly(quick(), table[:, :2])
    X, words = BAD_TABLES[case]
    X = sparse.csr_matrix(np.eye(2)) if case == "sparse" else X
    with pytest.raises((ValueError, TypeError)) as error:
        density.score_samples(X)
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, f"{missing} not in: {error.value}"


@pytest.mark.parametrize("method", ["score_samples", "score", "transform", "inverse_transform", "bic", "aic"])
def test_wrong_column_count_is_explained(density, table, method):
    with pytest.raises(ValueError, match=r"3 features.*expecting 4 features"):
        getattr(density, method)(table[:, :3])


@pytest.fixture(scope="module")
def named(table):
    return fit_quietly(quick(), pd.DataFrame(table, columns=["a", "b", "c", "d"]))


def test_feature_names_are_kept(named):
    assert named.feature_names_in_.tolist() == ["a", "b", "c", "d"]


def test_wrong_names_are_explained(named, table):
    with pytest.raises(ValueError, match=r"(?s)feature names.*- x\n.*- a"):
        named.score_samples(pd.DataFrame(table, columns=["x", "b", "c", "d"]))


def test_reordered_names_are_refused(named, table):
    with pytest.raises(ValueError, match="same order"):
        named.score_samples(pd.DataFrame(table, columns=["b", "a", "c", "d"]))


def test_missing_names_warn(named, table):
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        named.score_samples(table)


def test_names_at_scoring_only_warn(density, table):
    with pytest.warns(UserWarning, match="without feature names"):
        density.score_samples(pd.DataFrame(table, columns=["a", "b", "c", "d"]))


def test_output_names_carry_the_class(named):
    assert named.get_feature_names_out().tolist() == [f"flowdensity{i}" for i in range(4)]


@pytest.mark.parametrize("library, kind", [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
@pytest.mark.parametrize("fit_on", [pd.DataFrame, pl.DataFrame, np.array])
def test_set_output_gives_a_frame(table, library, kind, fit_on):
    X = fit_on(table) if fit_on is np.array else fit_on(dict(zip("abcd", table.T)))
    density = fit_quietly(quick(), X).set_output(transform=library)
    Z = density.transform(X)
    assert isinstance(Z, kind)
    assert list(Z.columns) == [f"flowdensity{i}" for i in range(4)]
    np.testing.assert_array_equal(Z.to_numpy(), density.set_output(transform="default").transform(X))


def test_polars_scores_as_numpy(density, table):
    frame = pl.DataFrame(table, schema=list("abcd"))
    with pytest.warns(UserWarning, match="feature names"):
        scores = density.score_samples(frame)
    np.testing.assert_array_equal(scores, density.score_samples(table))


@pytest.mark.parametrize("kind", [list, np.asfortranarray, pd.DataFrame, pl.DataFrame])
def test_kind_of_table_does_not_matter(density, table, kind):
    again = fit_quietly(quick(max_iter=10), [list(row) for row in table] if kind is list else kind(table))
    assert same_flow(again, density)


def test_read_only_memory_map_fits_and_scores(tmp_path, density, table):
    np.save(tmp_path / "table.npy", table)
    X = np.load(tmp_path / "table.npy", mmap_mode="r")
    again = fit_quietly(quick(max_iter=10), X)
    np.testing.assert_array_equal(again.score_samples(X), density.score_samples(table))


@pytest.mark.parametrize("method", ["fit", "score_samples", "transform", "inverse_transform"])
def test_the_callers_table_stays_as_it_was(table, method):
    X = table.copy()
    estimator = quick(bounds=[(0, None), None, None, None])
    if method != "fit":
        fit_quietly(estimator, table)
        getattr(estimator, method)(X)
    else:
        fit_quietly(estimator, X)
    np.testing.assert_array_equal(X, table)


def test_float32_stays_float32(fitted, table):
    X = table.astype(np.float32)
    assert {fitted.score_samples(X).dtype, fitted.transform(X).dtype, fitted.inverse_transform(X).dtype} == {X.dtype}


def test_float32_fit_samples_float32(table):
    assert fit_quietly(quick(), table.astype(np.float32)).sample(3).dtype == np.float32


def test_float64_stays_float64_after_a_float32_fit(table):
    assert fit_quietly(quick(), table.astype(np.float32)).score_samples(table).dtype == np.float64


def test_float32_agrees_with_float64(fitted, table):
    np.testing.assert_allclose(
        fitted.score_samples(table.astype(np.float32)), fitted.score_samples(table), rtol=0, atol=1e-2
    )


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16])
def test_other_numbers_become_float64(dtype):
    X = (10 * np.random.RandomState(0).rand(60, 2)).astype(dtype)
    assert fit_quietly(quick(), X).score_samples(X).dtype == np.float64


BAD_WEIGHTS = {
    "too few": (np.ones(3), ["sample_weight", "(3,)", "240"]),
    "two dimensions": (np.ones((240, 2)), ["sample_weight", "(240, 2)", "one weight per row"]),
    "negative": (np.r_[np.ones(239), -2.0], ["sample_weight", "-2.0", "row 239", ">= 0"]),
    "nan": (np.r_[np.nan, np.ones(239)], ["sample_weight", "nan", "row 0", "finite"]),
    "inf": (np.r_[np.inf, np.ones(239)], ["sample_weight", "inf", "row 0", "finite"]),
    "zero": (np.zeros(240), ["sample_weight", "zero", "positive"]),
    "all but one zero": (np.r_[1.0, np.zeros(239)], ["sample_weight", "one row", "at least 2"]),
    "text": (["heavy"] * 240, ["sample_weight", "heavy"]),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_explained(case, table):
    weight, words = BAD_WEIGHTS[case]
    with pytest.raises(ValueError) as error:
        quick().fit(table, sample_weight=weight)
    missing = [word for word in words if word not in str(error.value)]
    assert not missing, f"{missing} not in: {error.value}"


@pytest.mark.parametrize("n_samples", [0, -1, 1.5, "many", None, True, [3]])
def test_bad_number_of_samples_is_explained(density, n_samples):
    with pytest.raises(ValueError) as error:
        density.sample(n_samples)
    assert "n_samples" in str(error.value)
    assert repr(n_samples) in str(error.value)


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize(
    "break_it",
    [
        lambda e, X: fit_quietly(e, np.full_like(X, np.inf)),
        lambda e, X: fit_quietly(e, X[:, :2][:1]),
        lambda e, X: fit_quietly(e, X[:, :2], sample_weight=np.zeros(len(X))),
        lambda e, X: fit_quietly(e.set_params(depth=-1), X[:, :2]),
        lambda e, X: fit_quietly(e.set_params(bounds=(5, 6)), X[:, :2]),
        lambda e, X: fit_quietly(e.set_params(flow=make_broken), X[:, :2]),
    ],
    ids=["infinity", "one row", "zero weights", "parameter", "bounds", "broken flow"],
)
def test_failed_fit_leaves_the_previous_one_usable(cls, break_it, table):
    estimator = fit_quietly(quick(cls), table)
    before = estimator.score_samples(table)
    with pytest.raises((ValueError, RuntimeError)):
        break_it(estimator, table)
    np.testing.assert_array_equal(estimator.score_samples(table), before)


def make_broken(n_features, n_context):
    raise RuntimeError("no such flow")


@pytest.mark.parametrize("method", ["score_samples", "score", "transform", "inverse_transform", "bic", "aic"])
def test_unfitted_estimator_says_so(method, table):
    with pytest.raises(NotFittedError, match="fit"):
        getattr(quick(), method)(table)


def test_unfitted_estimator_cannot_sample():
    with pytest.raises(NotFittedError, match="fit"):
        quick().sample()
