"""Ctrl-C: a lone fit keeps the best so far, a loop over fits ends."""

import multiprocessing

import numpy as np
import pytest
import torch
from sklearn.ensemble import BaggingRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skflow import FlowDensity, FlowOutlierDetector
from skflow.training import interrupt as interrupts
from skflow.training.reservoir import CAPACITY

from ..helpers import fit_quietly, quick
from .test_training import Eventful, Scaled, interrupt

FITS = []


@pytest.fixture(autouse=True)
def no_fits():
    FITS.clear()


class Counted(FlowDensity):
    """Counts its fits, and looks like a regressor to `BaggingRegressor`."""

    def fit(self, X, y=None, sample_weight=None):
        FITS.append(len(X))
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        return self.score_samples(X)


def cut(cls=FlowDensity, **params):
    """An estimator whose fits are interrupted at the tenth step."""
    return quick(cls, **{"flow": Eventful(interrupt, at={10}), "max_iter": 10**4, **params})


LOOPS = {
    "GridSearchCV": lambda d, X: GridSearchCV(d, {"depth": [1, 2]}, cv=2).fit(X),
    "nested": lambda d, X: cross_val_score(GridSearchCV(d, {"depth": [1, 2]}, cv=2), X, cv=2),
    "Pipeline in a search": lambda d, X: GridSearchCV(
        make_pipeline(StandardScaler(), d), {"standardscaler__with_mean": [True, False]}, cv=2
    ).fit(X),
    "cross_val_score": lambda d, X: cross_val_score(d, X, cv=2),
    "cross_validate": lambda d, X: cross_validate(d, X, cv=2),
    "learning_curve": lambda d, X: learning_curve(d, X, None, cv=2, train_sizes=[0.5, 1.0]),
    "Bagging": lambda d, X: BaggingRegressor(d, n_estimators=2, max_samples=0.9).fit(X, X[:, 0]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_over_fits_ends(name, table):
    with pytest.raises(KeyboardInterrupt):
        LOOPS[name](cut(Counted), table)
    assert len(FITS) == 1


def test_a_halving_search_ends(table):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    with pytest.raises(KeyboardInterrupt):
        HalvingGridSearchCV(cut(Counted), {"depth": [1, 2]}, cv=2, min_resources=100).fit(table)
    assert len(FITS) == 1


def test_joblib_ends(table):
    from joblib import Parallel, delayed

    with pytest.raises(KeyboardInterrupt):
        Parallel()(delayed(cut(Counted).fit)(table) for _ in range(2))
    assert len(FITS) == 1


@pytest.mark.parametrize("make", [cut, lambda: make_pipeline(StandardScaler(), cut())], ids=["alone", "Pipeline"])
def test_a_lone_fit_keeps_the_best_so_far(make, table):
    with pytest.warns(UserWarning, match="interrupted; the best flow so far is kept"):
        density = make().fit(table)
    assert np.isfinite(density.score(table))


def test_a_detector_keeps_the_best_so_far(table):
    with pytest.warns(UserWarning, match="interrupted"):
        detector = cut(FlowOutlierDetector).fit(table)
    assert np.isfinite(detector.score_samples(table)).all()


def test_the_other_starts_are_not_trained_then(table):
    """There are several; an interrupt in the trial of one ends the fit."""
    steps = []

    class Counting(Scaled):
        def forward(self, x, context=None):
            if torch.is_grad_enabled():
                steps.append(len(x))
                if len(steps) == 20:
                    raise KeyboardInterrupt
            return super().forward(x, context)

    with pytest.warns(UserWarning, match="interrupted"):
        density = quick(flow=lambda d, n_context: Counting(d), max_iter=10**4).fit(table)
    assert len(steps) <= 25
    assert np.isfinite(density.score(table))


def test_interrupt_of_the_last_fit_on_all_rows_keeps_the_one_before(table, monkeypatch):
    from skflow.training.density import DensityFitting

    once_more = DensityFitting._on_all_rows

    def interrupted(self, fit, kind):
        monkeypatch.setattr("skflow.training.trainer.Trainer.one_pass", lambda *args: interrupt(None))
        return once_more(self, fit, kind)

    monkeypatch.setattr(DensityFitting, "_on_all_rows", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        density = quick(max_iter=10).fit(table)
    assert density.score(table) == pytest.approx(density.best_validation_score_, abs=1)


def test_twice_means_it(table):
    with pytest.warns(UserWarning, match="interrupted"):
        cut().fit(table)
    with pytest.raises(KeyboardInterrupt):
        cut().fit(table)


def test_some_time_later_it_is_the_first_one_again(table, monkeypatch):
    monkeypatch.setattr(interrupts, "TWICE", 0.0)
    for _ in range(2):
        with pytest.warns(UserWarning, match="interrupted"):
            cut().fit(table)


def test_a_batch_is_one_of_many(table):
    """The batch is undone: the estimator stands where it stood before it."""
    enough = np.resize(table, (CAPACITY, table.shape[1]))  # of fewer rows the next batch would start anew
    density = quick(flow=Eventful(None, ())).partial_fit(enough)
    before = density.score_samples(table)
    for layer in density.flow_.modules():
        if isinstance(layer, Scaled):
            layer.at, layer.happens = range(10**6), interrupt
    with pytest.raises(KeyboardInterrupt):
        density.partial_fit(table)
    for layer in density.flow_.modules():
        if isinstance(layer, Scaled):
            layer.at = ()
    np.testing.assert_array_equal(density.score_samples(table), before)


def test_an_interrupted_search_leaves_the_previous_fit(table):
    density = fit_quietly(quick(), table)
    before = density.score_samples(table)
    density.set_params(flow=Eventful(interrupt, at={5}), max_iter=10**4)
    with pytest.raises(KeyboardInterrupt):
        _as_in_joblib(density.fit, table)
    np.testing.assert_array_equal(density.score_samples(table), before)


def _as_in_joblib(function, *args):
    from joblib import Parallel, delayed

    Parallel()([delayed(function)(*args)])


def _interrupted_in_a_child(X, queue):
    try:
        cut().fit(X)
        queue.put("kept")
    except KeyboardInterrupt:
        queue.put("let through")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_process_started_by_others_ends(table):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_interrupted_in_a_child, args=(table, queue))
    child.start()
    assert queue.get(timeout=60) == "let through"
    child.join(10)
