"""Rows that belong together: copies and groups lie on one side of every split."""

import numpy as np
import pytest
from scipy.stats import norm

from skflow import FlowDensity, FlowOutlierDetector
from skflow.preprocessing.copies import by_group, groups_of_copies, row_hashes
from skflow.training.table import Table

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3))


def n_groups(X, groups=None):
    return int(groups_of_copies(X, groups).max()) + 1


def same_partition(a, b):
    return len(np.unique(a)) == len(np.unique(b)) == len(np.unique(np.stack([a, b], 1), axis=0))


@pytest.mark.parametrize("jitter", [0, 1e-9, 1e-7])
@pytest.mark.parametrize("times", [2, 3, 10])
def test_copies_are_found(times, jitter):
    index = RNG.permutation(np.repeat(np.arange(300), times))
    repeated = X[index] + jitter * RNG.normal(size=(300 * times, 3))
    assert same_partition(groups_of_copies(repeated), index)


def test_a_bootstrap_sample_has_as_many_groups_as_distinct_rows():
    index = RNG.integers(0, 300, 300)
    assert same_partition(groups_of_copies(X[index]), index)


@pytest.mark.parametrize(
    "table",
    {
        "continuous": RNG.normal(size=(1000, 2)),
        "rounded": RNG.normal(size=(1000, 4)).round(1),
        "a die": RNG.integers(0, 6, (1000, 1)).astype(float),
        "two dice": RNG.integers(0, 6, (1000, 2)).astype(float),
        "counts, mostly zero": RNG.poisson(0.3, (500, 6)).astype(float),
        "constant": np.zeros((50, 2)),
    }.items(),
    ids=lambda item: item[0],
)
def test_rows_that_agree_by_chance_are_no_copies(table):
    _, table = table
    n_distinct = len(np.unique(table, axis=0))
    assert n_groups(table) == len(table) or n_groups(table) == n_distinct > 0.9 * len(table)


def test_repeated_rows_of_integers_are_copies():
    index = RNG.permutation(np.repeat(np.arange(300), 10))
    assert same_partition(groups_of_copies(RNG.integers(0, 100, (300, 5)).astype(float)[index]), index)


def test_groups_and_copies_join():
    table, groups, expected = X[:100].copy(), np.arange(100), np.arange(100)
    table[3] = table[0]
    groups[[1, 4]] = groups[[0, 3]]
    expected[[1, 3, 4]] = 0
    assert same_partition(groups_of_copies(table, groups), expected)


def test_an_order_without_groups_stays():
    order = RNG.permutation(50)
    kept, first = by_group(order, np.arange(50))
    assert (kept == order).all() and (first == np.arange(50)).all()


@pytest.mark.parametrize("times, n_folds", [(1, 2), (3, 2), (10, 2)])
def test_no_group_is_parted(times, n_folds):
    folds = Table(np.repeat(X, times, 0), None, None, None, np.random.RandomState(0)).split(0.1)
    assert len(folds) == n_folds
    for fold in folds:
        assert not set(fold.train // times) & set(fold.held_out // times)
        assert sorted([*fold.train, *fold.held_out]) == list(range(300 * times))
        assert len(fold.held_out) == pytest.approx(0.2 * 300 * times, abs=times)


@pytest.mark.parametrize("times", [2, 10])
def test_repeated_rows_cost_nothing(times):
    T = np.random.default_rng(1).normal(size=(4000, 3))
    truth = norm.logpdf(T).sum(1).mean()
    density = FlowDensity(random_state=0).fit(RNG.permutation(np.repeat(X, times, 0)))
    assert density.score(T) > truth - 0.1
    assert density.best_validation_score_ < truth + 0.3


def test_repeated_rows_leave_p_values_valid():
    detector = FlowOutlierDetector(random_state=0).fit(np.repeat(X, 10, 0))
    fresh = np.random.default_rng(1).normal(size=(4000, 3))
    assert np.mean(detector.p_values(fresh) < 0.05) < 0.08
    assert np.mean(detector.predict(fresh) == -1) < 0.05


def test_groups_are_held_out_together():
    groups = np.repeat([f"patient {i}" for i in range(30)], 10)
    detector = FlowOutlierDetector(random_state=0, max_iter=2).fit(X, groups=groups)
    assert all(len(np.unique(detector.fold_[groups == g])) == 1 for g in np.unique(groups))
    FlowDensity(random_state=0, max_iter=2).fit(X, groups=groups)


@pytest.mark.parametrize("groups", [np.zeros(299), np.zeros((300, 1)), 3])
def test_groups_of_another_length_are_refused(groups):
    with pytest.raises(ValueError, match="groups has shape"):
        FlowDensity().fit(X, groups=groups)


def test_one_group_is_no_group():
    for estimator in (FlowDensity(random_state=0, max_iter=2), FlowOutlierDetector(random_state=0, max_iter=2)):
        assert np.isfinite(estimator.fit(X, groups=np.zeros(300)).score_samples(X)).all()


@pytest.mark.parametrize("sizes", [(3, 5, 92), (92, 5, 3), (60, 40), (1,) * 12 + (88,)])
def test_a_group_of_most_rows_is_never_held_out(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(8):
        for fold in Table(X[:100], None, groups, None, np.random.RandomState(seed)).split(0.1):
            assert len(fold.train) >= 50 and not set(groups[fold.train]) & set(groups[fold.held_out])
        detector = FlowOutlierDetector(random_state=seed, max_iter=1, n_estimators=2)
        assert np.isfinite(detector.fit(X[:100], groups=groups).score_samples(X[:5])).all()


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_half_of_a_few_rows_can_be_put_aside(n):
    detector = FlowOutlierDetector(contamination=0.5, random_state=0, max_iter=1).fit(X[:n])
    assert np.isfinite(detector.score_samples(X[:20])).all()


def test_hashes_are_those_of_values():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    hashes = row_hashes(X)
    assert hashes[0] == hashes[1] and len(set(hashes.tolist())) == 3
    assert (row_hashes(X.astype(np.float32)) == hashes).all()


def test_hashes_of_rows_on_a_grid_differ():
    X = np.stack(np.meshgrid(*[np.arange(12.0)] * 4), -1).reshape(-1, 4) / 4
    assert len(np.unique(row_hashes(X))) == len(X)
