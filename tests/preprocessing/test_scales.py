"""Columns that are nearly functions of each other, and columns with values of very different scales."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from skflow import FlowDensity


@pytest.mark.parametrize("gap", [1e-3, 1e-4, 1e-5, 1e-6])
def test_nearly_collinear_columns(gap):
    rng = np.random.default_rng(0)
    covariance = np.array([[1, 1 - gap], [1 - gap, 1]])
    X, T = (rng.normal(size=(n, 2)) @ np.linalg.cholesky(covariance).T for n in (2000, 4000))
    density = FlowDensity(random_state=0).fit(X)
    assert density.score(T) > multivariate_normal([0, 0], covariance).logpdf(T).mean() - 0.1
    S = density.sample(4000, random_state=0)
    assert (S[:, 0] - S[:, 1]).std() == pytest.approx(np.sqrt(2 * gap), rel=0.3)


@pytest.mark.parametrize("n, loss", [(300, 0.4), (3000, 0.15)])
@pytest.mark.parametrize("narrow", [1e-2, 1e-4])
def test_a_column_of_two_scales(n, loss, narrow):
    rng = np.random.default_rng(0)

    def draw(n):
        return rng.normal(size=(n, 2)) * np.where(rng.random((n, 1)) < 0.5, [narrow, 1], 1)

    X, T = draw(n), draw(4000)
    column = 0.5 * norm.pdf(T[:, 0]) + 0.5 * norm.pdf(T[:, 0] / narrow) / narrow
    truth = (np.log(column) + norm.logpdf(T[:, 1])).mean()
    assert FlowDensity(random_state=0).fit(X).score(T) > truth - loss
