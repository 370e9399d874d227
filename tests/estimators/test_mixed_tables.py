"""Tables as they come: categories, whole numbers, dates and holes, in frames of pandas and polars."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import integrate
from scipy.special import logsumexp
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skflow import FlowDensity, FlowImputer

from ..helpers import fit_quietly, quick


def people(n=200, seed=0):
    """Age, income, sex, city, date of birth, whether there is a loan; a tenth of incomes and sexes are missing."""
    rng = np.random.RandomState(seed)
    sex = rng.choice(["f", "m"], n)
    age = rng.randint(18, 80, n)
    income = np.round(1000 * np.exp(0.5 * rng.randn(n) + 0.5 * (sex == "m") + age / 50), 2)
    frame = pd.DataFrame(
        {
            "age": age,
            "income": np.where(rng.rand(n) < 0.1, np.nan, income),
            "sex": np.where(rng.rand(n) < 0.1, None, sex),
            "city": pd.Categorical(rng.choice(["Bonn", "Ulm"], n), categories=["Ulm", "Bonn", "Rom"]),
            "born": pd.Timestamp("1930-01-01") + pd.to_timedelta(rng.randint(0, 20_000, n), unit="D"),
            "loan": rng.rand(n) < 0.3,
        }
    )
    return frame


@pytest.fixture(scope="module")
def frame():
    return people()


@pytest.fixture(scope="module")
def fitted(frame):
    return fit_quietly(quick(), frame)


@pytest.fixture(scope="module")
def small():
    """A number and two categories, of which the number and each other depend."""
    rng = np.random.RandomState(1)
    a = rng.randint(0, 2, 500)
    b = np.where(rng.rand(500) < 0.7, a, rng.randint(0, 3, 500))
    frame = pd.DataFrame({"x": rng.randn(500) + 2 * a - b, "a": np.array(["n", "y"])[a], "b": np.array(list("uvw"))[b]})
    return frame, fit_quietly(quick(max_iter=20), frame)


def test_a_density_of_numbers_times_a_probability_of_categories(small):
    _, density = small
    grid = np.linspace(-12, 12, 2001)
    total = 0.0
    for a in ("n", "y", "unknown"):
        for b in ("u", "v", "w", "unknown"):
            p = np.exp(density.score_samples(pd.DataFrame({"x": grid, "a": a, "b": b})))
            total += integrate.trapezoid(p, grid)
    assert total == pytest.approx(1, abs=2e-3)


def test_what_is_missing_is_integrated_out(small):
    frame, density = small
    rows = frame[:20].assign(b=None)
    parts = [density.score_samples(rows.assign(b=b)) for b in ("u", "v", "w", "unknown")]
    estimate, error = density.score_samples(rows, return_std=True)
    assert (np.abs(estimate - logsumexp(parts, axis=0)) <= 5 * error + 1e-6).all()


def test_without_a_number_the_answer_is_exact(small):
    frame, density = small
    rows = frame[:5].assign(x=np.nan)
    estimate, error = density.score_samples(rows, return_std=True)
    assert (error == 0).all()
    every = density.score_samples(pd.DataFrame({"x": [np.nan] * 2, "a": ["n", "y"], "b": [None, None]}))
    assert np.exp(every).sum() == pytest.approx(1, abs=2e-3)  # but for unknown categories
    assert density.score_samples(pd.DataFrame({"x": [np.nan], "a": [None], "b": [None]}))[0] == pytest.approx(0)


def test_a_row_does_not_depend_on_those_beside_it(frame, fitted):
    together = fitted.score_samples(frame[:30])
    alone = [fitted.score_samples(frame[i : i + 1])[0] for i in range(30)]
    np.testing.assert_allclose(together, alone, rtol=1e-7, atol=1e-7)


def test_pandas_out_as_in(frame, fitted):
    drawn = fitted.sample(200, random_state=0)
    assert list(drawn.columns) == list(frame.columns)
    assert (drawn.dtypes == frame.dtypes).all()
    assert set(drawn["sex"]) <= {"f", "m"} and set(drawn["city"]) <= {"Ulm", "Bonn"}
    np.testing.assert_allclose(drawn["income"], drawn["income"].round(2), rtol=1e-12)
    assert (drawn["born"] < "1970").any()
    assert not drawn.isna().any(axis=None)


def test_polars_out_as_in(frame):
    table = pl.DataFrame(
        {
            "age": frame["age"].to_list(),
            "sex": [None if pd.isna(v) else v for v in frame["sex"]],
            "city": pl.Series(frame["city"].astype(str).to_list(), dtype=pl.Categorical),
            "born": pl.Series(frame["born"].dt.date.to_list()),
            "loan": [None, *frame["loan"].to_list()[1:]],
        }
    )
    density = fit_quietly(quick(), table)
    drawn = density.sample(50, random_state=0)
    assert isinstance(drawn, pl.DataFrame)
    assert drawn.schema == table.schema
    assert np.isfinite(density.score_samples(table)).all()
    assert density.impute(table, random_state=0).null_count().sum_horizontal()[0] == 0


@pytest.mark.parametrize("strategy", ["sample", "mean", "mode"])
def test_imputed_rows_keep_what_was_observed(frame, fitted, strategy):
    filled = fitted.impute(frame, strategy, random_state=0)
    assert not filled.isna().any(axis=None)
    for name in frame.columns:
        observed = frame[name].notna()
        assert (filled[name][observed] == frame[name][observed]).all()


def test_imputed_categories_follow_the_conditional(small):
    frame, density = small
    rows = pd.DataFrame({"x": np.full(2000, 1.5), "a": None, "b": "u"})
    share = (density.impute(rows, random_state=0)["a"] == "y").mean()
    log_p = density.score_samples(pd.DataFrame({"x": [1.5, 1.5], "a": ["n", "y"], "b": "u"}))
    assert share == pytest.approx(1 / (1 + np.exp(log_p[0] - log_p[1])), abs=0.05)


def test_an_unknown_category_has_a_small_probability(frame, fitted):
    rows = frame[:3].assign(sex="x")
    assert np.isfinite(fitted.score_samples(rows)).all()
    rare = fitted.score_samples(pd.DataFrame(rows).assign(age=np.nan, income=np.nan, born=pd.NaT, city=None, loan=None))
    n_observed = frame["sex"].notna().sum()
    np.testing.assert_allclose(rare, np.log(0.5 / (n_observed + 1)), rtol=1e-6)


def test_an_unknown_category_may_be_refused(frame):
    density = fit_quietly(quick(handle_unknown="error"), frame)
    with pytest.raises(ValueError, match=r"'sex'.*'x' at row 1.*handle_unknown"):
        density.score_samples(frame[:3].assign(sex=["f", "x", "m"]))


def test_the_numbers_of_complete_rows_go_to_the_latent_space_and_back(frame, fitted):
    rows = frame.dropna()[:20]
    latent = fitted.transform(rows)
    assert latent.shape == (20, 6) and np.isfinite(latent).all()
    numbers = fitted.inverse_transform(latent)
    np.testing.assert_allclose(numbers[:, 0], rows["age"], rtol=1e-4)
    np.testing.assert_allclose(fitted.transform(frame), fitted.transform(fitted.impute(frame, "mean")), atol=1e-3)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"a": list("uvuw") * 20, "b": [True, False] * 40}),
        pd.DataFrame({"a": [f"k{i}" for i in range(500)], "x": np.arange(500.0)}),
        pd.DataFrame({"a": ["u"] * 99 + ["once"], "x": np.arange(100.0) ** 2}),
        pd.DataFrame({"a": list("uv") * 50, "determined": list("UV") * 50, "x": np.arange(100) % 7}),
        pd.DataFrame({"x": np.arange(100.0), "holes": np.nan, "a": list("uv") * 50}),
        pd.DataFrame({"x": [np.nan] * 40, "a": [None] * 40}),
        pd.DataFrame({"b": pd.array([True, None, False, True] * 20, dtype="boolean"), "a": ["", "u", None, "v"] * 20}),
        pd.DataFrame({0: list("uv") * 30, 1: np.arange(60)}),
        np.array([[1, "u"], [2, "v"], [3, "u"]] * 20, dtype=object),
        [[1.0, "u"], [2.0, "v"], [3.0, "u"]] * 20,
        np.array([[True, False], [False, False], [True, True]] * 20),
        np.where(np.arange(120).reshape(60, 2) % 7 == 0, np.nan, np.arange(120.0).reshape(60, 2)),
    ],
    ids=[
        *("categories alone", "500 categories", "a category seen once", "a column that determines another"),
        *("a column of holes", "a table of holes", "empty strings", "numbers as names", "objects", "lists"),
        *("truth values", "numbers with holes"),
    ],
)
def test_odd_tables(table):
    density = fit_quietly(quick(max_iter=2), table)
    assert np.isfinite(density.score_samples(table)).all()
    drawn = density.sample(20, random_state=0)
    assert len(drawn) == 20
    assert len(density.impute(table, random_state=0)) == len(table)


def test_columns_may_be_said_to_be_categories():
    X = np.column_stack([np.random.RandomState(0).randn(200), np.arange(200) % 3])
    density = fit_quietly(quick(categorical_features=[1]), X)
    p = np.exp(density.score_samples(np.array([[np.nan, 0.0], [np.nan, 1.0], [np.nan, 2.0]])))
    np.testing.assert_allclose(p, 1 / 3, atol=0.02)
    assert set(density.sample(50, random_state=0)[:, 1]) <= {0.0, 1.0, 2.0}
    with pytest.raises(ValueError, match="categorical_features names 'b'"):
        fit_quietly(quick(categorical_features=["b"]), X)


def test_bounds_by_name(frame):
    density = fit_quietly(quick(bounds={"income": (0, None)}), frame)
    assert (density.sample(500, random_state=0)["income"] >= 0).all()
    row = frame.dropna()[:1]
    assert density.score_samples(row.assign(income=-1.0))[0] == -np.inf
    with pytest.raises(ValueError, match="'wage'"):
        fit_quietly(quick(bounds={"wage": (0, None)}), frame)


def test_columns_of_one_name_are_refused(frame):
    with pytest.raises(ValueError, match="several columns named 'age'"):
        FlowDensity().fit(pd.concat([frame, frame[["age"]]], axis=1))


def test_a_batch_is_refused(frame):
    with pytest.raises(ValueError, match="complete tables of numbers"):
        FlowDensity().partial_fit(frame)


def test_a_flow_of_numbers_answers_about_holes():
    rng = np.random.RandomState(0)
    X = rng.randn(400, 2) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    density = fit_quietly(quick(max_iter=20), X)
    grid = np.linspace(-8, 8, 1001)
    for value in (-1.0, 0.3):
        joint = np.exp(density.score_samples(np.column_stack([np.full_like(grid, value), grid])))
        exact = np.log((joint.sum() - 0.5 * (joint[0] + joint[-1])) * (grid[1] - grid[0]))
        estimate, error = density.score_samples([[value, np.nan]], return_std=True)
        assert 0 < error[0] < 0.1
        assert abs(estimate[0] - exact) < 5 * error[0]
    filled = density.impute(np.column_stack([np.full(1000, 1.0), np.full(1000, np.nan)]), random_state=0)
    assert filled[:, 1].mean() == pytest.approx(0.8, abs=0.15)


def test_fits_are_reproducible(frame):
    a, b = (fit_quietly(quick(), frame[:80]).score_samples(frame) for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_the_imputer_is_a_step_of_a_pipeline(frame, sample_posterior):
    frame = frame[:80]
    imputer = FlowImputer(quick(), sample_posterior=sample_posterior, random_state=0)
    filled = make_pipeline(imputer, FunctionTransformer()).fit_transform(frame)
    strategy = "sample" if sample_posterior else "mean"
    pd.testing.assert_frame_equal(filled, fit_quietly(quick(), frame).impute(frame, strategy, random_state=0))
