"""The fit: when it stops, what it keeps, how it goes on, what it says."""

import io
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import nn

from skflow import FlowDensity
from skflow.flows import Bijection
from skflow.training import hyperparameters as hp
from skflow.training.progress import Progress
from skflow.training.progress_bar import ProgressBar

from ..helpers import ESTIMATORS, EVERY_FLOW, fit_quietly, quick, same_flow


class Scaled(Bijection):
    """``z = exp(s) x`` for each column, with something that happens at the given training steps."""

    def __init__(self, n_features, at=(), happens=lambda z: z):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(n_features))
        self.at, self.happens, self.step = at, happens, 0

    def forward(self, x, context=None):
        z = x * self.log_scale.exp()
        if torch.is_grad_enabled():
            self.step += 1
            if self.step in self.at:
                z = self.happens(z)
        return z, self.log_scale.sum().expand(len(x))

    def inverse(self, z, context=None):
        return z * torch.exp(-self.log_scale), -self.log_scale.sum().expand(len(z))


def interrupt(z):
    raise KeyboardInterrupt


def become_nan(z):
    return z * torch.nan


def vanish(z):
    return z * 1e30


class Eventful:
    """A flow parameter: a `Scaled` with an event."""

    def __init__(self, happens, at):
        self.happens, self.at = happens, at

    def __call__(self, n_features, n_context):
        return Scaled(n_features, self.at, self.happens)


# Lengths and curves


@pytest.mark.parametrize("early_stopping", [True, False])
def test_loss_curve_has_an_entry_for_every_pass(table, early_stopping):
    density = fit_quietly(quick(early_stopping=early_stopping, max_iter=7), table)
    assert len(density.loss_curve_) == density.n_iter_ == 7
    assert np.isfinite(density.loss_curve_).all()


def test_validation_scores_have_an_entry_for_every_pass(table):
    density = fit_quietly(quick(max_iter=7), table)
    assert len(density.validation_scores_) == density.n_iter_
    assert density.best_validation_score_ >= max(density.validation_scores_)


def test_no_validation_scores_without_early_stopping(table):
    density = fit_quietly(quick(early_stopping=False), table)
    assert density.validation_scores_ is None
    assert density.best_validation_score_ is None


def noisy_circle(n):
    """Far from the normal distribution that a fit with base="normal" starts from."""
    rng = np.random.RandomState(0)
    angle = 2 * np.pi * rng.rand(n)
    return np.column_stack([np.cos(angle), np.sin(angle)]) + 0.1 * rng.randn(n, 2)


@pytest.fixture(scope="module")
def ring():
    return noisy_circle(120)


HARD_START = {"base": "normal", "depth": 2, "batch_size": 30, "learning_rate_init": 1e-2}


@pytest.mark.parametrize("flow", EVERY_FLOW)
def test_training_raises_the_likelihood(flow, ring):
    start, end = (
        fit_quietly(quick(flow=flow, **{**HARD_START, "early_stopping": False, "max_iter": 60, **rate}), ring)
        for rate in ({"learning_rate_init": 1e-12}, {})
    )
    assert end.score(ring) > start.score(ring) + 0.01, flow


def test_auto_settings_are_reported(table):
    density = FlowDensity(random_state=0, max_iter=1).fit(table)
    assert isinstance(density.depth_, int) and density.depth_ >= 1
    assert all(isinstance(size, int) for size in density.hidden_layer_sizes_)
    assert isinstance(density.n_bins_, int)
    assert isinstance(density.batch_size_, int)


def test_fit_stops_early_where_nothing_gets_better(table):
    density = quick(max_iter=300, n_iter_no_change=3, tol=100.0).fit(table)
    assert density.n_iter_ == (1 + hp.MAX_DROPS) * 3  # patience with every rate


def test_patience_that_ends_with_the_last_pass_adds_none(table):
    assert quick(max_iter=3, n_iter_no_change=3, tol=100.0).fit(table).n_iter_ == 3


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_curves_are_in_nats_of_the_data(unit, table):
    density = fit_quietly(quick(max_iter=10), unit * table)
    nats = density.score(unit * table)
    assert -density.loss_curve_[-1] == pytest.approx(nats, abs=1)
    assert density.best_validation_score_ == pytest.approx(nats, abs=2)


# The best state is kept


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_hopeless_learning_rate_keeps_the_start(cls, table):
    """The state before the first step counts as well, and it is a Gaussian or better."""
    own = {"criterion": "density", "trimmed": False}  # of an estimator whose score is another one by default
    params = {name: own[name] for name in own if name in cls._parameter_constraints}
    estimator = fit_quietly(quick(cls, learning_rate_init=30.0, max_iter=15, **params), table)
    gaussian = GaussianMixture(1).fit(table)
    assert estimator.score_samples(table).mean() > gaussian.score(table) - 0.3


# Trouble


@pytest.mark.parametrize("happens", [become_nan, vanish], ids=["nan", "overflow"])
def test_non_finite_loss_is_rolled_back(table, happens):
    density = fit_quietly(quick(flow=Eventful(happens, at={3, 8}), max_iter=10), table)
    assert density.n_iter_ == 10
    assert np.isfinite(density.loss_curve_).all()
    assert np.isfinite(density.score_samples(table)).all()


def test_roll_back_costs_little(table):
    """Two bad steps among many must not keep the rest from learning."""
    good, rolled_back = (
        fit_quietly(quick(flow=Eventful(become_nan, at), base="normal", max_iter=60, batch_size=32), table).score(table)
        for at in (set(), {5, 20})
    )
    assert rolled_back == pytest.approx(good, abs=0.1)


def test_endless_non_finite_loss_ends_with_the_start_and_a_remedy(table):
    flow = Eventful(become_nan, at=range(10**6))
    with pytest.warns(ConvergenceWarning, match=r"non-finite.*learning_rate_init \(now 0\.008\)") as record:
        density = quick(flow=flow, max_iter=50).fit(table)
    assert record[0].filename == __file__
    assert np.isfinite(density.score_samples(table)).all()


def test_interrupt_keeps_the_best_flow_so_far(table):
    with pytest.warns(UserWarning, match="interrupted; the best flow so far is kept") as record:
        density = quick(flow=Eventful(interrupt, at={20}), max_iter=10**6).fit(table)
    assert record[0].filename == __file__
    assert density.n_iter_ < 25
    assert np.isfinite(density.score_samples(table)).all()


def test_interrupted_fit_is_as_good_as_the_passes_it_made(table):
    with pytest.warns(UserWarning, match="interrupted"):
        flow = Eventful(interrupt, at={5 * 30 + 1})
        cut = quick(flow=flow, base="normal", batch_size=7, max_iter=200, early_stopping=False).fit(table)
    start = quick(flow=Eventful(None, ()), base="normal", learning_rate_init=1e-12, early_stopping=False).fit(table)
    assert cut.n_iter_ >= 4
    assert cut.score(table) > start.score(table)


# Warnings only where they are true


def test_unfinished_fit_warns_at_the_callers_line():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=4 .* still rising") as record:
        quick(**{**HARD_START, "learning_rate_init": 1e-3, "max_iter": 4}).fit(noisy_circle(1000))
    assert record[0].filename == __file__


def test_finished_fit_does_not_warn(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_iter=300, n_iter_no_change=3, tol=100.0).fit(table)


def test_automatic_number_of_passes_does_not_warn(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_iter="auto").fit(table)


def test_fit_without_validation_does_not_warn(table):
    """Without held-out rows nobody knows whether the fit was still getting better."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_iter=2, early_stopping=False).fit(table)


def test_partial_fit_does_not_warn(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().partial_fit(table).partial_fit(table)


# Going on


def test_warm_start_goes_on_from_the_previous_flow(table):
    density = fit_quietly(quick(warm_start=True, max_iter=10), table)
    before = density.score_samples(table)
    fit_quietly(density.set_params(learning_rate_init=1e-12, max_iter=1), table)
    np.testing.assert_allclose(density.score_samples(table), before, atol=1e-4)


def test_warm_start_gets_better(ring):
    density = fit_quietly(quick(warm_start=True, **HARD_START), ring)
    before = density.score(ring)
    fit_quietly(density.set_params(max_iter=30), ring)
    assert density.score(ring) > before


def test_cold_start_forgets(density, table):
    again = fit_quietly(fit_quietly(quick(max_iter=10), table + 5), table)
    assert same_flow(again, density)


def test_warm_start_refuses_another_number_of_columns(table):
    density = fit_quietly(quick(warm_start=True), table)
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        density.fit(table[:, :3])


def test_partial_fit_learns_from_batch_to_batch(table):
    density = quick(flow="maf", base="normal", batch_size=20).partial_fit(table[:120])
    first = density.score(table)
    for _ in range(15):
        density.partial_fit(table[:120]).partial_fit(table[120:])
    assert density.score(table) > first


def test_partial_fit_takes_a_single_row_once_fitted(table):
    density = quick().partial_fit(table)
    before = density.score_samples(table)
    after = density.partial_fit(table[:1]).score_samples(table)
    assert np.isfinite(after).all()
    assert not np.array_equal(after, before)


def test_partial_fit_continues_a_fit(table):
    density = fit_quietly(quick(max_iter=20), table)
    before = density.score(table)
    assert density.partial_fit(table).score(table) == pytest.approx(before, abs=0.2)


def test_partial_fit_is_one_pass(table):
    assert quick().partial_fit(table).n_iter_ == 1


def test_partial_fit_refuses_another_number_of_columns(table):
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        quick().partial_fit(table).partial_fit(table[:, :3])


# What it says


def test_silent_by_default(table, capsys):
    fit_quietly(quick(), table)
    assert capsys.readouterr() == ("", "")


def test_verbose_names_epoch_and_nats(table, capsys):
    fit_quietly(quick(max_iter=5, verbose=1), table)
    out = capsys.readouterr().out
    assert "epoch 5/5" in out
    assert out.count("nats") >= 2 and "train" in out and "validation" in out


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def progress():
    return Progress(loss_curve=[2.0, 1.5], validation_scores=[-2.5, -1.75], best_score=-1.75, best_iter=2, n_iter=2)


def test_progress_bar_redraws_one_line_on_a_terminal(progress):
    stream = Terminal()
    bar = ProgressBar(8, stream)
    bar.update(progress)
    bar.close(progress)
    assert stream.getvalue().count("\r") == 2 and stream.getvalue().count("\n") == 1


def test_progress_bar_shows_both_likelihoods_and_the_time_left(progress):
    stream = Terminal()
    bar = ProgressBar(8, stream)
    bar.interval = 0
    bar.update(progress)
    bar.update(progress)  # the time left follows from the pace between two of them
    line = stream.getvalue()
    assert "epoch 2/8" in line and "train -1.5 nats" in line and "validation -1.75 nats" in line and "s left" in line


def test_progress_bar_in_a_log_writes_lines(progress):
    stream = io.StringIO()
    bar = ProgressBar(8, stream)
    bar.update(progress)
    bar.close(progress)
    assert "\r" not in stream.getvalue() and stream.getvalue().count("\n") == 2
