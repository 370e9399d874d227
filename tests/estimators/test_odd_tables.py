"""One line works: any finite numeric table ends in a finite density, without a warning."""

import warnings

import numpy as np
import pytest

from skflow import FlowDensity

rng = np.random.RandomState(0)
TABLES = {
    "two rows": rng.randn(2, 2),
    "ten rows": rng.randn(10, 3),
    "one column": rng.randn(50, 1),
    "more columns than rows": rng.randn(15, 30),
    "constant column": np.column_stack([rng.randn(60), np.full(60, 7.0)]),
    "all columns constant": np.tile([3.0, -1e9, 0.0], (40, 1)),
    "the same two rows over and over": np.tile([[0.0, 1.0], [2.0, 5.0]], (30, 1)),
    "duplicated columns": np.repeat(rng.randn(80, 1), 3, axis=1),
    "sum of the others": (lambda a: np.column_stack([a, a.sum(1)]))(rng.randn(80, 3)),
    "small integers": rng.poisson(1.5, (120, 3)).astype(float),
    "zeros and ones": (rng.rand(120, 2) < 0.2).astype(float),
    "mostly zero": rng.exponential(size=(120, 2)) * (rng.rand(120, 2) < 0.3),
    "heavy tails": rng.standard_cauchy((150, 2)),
    "very heavy tails": np.exp(4 * rng.randn(150, 2)),
    "one outlier": np.r_[rng.randn(80, 2), [[1e12, 0.0]]],
    "tiny units": 1e-6 * rng.randn(80, 2),
    "huge units": 1e9 * rng.randn(80, 2),
    "far from zero": 1e9 + rng.randn(80, 2),
    "time stamps": 1.7e9 + 86400 * rng.rand(80, 1),
    "units of every size": rng.randn(80, 4) * [1e-6, 1.0, 1e4, 1e9],
}


@pytest.fixture(scope="module", params=TABLES)
def case(request):
    """The table, its fit with nothing set but the seed, and the warnings on the way."""
    X = TABLES[request.param]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        density = FlowDensity(random_state=0, max_iter=20).fit(X)
    return X, density, [w for w in caught if "max_iter" not in str(w.message)]


def test_no_warning(case):
    assert not [str(w.message) for w in case[2]]


def test_rows_have_a_finite_log_density(case):
    X, density, _ = case
    assert np.isfinite(density.score_samples(X)).all()


def test_far_rows_have_a_finite_log_density(case):
    X, density, _ = case
    scale = np.maximum(X.std(0), 1e-3 * np.abs(X).max(0) + 1e-12)
    assert np.isfinite(density.score_samples(X.mean(0) + np.array([[1e6], [-1e6]]) * scale)).all()


def test_samples_are_finite(case):
    _, density, _ = case
    assert np.isfinite(density.sample(500, random_state=0)).all()


def test_latent_is_finite(case):
    X, density, _ = case
    assert np.isfinite(density.transform(X)).all()


def test_rows_come_back(case):
    X, density, _ = case
    back = density.inverse_transform(density.transform(X))
    np.testing.assert_allclose(back, X, rtol=1e-6, atol=1e-6 * max(np.abs(X).max(), 1e-6))


def test_samples_have_a_finite_log_density(case):
    _, density, _ = case
    assert np.isfinite(density.score_samples(density.sample(500, random_state=0))).all()
