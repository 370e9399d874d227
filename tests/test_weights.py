"""What `sample_weight` means."""

import numpy as np
import pytest

from .estimators import fit_quietly, quick, same_flow


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
