"""The copy of a fitted flow for rows of another precision: made once, never older than the flow."""

import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
import torch

from skflow.inference import conversion
from skflow.inference.conversion import converted

from ..helpers import fit_quietly, quick

SINGLE = torch.float32, torch.device("cpu")


@pytest.fixture
def own(table):
    return fit_quietly(quick(), table)


def test_the_flow_itself_where_it_is_as_wanted(own):
    assert converted(own.flow_, torch.float64, torch.device("cpu")) is own.flow_


def test_it_is_copied_once(own):
    assert converted(own.flow_, *SINGLE) is converted(own.flow_, *SINGLE) is not own.flow_


def test_scores_are_those_of_a_fresh_copy(own, table):
    single = table.astype(np.float32)
    first = own.score_samples(single)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(own.score_samples(single), first)
    np.testing.assert_allclose(first, own.score_samples(table), atol=1e-3)


@pytest.mark.parametrize("how", ["in place", "data", "new tensor", "loaded"])
def test_it_follows_the_flow(how, own, table):
    single = table.astype(np.float32)
    before, weights = own.score_samples(single), {k: v.clone() for k, v in own.flow_.state_dict().items()}
    name, parameter = next((n, p) for n, p in own.flow_.named_parameters() if n.endswith("means"))
    if how == "in place":
        with torch.no_grad():
            parameter.add_(1)
    elif how == "data":
        parameter.data.add_(1)
    elif how == "new tensor":
        own.flow_.base.means = torch.nn.Parameter(parameter.detach() + 1)
    else:
        own.flow_.load_state_dict({**weights, name: weights[name] + 1})
    after = own.score_samples(single)
    np.testing.assert_allclose(after, own.score_samples(table), atol=1e-3)
    assert np.abs(after - before).max() > 0.01


def test_a_new_fit_has_a_copy_of_its_own(own, table):
    single = table.astype(np.float32)
    before = own.score_samples(single)
    fit_quietly(own, table[:50])
    assert np.abs(own.score_samples(single) - before).max() > 0.01


def test_it_goes_with_the_flow(own, table):
    own.score_samples(table.astype(np.float32))
    flow, twin = weakref.ref(own.flow_), weakref.ref(converted(own.flow_, *SINGLE))
    fit_quietly(own, table)
    gc.collect()
    assert flow() is None and twin() is None
    assert own.flow_ not in conversion._COPIES


def test_it_is_not_pickled(own, table):
    before = len(pickle.dumps(own))
    own.score_samples(table.astype(np.float32))
    assert len(pickle.dumps(own)) == before


def test_threads_may_share_it(own, table):
    single = np.tile(table.astype(np.float32), (5, 1))
    expected, wrong = own.score_samples(single), []

    def score():
        for _ in range(5):
            wrong.extend(np.flatnonzero(own.score_samples(single) != expected))

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
