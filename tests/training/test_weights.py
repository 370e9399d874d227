"""What `sample_weight` means."""

import numpy as np
import pytest

from skflow import FlowOutlierDetector

from ..helpers import ESTIMATORS, fit_quietly, quick, same_flow


@pytest.fixture(scope="module")
def two_groups():
    """100 rows around -3, 300 around 3."""
    rng = np.random.RandomState(0)
    return np.r_[rng.randn(100, 2) - 3, rng.randn(300, 2) + 3]


def test_rows_of_weight_zero_are_absent(table):
    weight = np.random.RandomState(0).rand(len(table))
    weight[::3] = 0
    kept = weight > 0
    with_zeros = fit_quietly(quick(), table, sample_weight=weight)
    assert same_flow(with_zeros, fit_quietly(quick(), table[kept], sample_weight=weight[kept]))


def test_only_proportions_matter(table):
    weight = np.random.RandomState(0).rand(len(table))
    assert same_flow(
        fit_quietly(quick(), table, sample_weight=weight), fit_quietly(quick(), table, sample_weight=1024 * weight)
    )


def test_weights_move_the_density(two_groups):
    """Weights that level two groups of 100 and 300 rows give each half of the samples."""
    weight = np.r_[np.full(100, 3.0), np.ones(300)]
    density = fit_quietly(quick(max_iter=30), two_groups, sample_weight=weight)
    assert (density.sample(4000, random_state=0)[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.08)


def test_without_weights_the_groups_keep_their_size(two_groups):
    density = fit_quietly(quick(max_iter=30), two_groups)
    assert (density.sample(4000, random_state=0)[:, 0] < 0).mean() == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_weights_count_in_the_loss_itself(two_groups, base):
    """Training alone, from a start that knows no weights: `partial_fit` fixes the start at its first call."""
    density = quick(flow="nsf", base=base, batch_size=50, learning_rate_init=1e-2).partial_fit(two_groups)
    weight = np.r_[np.full(100, 9.0), np.ones(300)]
    for _ in range(30):
        density.partial_fit(two_groups, sample_weight=weight)
    assert (density.sample(4000, random_state=0)[:, 0] < 0).mean() > 0.5


def test_validation_likelihood_is_weighted(two_groups):
    """The second group is all but weightless, and would cost tens of nats a row if its held-out rows counted."""
    weight = np.r_[np.ones(100), np.full(300, 1e-6)]
    density = fit_quietly(quick(base="normal"), two_groups, sample_weight=weight)
    assert density.best_validation_score_ == pytest.approx(density.score(two_groups[:100]), abs=1.5)


def test_one_number_weighs_all_rows_alike(table):
    assert same_flow(
        fit_quietly(quick(), table, sample_weight=2.0), fit_quietly(quick(), table, sample_weight=np.ones(len(table)))
    )


def test_equal_weights_are_no_weights_in_expectation(table):
    weighted = fit_quietly(quick(max_iter=30), table, sample_weight=np.ones(len(table)))
    assert weighted.score(table) == pytest.approx(fit_quietly(quick(max_iter=30), table).score(table), abs=0.4)


def test_weights_may_be_integers_or_a_list(table):
    weight = np.arange(len(table)) % 3
    assert same_flow(
        fit_quietly(quick(), table, sample_weight=weight.tolist()),
        fit_quietly(quick(), table, sample_weight=weight.astype(float)),
    )


@pytest.fixture(scope="module", params=ESTIMATORS)
def weighted(request, table):
    """A class, weights, and what it scores where it is fitted with them."""
    weight = 1 + np.random.RandomState(0).rand(len(table))
    fit = fit_quietly(quick(request.param, max_iter=3), table, sample_weight=weight)
    return request.param, weight, fit.score_samples(table)


@pytest.mark.parametrize("factor", [1e-310, 1e-200, 1e200, 1e306])
def test_a_common_factor_does_not_matter(weighted, factor, table):
    cls, weight, expected = weighted
    found = fit_quietly(quick(cls, max_iter=3), table, sample_weight=factor * weight).score_samples(table)
    np.testing.assert_allclose(found, expected, atol=1e-2 if factor < 1e-300 else 1e-3)


@pytest.fixture(scope="module", params=ESTIMATORS)
def unweighted(request, table):
    return request.param, fit_quietly(quick(request.param, max_iter=3), table)


@pytest.mark.parametrize("weight", [1.0, 3, 1e306, np.full(240, 0.1), np.ones(240, bool), [2] * 240], ids=range(6))
def test_equal_weights_are_no_weights(unweighted, weight, table):
    cls, expected = unweighted
    assert same_flow(fit_quietly(quick(cls, max_iter=3), table, sample_weight=weight), expected)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_weights_of_zero_and_one_choose_rows(cls, table):
    chosen = np.arange(len(table)) % 3 > 0
    y = table[:, 0] > 1
    assert same_flow(
        fit_quietly(quick(cls, max_iter=3), table, y=y, sample_weight=chosen),
        fit_quietly(quick(cls, max_iter=3), table[chosen], y=y[chosen]),
    )


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("base", ["auto", "student-t"])
@pytest.mark.parametrize("least", [1e-12, 1e-100, 5e-324])
@pytest.mark.parametrize("heavy", [17, *(pytest.param(row, marks=pytest.mark.long) for row in (0, 239))])
def test_an_effective_size_of_one_row_works(cls, base, least, heavy, table):
    weight = np.full(len(table), least)
    weight[heavy] = 1
    estimator = fit_quietly(quick(cls, base=base, max_iter=3), table, sample_weight=weight)
    assert np.isfinite(estimator.score_samples(table)).all()
    assert np.isfinite(estimator.score_samples(1e6 * table)).all()


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("seed", range(3))
def test_importance_weights_work(cls, seed, table):
    weight = np.exp(30 * np.random.RandomState(seed).randn(len(table)))
    estimator = fit_quietly(quick(cls, max_iter=3), table, sample_weight=weight)
    assert np.isfinite(estimator.score_samples(table)).all()
    if cls is FlowOutlierDetector:
        p_values = estimator.p_values(table)
        assert ((p_values > 0) & (p_values <= 1)).all()


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("dtype", [int, bool, np.float32, float])
def test_weights_stay_as_they_are(cls, dtype, table):
    weight = (np.arange(len(table)) % 4).astype(dtype)
    before = weight.copy()
    fit_quietly(quick(cls, max_iter=3), table, sample_weight=weight)
    np.testing.assert_array_equal(weight, before)
