"""Numbers that are finite but absurd: fill values and slips of the decimal point, in the table and in rows to score."""

import numpy as np
import pytest
from scipy.stats import norm

from skflow import FlowDensity, FlowOutlierDetector

FILLS = [("f4", 1e20), ("f4", 9.96921e36), ("f4", -3.4028235e38), ("f8", 9.96921e36), ("f8", -1.797693e308)]


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


@pytest.fixture(scope="module")
def fitted():
    X = rows(300)
    return X, FlowDensity(random_state=0, max_iter=10).fit(X), FlowOutlierDetector(random_state=0, max_iter=10).fit(X)


@pytest.mark.parametrize("dtype, value", FILLS)
def test_a_fill_value_has_a_finite_density_below_all_others(fitted, dtype, value):
    X, density, _ = fitted
    score = density.score_samples(np.array([[value, 0, 0]], dtype=dtype))[0]
    assert np.isfinite(score) and score < density.score_samples(X).min()


@pytest.mark.parametrize("dtype, value", FILLS)
def test_a_fill_value_is_an_outlier_of_the_least_p_value(fitted, dtype, value):
    X, _, detector = fitted
    row = np.array([[value, 0, 0]], dtype=dtype)
    assert np.isfinite(detector.score_samples(row)).all()
    assert detector.predict(row)[0] == -1
    assert detector.p_values(row)[0] == pytest.approx(1 / (len(X) + 1))


def test_scores_fall_with_the_distance_up_to_the_end_of_the_dtype(fitted):
    _, density, detector = fitted
    far = np.zeros((5, 3))
    far[:, 1] = [1e1, 1e3, 1e6, 1e12, 1e100]
    for estimator in (density, detector):
        assert (np.diff(estimator.score_samples(far)) < 0).all(), type(estimator).__name__


@pytest.mark.parametrize("dtype, value", [("f8", 1e6), ("f8", 1e12), ("f4", 9.96921e36), ("f8", -1.797693e308)])
def test_one_fill_value_in_the_table_leaves_the_density_of_the_rest_alone(dtype, value):
    X, T = rows(300).astype(dtype), rows(2000, 1).astype(dtype)
    X[5, 1] = value
    density = FlowDensity(random_state=0).fit(X)
    assert density.score(T) > norm.logpdf(T).sum(1).mean() - 0.1
    assert np.median(np.abs(density.sample(2000, random_state=0)[:, 1])) == pytest.approx(0.674, abs=0.1)


def test_fill_values_in_one_row_of_thirty():
    X, T = rows(300), rows(2000, 1)
    X[:9, 1] = -3.4e38
    density = FlowDensity(random_state=0).fit(X)
    assert density.score(T) > norm.logpdf(T).sum(1).mean() - 1
    assert (FlowOutlierDetector(random_state=0).fit(X).predict(X)[:9] == -1).all()


@pytest.mark.parametrize("kind", ["integers", "mostly zero", "constant"])
def test_one_fill_value_in_a_column_of_ties(kind):
    rng = np.random.default_rng(0)
    column = {
        "integers": rng.poisson(5, 300),
        "mostly zero": np.where(rng.random(300) < 0.9, 0, rng.normal(size=300)),
        "constant": np.full(300, 7.0),
    }[kind]
    X = np.column_stack([rng.normal(size=300), column])
    X[5, 1] = 1e12
    S = FlowDensity(random_state=0).fit(X).sample(2000, random_state=0)[:, 1]
    low, high = np.delete(column, 5).min(), np.delete(column, 5).max()
    assert np.mean((S > low - 2) & (S < high + 2)) > 0.97


@pytest.mark.long
@pytest.mark.parametrize("n", [60, 150, 300])
@pytest.mark.parametrize("value", [10, 30, 1e4, 1e12])
def test_a_gross_error_in_the_table_is_flagged(n, value):
    X = rows(n)
    X[5, 1] = value
    detector = FlowOutlierDetector(random_state=0)
    labels = detector.fit_predict(X)
    assert labels[5] == -1
    assert np.mean(np.delete(labels, 5) == -1) <= 0.05
    assert detector.score_samples(X).argmin() == 5


def test_a_row_that_appears_twice_is_no_company_for_itself():
    X = rows(200)
    X[5] = X[6] = [0, 50, 0]
    assert (FlowOutlierDetector(random_state=0).fit_predict(X)[5:7] == -1).all()
