"""Regression models as torch modules: they predict what scikit-learn's do, and a row whatever stands beside it."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from skflow.estimators.sklearn_compat import trees_of
from skflow.flows.regression.boosted_trees import BoostedTrees, Tree


@pytest.fixture(scope="module")
def boosted():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((400, 3))
    return HistGradientBoostingRegressor(max_iter=30).fit(X, X[:, 0] * X[:, 1]), rng.standard_normal((2000, 3))


def test_trees_predict_what_scikit_learns_do(boosted):
    model, X = boosted
    trees = BoostedTrees.of(*trees_of(model))
    np.testing.assert_allclose(trees(torch.from_numpy(X)).numpy(), model.predict(X), rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_those_beside_it(boosted):
    model, X = boosted
    trees = BoostedTrees.of(*trees_of(model))
    np.testing.assert_allclose(trees(torch.from_numpy(X[:1])), trees(torch.from_numpy(X))[:1], rtol=0, atol=1e-12)


def test_the_mean_of_several_is_one_of_all_their_trees(boosted):
    model, X = boosted
    trees, x = BoostedTrees.of(*trees_of(model)), torch.from_numpy(X)
    stump = BoostedTrees.of([Tree(*map(np.array, ([0], [0.0], [-1], [-1], [5.0])))], 1.0)
    np.testing.assert_allclose(BoostedTrees.mean([trees, stump])(x), (trees(x) + 6.0) / 2, rtol=0, atol=1e-12)


def test_too_many_leaves_are_refused():
    n = 32  # tests, one below the other on the right
    left, right = np.arange(n) + n, np.append(np.arange(1, n), 2 * n)
    leaves = np.full(n + 1, -1)
    numbers = np.zeros(2 * n + 1)
    tree = Tree(numbers.astype(int), numbers, np.append(left, leaves), np.append(right, leaves), numbers)
    with pytest.raises(ValueError, match="33 leaves"):
        BoostedTrees.of([tree], 0.0)
