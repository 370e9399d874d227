"""Rows that come in batches: the first of them must not decide about all that come."""

import pickle

import numpy as np
import pytest
from scipy.stats import norm

from skflow import FlowDensity
from skflow.training.reservoir import CAPACITY, Stream

T = np.random.default_rng(9).normal(size=(4000, 3))
TRUTH = norm.logpdf(T).sum(1).mean()


def batches(first, n=100, size=64):
    rng = np.random.default_rng(3)
    yield first(rng)
    for _ in range(n):
        yield rng.normal(size=(size, 3))


@pytest.mark.parametrize(
    "first",
    {
        "typical": lambda rng: rng.normal(size=(64, 3)),
        "two rows": lambda rng: rng.normal(size=(2, 3)),
        "a constant column": lambda rng: np.c_[rng.normal(size=(64, 2)), np.zeros(64)],
        "elsewhere": lambda rng: 50 + rng.normal(size=(64, 3)),
    }.items(),
    ids=lambda item: item[0],
)
def test_the_first_batch_does_not_decide(first):
    density = FlowDensity(random_state=0)
    for X in batches(first[1]):
        density.partial_fit(X)
    assert density.score(T) > TRUTH - (0.2 if first[0] == "elsewhere" else 0.1)  # where rows are that T has none of


def test_a_column_that_wakes_up_late_is_warned_of_and_learnt():
    rng, density = np.random.default_rng(0), FlowDensity(random_state=0)
    for _ in range(10):
        density.partial_fit(rng.normal(size=(400, 3)) * [1, 1, 0])
    with pytest.warns(UserWarning, match="column 2.*mix the rows"):
        for _ in range(40):
            density.partial_fit(rng.normal(size=(400, 3)))
    assert density.score(T) > TRUTH - 0.5


def test_a_batch_after_fit_keeps_the_preprocessing():
    density = FlowDensity(random_state=0, max_iter=2).fit(T)
    before = density.flow_.bijection.links[0].links[0].scale.clone()
    density.partial_fit(100 * T[:50])
    assert density.flow_.bijection.links[0].links[0].scale.equal(before)


def test_a_pickled_stream_goes_on_as_the_stream_itself():
    density = FlowDensity(random_state=0).partial_fit(T[:100])
    copy = pickle.loads(pickle.dumps(density))
    scores = [d.partial_fit(T[100:300]).partial_fit(T[300:3000]).score_samples(T[:10]) for d in (density, copy)]
    assert (scores[0] == scores[1]).all()


def test_a_failed_batch_is_not_remembered():
    density = FlowDensity(random_state=0).partial_fit(T[:100])
    with pytest.raises(ValueError, match="missing values"):
        density.partial_fit(np.full((5, 3), np.nan))
    assert density._stream.n_seen == 100


def test_every_row_of_a_stream_is_as_likely_to_be_remembered():
    counts = np.zeros(4)
    for seed in range(5):
        stream = Stream(seed)
        for part in np.array_split(np.arange(4.0 * CAPACITY), 23):
            stream = stream.joined(part[:, None], None)
        assert len(stream.X) == len(np.unique(stream.X)) == CAPACITY and stream.n_seen == 4 * CAPACITY
        counts += np.histogram(stream.X, 4, (0, 4 * CAPACITY))[0]
    assert np.abs(counts / counts.sum() - 0.25).max() < 0.02
