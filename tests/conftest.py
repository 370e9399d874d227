"""Tables and fits that several test modules share; fits are made once a session, so no test may change them."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from skflow.flows import FLOWS
from skflow.training import interrupt

from .helpers import few_folds, fit_quietly, quick


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    """Nobody has pressed Ctrl-C before: not in the test before this one either."""
    monkeypatch.setattr(interrupt, "_latest", -math.inf)


@pytest.fixture(name="few_folds")
def with_few_folds():
    with few_folds():
        yield


@pytest.fixture
def two_threads():
    """As many as torch then may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def moons():
    """300 rows in two crescents, columns of quite different units."""
    X, _ = make_moons(300, noise=0.1, random_state=0)
    return X * [1e-3, 1e4]


@pytest.fixture(scope="session")
def table():
    """240 rows of 4 columns: skewed, bimodal, correlated, plain."""
    rng = np.random.RandomState(1)
    a = rng.gamma(2.0, size=240)
    b = np.where(rng.rand(240) < 0.4, -2.0, 2.0) + 0.5 * rng.randn(240)
    c = 0.8 * a + 0.6 * rng.randn(240)
    return np.column_stack([a, b, c, rng.randn(240)])


@pytest.fixture(scope="session", params=sorted(FLOWS))
def fitted(request, table):
    """A small fit of every named flow to `table`."""
    return fit_quietly(quick(flow=request.param, depth=2, max_iter=10), table)


@pytest.fixture(scope="session")
def density(table):
    """A small fit of the default flow to `table`."""
    return fit_quietly(quick(max_iter=10), table)
