"""What trains on a table longer than memory: every row but those held out, mixed, made by a thread that ends."""

import threading
from contextlib import closing

import numpy as np
import pytest
import torch

from skflow.flows.bijections.chain import Chain
from skflow.preprocessing.dequantisation import Dequantisation
from skflow.training import hyperparameters as hp
from skflow.training.data import WHOLE, Part
from skflow.training.read_ahead import read_ahead
from skflow.training.sampled_density import HeldOut
from skflow.training.stream import Rows, Sample, StreamSource

N = 1000


class RowsOf(Rows):
    """The chunks of an array."""

    def __init__(self, X, size=64):
        self.X, self.size = X, size

    def read(self, rng=None):
        starts = np.arange(0, len(self.X), self.size)
        for first in starts if rng is None else rng.permutation(starts):
            yield int(first), self.X[first : first + self.size]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Limits that a small table reaches."""
    monkeypatch.setattr(hp, "SAMPLE_ROWS", 200)
    monkeypatch.setattr(hp, "SHUFFLE_ROWS", 300)


def numbered(n=N):
    """Rows that say which they are."""
    return np.arange(float(n))[:, None]


def source(X, held_out=()):
    left_out = HeldOut(X, np.arange(len(X)), np.array(held_out, dtype=int), len(np.unique(X)))
    rest = Dequantisation({}, {}), Chain(), torch.device("cpu"), 0.0
    return StreamSource(RowsOf(X), len(X), left_out, *rest)


def one_pass(X, size, seed=0, **kwargs):
    return [batch.x[:, 0] for batch in source(X, **kwargs).batches(size, torch.Generator().manual_seed(seed))]


def test_a_pass_has_every_row_once():
    rows = torch.cat(one_pass(numbered(), 50))
    assert sorted(rows.tolist()) == list(range(N))


def test_all_batches_are_of_one_size_and_less_than_one_is_left_over():
    assert [len(rows) for rows in one_pass(numbered(), 64)] == [64] * (N // 64)


@pytest.mark.parametrize("size", [700, 5000])
def test_a_batch_may_be_longer_than_the_buffer(size):
    assert [len(rows) for rows in one_pass(numbered(), size)] == [min(size, N)]


def test_rows_are_mixed_beyond_their_chunks():
    chunks = [len(set((rows // 64).int().tolist())) for rows in one_pass(numbered(), 50)]
    assert min(chunks) >= 3


def test_the_order_follows_from_the_seed_alone():
    first, again, other = (torch.cat(one_pass(numbered(), 50, seed)) for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


def test_shares_of_a_batch_add_up_to_one():
    batch = next(source(numbered()).batches(50, torch.Generator()))
    assert batch.context is None and float(batch.share.sum()) == pytest.approx(1)


def test_rows_held_out_are_left_out_with_their_copies():
    X = np.append(numbered(), numbered(13))[:, None]  # without the three that are left out, whole batches
    rows = torch.cat(one_pass(X, 10, held_out=[3, 500])).tolist()
    assert sorted(set(numbered()[:, 0]) - set(rows)) == [3, 500]


def test_of_few_values_only_the_rows_themselves_are_left_out():
    X = np.tile([0.0, 1.0], N // 2)[:, None]
    held_out = HeldOut(X, np.arange(N), np.arange(100, 200), n_groups=N)
    np.testing.assert_array_equal(held_out.has(X[150:250], np.arange(150, 250)), np.arange(150, 250) < 200)


def test_parts_of_a_batch_make_the_whole():
    whole, *parts = (
        [batch.x for batch in source(numbered()).batches(50, torch.Generator().manual_seed(0), part)]
        for part in (WHOLE, Part(0, 2), Part(1, 2))
    )
    assert all(torch.cat(halves).equal(batch) for batch, *halves in zip(whole, *parts))


def test_a_pass_goes_on_where_it_was_left():
    first, again = (source(numbered()).batches(50, torch.Generator().manual_seed(0)) for _ in range(2))
    rows = [batch.x for batch in first]
    again.skip(8)
    assert all(batch.x.equal(x) for batch, x in zip(again, rows[8:]))


def test_ties_get_fresh_noise_in_every_pass():
    X = np.tile([0.0, 1.0], N // 2)[:, None]
    stream = source(X)
    stream.dequantisation = Dequantisation({0: 1.0}, {})
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.cat([batch.x for batch in stream.batches(50, generator)]) for _ in range(2))
    assert len(first.unique()) > N - 5 and not set(first.ravel().tolist()) & set(second.ravel().tolist())


def test_a_sample_is_uniform():
    places = np.concatenate([Sample.draw(RowsOf(numbered()), seed).number for seed in range(50)])
    counts = np.histogram(places, bins=10, range=(0, N))[0]
    assert np.abs(counts - 1000).max() < 4.5 * np.sqrt(1000 * 0.9 * 0.8)


def test_a_sample_knows_which_rows_it_has():
    sample = Sample.draw(RowsOf(numbered()), 0)
    assert sample.n_rows == N and len(np.unique(sample.number)) == 200
    np.testing.assert_array_equal(sample.X[:, 0], sample.number)


@pytest.mark.parametrize("n", [70, 200])
def test_a_short_stream_is_its_own_sample(n):
    sample = Sample.draw(RowsOf(numbered(n)), 0)
    np.testing.assert_array_equal(sample.X, numbered(n))


def test_a_pass_that_is_given_up_ends_its_thread():
    before = threading.active_count()
    batches = source(numbered()).batches(10, torch.Generator())
    next(batches)
    assert threading.active_count() == before + 1
    del batches
    assert threading.active_count() == before


def test_an_error_of_the_thread_comes_where_it_was_its_turn():
    def items():
        yield 1
        raise OSError("the disk is gone")

    with closing(read_ahead(items(), 2)) as ahead:
        assert next(ahead) == 1
        with pytest.raises(OSError, match="the disk is gone"):
            next(ahead)


def test_a_thread_is_no_more_than_a_few_items_ahead():
    made, seen = [], threading.Event()

    def items():
        for i in range(100):
            made.append(i)
            if i == 3:
                seen.set()
            yield i

    with closing(read_ahead(items(), 2)) as ahead:
        next(ahead)
        assert seen.wait(5)  # one is given, two wait, and one is held by the thread
        assert not threading.Event().wait(0.05) and len(made) == 4
