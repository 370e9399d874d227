"""scikit-learn's callbacks, from its version 1.9 on."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from ..helpers import ESTIMATORS, fit_quietly, quick, same_flow

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")


class Recorder:
    """Notes every hook that is called."""

    def __init__(self, stop_after=None, interrupt_after=None):
        self.stop_after, self.interrupt_after = stop_after, interrupt_after
        self.events, self.scores, self.open = [], [], 0

    def setup(self, estimator, context):
        self.open += 1

    def teardown(self, estimator, context):
        self.open -= 1

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.events.append(("end", context.task_name))
        self.scores.append(fitted_estimator.score_samples(X).mean())
        n_passes = self.events.count(("end", "epoch"))
        if context.task_name == "epoch" and n_passes == self.interrupt_after:
            raise KeyboardInterrupt
        return self.stop_after is not None and n_passes >= self.stop_after


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_every_pass_is_announced_within_the_fit(cls, table):
    recorder = Recorder()
    fit_quietly(quick(cls, early_stopping=False, max_iter=5).set_callbacks(recorder), table)
    assert recorder.events[0] == ("begin", "fit") and recorder.events[-1] == ("end", "fit")
    assert recorder.events[1:-1] == [("begin", "epoch"), ("end", "epoch")] * 5


def test_callbacks_see_a_fitted_estimator(table):
    recorder = Recorder()
    density = fit_quietly(quick(early_stopping=False).set_callbacks(recorder), table)
    assert np.isfinite(recorder.scores).all()
    assert recorder.scores[-1] == pytest.approx(density.score(table), abs=0.5)


def test_fit_is_the_same_when_watched(density, table):
    assert same_flow(fit_quietly(quick(max_iter=10).set_callbacks(Recorder()), table), density)


def test_callback_stops_the_fit(table):
    recorder = Recorder(stop_after=2)
    density = quick(max_iter=10**4, early_stopping=False).set_callbacks(recorder).fit(table)
    assert recorder.events.count(("end", "epoch")) == 2
    assert density.n_iter_ == 2
    assert np.isfinite(density.score(table))


def test_interrupt_in_a_callback_keeps_the_best_so_far(table):
    recorder = Recorder(interrupt_after=3)
    with pytest.warns(UserWarning, match="interrupted"):
        density = quick(max_iter=10**4, early_stopping=False).set_callbacks(recorder).fit(table)
    assert density.n_iter_ == 3
    assert np.isfinite(density.score(table))


def test_fit_leaves_nothing_of_a_callback_behind(table):
    density = fit_quietly(quick().set_callbacks(Recorder()), table)
    assert not [name for name in vars(density) if "callback" in name and name != "_skl_callbacks"]


def test_callbacks_are_torn_down_after_a_fit(table):
    recorder = Recorder()
    fit_quietly(quick().set_callbacks(recorder), table)
    assert recorder.open == 0


def test_callbacks_are_torn_down_after_a_failed_fit(table):
    recorder = Recorder()
    with pytest.raises(RuntimeError):
        quick(flow=make_broken).set_callbacks(recorder).fit(table)
    assert recorder.open == 0


def make_broken(n_features, n_context):
    raise RuntimeError("no such flow")


def test_partial_fit_is_not_announced(table):
    recorder = Recorder()
    density = quick().set_callbacks(recorder).partial_fit(table)
    assert recorder.events == [] and recorder.open == 0
    assert not [name for name in vars(density) if "callback" in name and name != "_skl_callbacks"]


def test_watched_estimator_can_be_cloned_and_pickled(table):
    density = fit_quietly(quick().set_callbacks(Recorder()), table)
    loaded = pickle.loads(pickle.dumps(clone(density)))
    assert np.isfinite(fit_quietly(loaded, table).score(table))


def test_progress_bar_of_scikit_learn(table, capsys):
    pytest.importorskip("rich", reason="scikit-learn draws its progress bar with rich")
    fit_quietly(quick().set_callbacks(callback.ProgressBar()), table)
    assert "FlowDensity" in capsys.readouterr().out
