"""Mixtures by expectation-maximisation, beside scikit-learn's and beside what the rows were drawn from."""

import numpy as np
import pytest
from scipy import stats
from sklearn.mixture import GaussianMixture

from skflow.training.expectation_maximisation import LEAST_VARIANCE, expectation_maximisation

MEANS = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
COVARIANCES = np.array([[[1.0, 0.6], [0.6, 1.0]], [[0.2, 0.0], [0.0, 2.0]], [[0.5, -0.3], [-0.3, 0.5]]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    component = rng.choice(3, 6000, p=WEIGHTS)
    return MEANS[component] + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(COVARIANCES)[component], rng.standard_normal((6000, 2))
    )


def log_likelihood(x, weights, means, covariances):
    parts = [w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in zip(weights, means, covariances)]
    return np.log(np.sum(parts, 0)).mean()


def test_clusters_far_apart_are_found(rows):
    weights, means, covariances = expectation_maximisation(rows, 3, np.random.RandomState(0))
    order = [np.argmin(np.linalg.norm(means - mean, axis=1)) for mean in MEANS]
    np.testing.assert_allclose(weights[order], WEIGHTS, atol=0.02)
    np.testing.assert_allclose(means[order], MEANS, atol=0.1)
    np.testing.assert_allclose(covariances[order], COVARIANCES, atol=0.15)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("k", [2, 5, 12])
def test_rows_are_as_likely_as_under_the_mixture_of_scikit_learn(rows, kind, k):
    fitted = expectation_maximisation(rows, k, np.random.RandomState(0), diagonal=kind == "diag")
    other = GaussianMixture(k, covariance_type=kind, reg_covar=LEAST_VARIANCE, random_state=0).fit(rows)
    assert log_likelihood(rows, *fitted) > other.score(rows) - 0.01


def test_covariances_are_diagonal_where_asked(rows):
    covariances = expectation_maximisation(rows, 4, np.random.RandomState(0), diagonal=True)[2]
    assert (covariances[:, 0, 1] == 0).all()
    assert (np.einsum("kii->ki", covariances) > 0).all()


def test_a_component_of_equal_rows_keeps_a_variance():
    x = np.repeat([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], 20, axis=0)
    weights, means, covariances = expectation_maximisation(x, 2, np.random.RandomState(0))
    np.testing.assert_allclose(np.sort(means[:, 0]), [0, 1], atol=1e-6)
    np.testing.assert_allclose(covariances, [LEAST_VARIANCE * np.eye(3)] * 2, atol=1e-6)
    np.testing.assert_allclose(weights, 0.5)
