"""FlowDensity among scikit-learn's own: pipelines, searches, clones, files."""

import copy
import os
import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import FlowDensity

from ..helpers import ESTIMATORS, fit_quietly, quick, same_flow

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_last_step_of_a_pipeline(table):
    pipeline = make_pipeline(StandardScaler(), quick()).fit(table)
    expected = quick().fit(StandardScaler().fit_transform(table)).score(StandardScaler().fit_transform(table))
    assert pipeline.score(table) == pytest.approx(expected, abs=1e-9)


def test_pipeline_samples_through_its_last_step(table):
    assert make_pipeline(StandardScaler(), quick()).fit(table)[-1].sample(3).shape == (3, 4)


def test_transformer_in_front_of_a_classifier():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(quick(max_iter=20), LogisticRegression(max_iter=500)).fit(X, y)
    assert pipeline.score(X, y) > 0.9


def test_cross_val_score_is_held_out_nats(table):
    scores = cross_val_score(quick(), table, cv=3)
    fold = quick().fit(table[80:])
    assert scores.shape == (3,)
    assert scores[0] == pytest.approx(fold.score(table[:80]), abs=1e-9)


def nats(estimator, X, y=None):
    return estimator.score(X)


def threads(estimator, X, y=None):
    return torch.get_num_threads()


def searching(n_jobs=None):
    grid, scoring = {"depth": [1, 2], "flow": ["made", "nsf"]}, {"nats": nats, "threads": threads}
    return GridSearchCV(quick(max_iter=3), grid, cv=2, n_jobs=n_jobs, scoring=scoring, refit="nats")


@pytest.fixture(scope="module")
def search(table):
    """A search in two fresh processes, in an environment that says nothing about threads."""
    get_reusable_executor().shutdown()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
            patch.delenv(name)
        found = searching(n_jobs=2).fit(table)
    get_reusable_executor().shutdown()
    return found


@pytest.mark.long
def test_grid_search_over_depth_and_flow_in_two_processes(search, table):
    assert set(search.best_params_) == {"depth", "flow"}
    check_search(search, table)


def test_grid_search_picks_by_held_out_nats(table):
    check_search(searching().fit(table), table)


def check_search(search, table):
    folds = [(table[120:], table[:120]), (table[:120], table[120:])]
    expected = [
        np.mean([quick(max_iter=3, **params).fit(train).score(test) for train, test in folds])
        for params in search.cv_results_["params"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_nats"], expected, rtol=0, atol=1e-3)
    assert search.best_index_ == int(np.argmax(expected))


@pytest.mark.long
def test_two_processes_do_not_oversubscribe_the_cores(search):
    each = search.cv_results_["mean_test_threads"].max()
    assert 2 * each <= max(2, joblib.cpu_count()), f"{each} threads in each of two processes"


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_clone_has_the_parameters_and_no_fit(cls, table):
    estimator = fit_quietly(quick(cls, bounds=(-50, 50)), table)
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    assert not hasattr(copied, "flow_")


def test_clone_fits_the_same(density, table):
    assert same_flow(clone(density).fit(table), density)


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_pickle_keeps_every_bit(cls, protocol, table):
    estimator = fit_quietly(quick(cls), table)
    loaded = pickle.loads(pickle.dumps(estimator, protocol))
    np.testing.assert_array_equal(loaded.score_samples(table), estimator.score_samples(table))


def test_pickle_keeps_every_bit_of_every_flow(fitted, table):
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.score_samples(table), fitted.score_samples(table))
    np.testing.assert_array_equal(loaded.sample(5, random_state=0), fitted.sample(5, random_state=0))


def test_joblib_file_keeps_every_bit(fitted, table, tmp_path):
    joblib.dump(fitted, tmp_path / "density.joblib")
    loaded = joblib.load(tmp_path / "density.joblib")
    np.testing.assert_array_equal(loaded.score_samples(table), fitted.score_samples(table))


def test_memory_mapped_joblib_file_scores(fitted, table, tmp_path):
    joblib.dump(fitted, tmp_path / "density.joblib")
    loaded = joblib.load(tmp_path / "density.joblib", mmap_mode="r")
    np.testing.assert_array_equal(loaded.score_samples(table), fitted.score_samples(table))


def test_loaded_estimator_trains_on(table):
    estimator = fit_quietly(quick(warm_start=True), table)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert same_flow(loaded.fit(table), estimator.fit(table))


def test_file_holds_no_training_rows(table):
    small, large = (len(pickle.dumps(fit_quietly(quick(base="normal"), X))) for X in (table, np.tile(table, (20, 1))))
    assert large < small + table.nbytes


def test_deep_copy_is_independent(table):
    estimator = fit_quietly(quick(), table)
    before = estimator.score_samples(table)
    copy.deepcopy(estimator).partial_fit(table)
    np.testing.assert_array_equal(estimator.score_samples(table), before)


def test_callable_flow_survives_clone_and_pickle(table):
    estimator = pickle.loads(pickle.dumps(clone(quick(flow=two_layers)).fit(table)))
    assert np.isfinite(estimator.score(table))


def two_layers(n_features, n_context):
    from skflow.flows import Affine, Chain, MaskedAutoregressive, Permutation

    def layer():
        return MaskedAutoregressive(n_features, n_context, Affine(), (8,))

    return Chain([layer(), Permutation.reverse(n_features), layer()])


def test_weights_reach_the_fit_through_a_search(table):
    """Metadata routing: the weights leave one cluster out, so the winner's density must leave it out too."""
    weight = (table[:, 1] > 0).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(quick().set_fit_request(sample_weight=True), {"depth": [1]}, cv=2)
        search.fit(table, sample_weight=weight)
    assert (search.best_estimator_.sample(200, random_state=0)[:, 1] > 0).mean() > 0.95


def test_default_estimator_prints_as_one_word():
    assert repr(FlowDensity()) == "FlowDensity()"
