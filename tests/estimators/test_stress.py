"""Tables that break density estimators: every default fit is finite, quick and of some use."""

import time

import numpy as np
import pytest

from skflow import FlowDensity

RNG = np.random.RandomState(0)


def _scales():
    return RNG.randn(200, 3) * [1e-9, 1.0, 1e9]


def _outlier():
    X = RNG.randn(300, 3)
    X[7, 1] = 1e12
    return X


def _repeated_column(n=200):
    X = RNG.randn(n, 3)
    return np.column_stack([X, X[:, 0]])


def _mostly_zero(n=400):
    X = RNG.randn(n, 3)
    X[:, 1] = np.where(RNG.rand(n) < 0.99, 0.0, X[:, 1])
    return X


TABLES = {
    "10 rows x 3": lambda: RNG.randn(10, 3),
    "30 rows x 50": lambda: RNG.randn(30, 50),
    "one row repeated": lambda: np.tile([1.0, -2.0, 1e6], (50, 1)),
    "a constant column": lambda: np.column_stack([RNG.randn(200, 2), np.full(200, 7.0)]),
    "two equal columns": _repeated_column,
    "a column that is the sum of others": lambda: (lambda X: np.column_stack([X, X.sum(1)]))(RNG.randn(200, 3)),
    "a column of 99 % zeros": _mostly_zero,
    "integers only": lambda: RNG.poisson(3.0, (300, 4)).astype(float),
    "scales of 1e-9 and 1e9": _scales,
    "Cauchy": lambda: RNG.standard_cauchy((400, 3)),
    "one outlier at 1e12": _outlier,
}


@pytest.fixture(scope="module", params=TABLES)
def fitted(request):
    """The default estimator on one of the tables, the table, and the seconds that the fit took."""
    RNG.seed(0)
    X = TABLES[request.param]()
    start = time.perf_counter()
    density = FlowDensity(random_state=0).fit(X)
    return density, X, time.perf_counter() - start


def test_fit_is_quick(fitted):
    assert fitted[2] < 30  # idle it is 3 s; the rest is for a machine that does other things


def test_training_rows_have_finite_scores_and_none_is_absurd(fitted):
    density, X, _ = fitted
    scores = density.score_samples(X)
    assert np.isfinite(scores).all()
    assert scores.min() > np.median(scores) - 1e4


def test_far_rows_have_finite_scores_below_all_others(fitted):
    density, X, _ = fitted
    spread = X.std(0) + np.abs(X).max(0)
    far = density.score_samples(X[:3] + 1e6 * spread)
    assert np.isfinite(far).all()
    assert far.max() < density.score_samples(X).min()


def test_samples_are_finite(fitted):
    density, X, _ = fitted
    assert np.isfinite(density.sample(200, random_state=0)).all()


def test_samples_score_like_the_data(fitted):
    density, X, _ = fitted
    typical = np.median(density.score_samples(density.sample(500, random_state=0)))
    scores = density.score_samples(X)
    assert scores.min() - 50 <= typical <= scores.max() + 5 * X.shape[1]


def test_latent_rows_are_finite_and_come_back(fitted):
    density, X, _ = fitted
    Z = density.transform(X)
    assert np.isfinite(Z).all()
    error = np.abs(density.inverse_transform(Z) - X) / (np.abs(X).max(0) + 1e-300)
    assert error.max() < 1e-6


def test_500_columns():
    X = np.random.RandomState(0).randn(300, 500)
    start = time.perf_counter()
    density = FlowDensity(random_state=0).fit(X)
    assert time.perf_counter() - start < 120
    assert np.isfinite(density.score_samples(X[:50])).all()


def test_heavy_tails_do_better_than_a_normal_distribution():
    X = np.random.RandomState(0).standard_cauchy((1000, 2))
    density = FlowDensity(random_state=0, max_iter=60).fit(X[:500])
    normal = -0.5 * ((X[500:] - X[:500].mean(0)) / X[:500].std(0)) ** 2 - np.log(X[:500].std(0) * np.sqrt(2 * np.pi))
    assert density.score(X[500:]) > normal.sum(1).mean() + 1


def test_samples_stay_within_bounds():
    X = np.random.RandomState(0).exponential(size=(300, 2))
    density = FlowDensity(bounds=[(0, None), (0, 50)], random_state=0, max_iter=60).fit(X)
    sample = density.sample(5000, random_state=0)
    assert sample.min() >= 0
    assert sample[:, 1].max() <= 50
