"""Scores of forecasts against their closed forms."""

import numpy as np
import pytest
from scipy import stats

from skflow.metrics import crps, interval_score, pit

RNG = np.random.RandomState(0)
Y, MEAN, STD = RNG.standard_normal(200) * 2, RNG.standard_normal(200), RNG.uniform(0.5, 2, 200)
Z = (Y - MEAN) / STD
EXACT = STD * (Z * (2 * stats.norm.cdf(Z) - 1) + 2 * stats.norm.pdf(Z) - 1 / np.sqrt(np.pi))


def test_crps_of_quantiles_is_that_of_the_normal():
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = stats.norm.ppf(levels) * STD[:, None] + MEAN[:, None]
    np.testing.assert_allclose(crps(Y, quantiles), EXACT, atol=2e-3)


def test_crps_of_few_draws_is_unbiased():
    draws = MEAN[:, None, None] + STD[:, None, None] * RNG.standard_normal((200, 3, 2000))
    scores = np.mean([crps(Y, draws[:, :, i], kind="samples").mean() for i in range(2000)])
    assert scores == pytest.approx(EXACT.mean(), rel=0.01)


def test_crps_of_a_number_is_the_absolute_error():
    np.testing.assert_allclose(crps(Y, MEAN[:, None]), np.abs(Y - MEAN))


def test_interval_score_is_least_for_the_true_quantiles():
    y = RNG.standard_normal(20_000)
    scores = [interval_score(y, np.tile([-w, w], (len(y), 1)), 0.9).mean() for w in stats.norm.ppf([0.9, 0.95, 0.99])]
    assert np.argmin(scores) == 1
    assert interval_score([0.0, 3.0], [[-1, 1], [-1, 1]], 0.5).tolist() == [2.0, 2.0 + 4 * 2.0]


def test_pit_of_true_draws_is_uniform():
    levels = pit(RNG.standard_normal(2000), RNG.standard_normal((2000, 99)))
    assert stats.kstest(levels, "uniform").pvalue > 1e-3
    assert pit([1.0], [[1.0, 1.0, 1.0]]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crps([1.0], [1.0]), "expected"),
        (lambda: crps([1.0], [[1.0]], kind="both"), "kind must be"),
        (lambda: crps([1.0], [[1.0]], kind="samples"), "at least 2"),
        (lambda: interval_score([1.0], [[1.0, 2.0, 3.0]]), "lower and upper ends"),
        (lambda: interval_score([1.0], [[1.0, 2.0]], 90), "coverage must be"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
