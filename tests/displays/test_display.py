"""The displays, the HTML diagram and the progress bar: what a person sees of an estimator."""

import io
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skflow
from skflow import DensityDisplay, FlowDensity, LatentDisplay, LossCurveDisplay
from skflow.displays.panels import mass_levels
from skflow.training.progress import Progress
from skflow.training.progress_bar import ProgressBar

from ..helpers import ESTIMATORS, fit_quietly, quick

plt = pytest.importorskip("matplotlib.pyplot", reason="the displays draw with matplotlib")
NAMES = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pair(table):
    return fit_quietly(quick(), table[:, :2])


@pytest.fixture(scope="module")
def frame(table):
    return pd.DataFrame(table, columns=NAMES)


@pytest.fixture(scope="module")
def framed(frame):
    return fit_quietly(quick(), frame)


class TestDensity:
    def test_of_two_columns_is_exact(self, pair, table):
        display = DensityDisplay.from_estimator(pair, table[:, :2], grid_resolution=20)
        x, y = display.grids[0][7], display.grids[1][3]
        assert display.surfaces[0, 1][3, 7] == pytest.approx(np.exp(pair.score_samples([[x, y]])[0]))
        assert display.figure_ is display.ax_.figure
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("x0", "x1")

    def test_marginals_are_densities(self, pair, table):
        display = DensityDisplay.from_estimator(pair, table[:, :2])
        assert len(display.marginal_ax_) == 2
        for grid, curve in zip(display.grids, display.curves):
            assert curve.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.1)

    def test_of_one_column(self, table):
        density = fit_quietly(quick(), table[:, :1])
        display = DensityDisplay.from_estimator(density, table[:, :1])
        assert display.ax_.get_ylabel() == "density"
        assert display.curves[0] == pytest.approx(np.exp(density.score_samples(display.grids[0][:, None])))

    def test_more_columns_make_a_corner(self, density, table):
        display = DensityDisplay.from_estimator(density, table, n_samples=500, grid_resolution=15)
        assert display.ax_.shape == (4, 4)
        assert sorted(display.surfaces) == [(a, b) for a in range(4) for b in range(a + 1, 4)]
        assert [ax.get_xlabel() for ax in display.ax_[-1]] == ["x0", "x1", "x2", "x3"]

    def test_other_columns_are_integrated_out(self, density, table):
        display = DensityDisplay.from_estimator(density, table, features=[1], n_samples=20_000, grid_resolution=60)
        drawn = density.sample(20_000, random_state=1)[:, 1]
        grid = display.grids[0]
        middle = grid[30]
        below = display.curves[0][grid <= middle].sum() * (grid[1] - grid[0])
        assert below == pytest.approx((drawn <= middle).mean(), abs=0.03)

    def test_other_columns_are_held_at_given_values(self, framed, frame):
        display = DensityDisplay.from_estimator(framed, frame, features=["a", "c"], given={"b": -2}, grid_resolution=12)
        medians = frame.median()
        first, second = np.meshgrid(*display.grids)
        rows = pd.DataFrame({"a": first.ravel(), "b": -2.0, "c": second.ravel(), "d": medians["d"]})
        expected = np.exp(framed.score_samples(rows)).reshape(first.shape)
        ratio = display.surfaces[0, 1] / expected
        assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]), rel=1e-6)

    @pytest.mark.parametrize("given", ["median", {"d": 0.5}])
    def test_slices_are_densities_of_what_varies(self, framed, frame, given):
        display = DensityDisplay.from_estimator(framed, frame, features=["a", "b", "c"], given=given, grid_resolution=9)
        for (a, b), surface in display.surfaces.items():
            cell = np.diff(display.grids[a][:2]) * np.diff(display.grids[b][:2])
            assert surface.sum() * cell == pytest.approx(1)

    @pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
    def test_names_come_from_the_frame(self, table, kind, recwarn):
        X = kind(table[:, :2], **{"columns" if kind is pd.DataFrame else "schema": ["height", "weight"]})
        display = DensityDisplay.from_estimator(fit_quietly(quick(), X), X, grid_resolution=10)
        assert display.ax_.get_xlabel() == "height"
        assert not [w for w in recwarn if "feature names" in str(w.message)]

    @pytest.mark.parametrize("estimator", [KernelDensity(), GaussianMixture(2, random_state=0)], ids=["kde", "gmm"])
    def test_draws_scikit_learns_densities_too(self, estimator, table):
        estimator.fit(table)
        assert DensityDisplay.from_estimator(estimator, table, features=[0, 1], n_samples=200).surfaces
        estimator.fit(table[:, :2])
        assert DensityDisplay.from_estimator(estimator, table[:, :2]).surfaces

    def test_log_density_has_a_scale_in_nats(self, pair, table):
        display = DensityDisplay.from_estimator(pair, table[:, :2], quantity="log_density", grid_resolution=20)
        assert any("nats" in ax.get_ylabel() for ax in display.figure_.axes)

    def test_draws_into_given_axes(self, pair, table):
        figure, ax = plt.subplots()
        display = DensityDisplay.from_estimator(pair, table[:, :2], ax=ax, grid_resolution=20)
        assert display.ax_ is ax and display.figure_ is figure and not display.marginal_ax_

    def test_plots_again_without_computing(self, pair, table):
        display = DensityDisplay.from_estimator(pair, table[:, :2], grid_resolution=20)
        first = display.ax_
        assert display.plot(levels=(0.5,), points=False).ax_ is not first

    def test_draws_bounded_and_constant_columns(self, table):
        X = np.column_stack([table[:, 0], np.ones(len(table))])
        density = fit_quietly(quick(bounds=[(0, None), None]), X)
        DensityDisplay.from_estimator(density, X, grid_resolution=15)
        DensityDisplay.from_estimator(density, X, grid_resolution=15, quantity="log_density")

    def test_mass_levels_enclose_their_share(self):
        rng = np.random.RandomState(0)
        density = rng.rand(40, 40)
        (level,) = mass_levels(density, [0.3])
        assert density[density >= level].sum() / density.sum() == pytest.approx(0.3, abs=0.01)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"features": "bb"}, "'bb' is not a column of X.*Did you mean 'b'"),
            ({"features": 7}, "feature 7 is out of range: X has 4 columns"),
            ({"features": ["a", 0]}, "each only once"),
            ({"given": "mean"}, "given must be None, 'median' or a dict"),
            ({"features": ["a", "b"], "quantity": "nats"}, "quantity must be 'mass' or 'log_density'"),
            ({"features": ["a", "b"], "levels": [50]}, "shares of the mass between 0 and 1"),
        ],
    )
    def test_errors_say_what_to_do(self, framed, frame, params, message):
        with pytest.raises(ValueError, match=message):
            DensityDisplay.from_estimator(framed, frame, n_samples=50, **params)

    def test_too_many_columns(self, density, table):
        wide = fit_quietly(quick(), np.hstack([table, table, table]) + np.random.RandomState(0).randn(240, 12))
        with pytest.raises(ValueError, match="choose up to 8 of them with features="):
            DensityDisplay.from_estimator(wide, np.hstack([table, table, table]))

    def test_a_corner_makes_its_own_figure(self, density, table):
        with pytest.raises(ValueError, match="leave ax=None"):
            DensityDisplay.from_estimator(density, table, ax=plt.subplots()[1], n_samples=50)

    def test_a_pipeline_without_sample_needs_given(self, table):
        pipeline = make_pipeline(StandardScaler(), quick())
        fit_quietly(pipeline, table)
        with pytest.raises(TypeError, match="pass `given`"):
            DensityDisplay.from_estimator(pipeline, table, features=[0, 1])
        assert DensityDisplay.from_estimator(
            pipeline, table, features=[0, 1], given="median", grid_resolution=10
        ).surfaces


class TestLossCurve:
    def test_shows_both_curves_and_the_epoch_kept(self, density):
        display = LossCurveDisplay.from_estimator(density)
        assert "nats" in display.ax_.get_ylabel()
        labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert labels[:2] == ["training rows", "held-out rows"] and f"epoch {display.best_epoch}" in labels[2]
        assert display.figure_ is display.ax_.figure

    def test_epoch_kept_is_the_best_one(self):
        display = LossCurveDisplay(train=[-3, -2, -1], validation=[-3, -2, -2.5], best_score=-2)
        assert display.best_epoch == 2

    def test_the_start_may_be_the_best(self):
        assert LossCurveDisplay(train=[-3], validation=[-3], best_score=-2.5).best_epoch == 0

    def test_without_validation(self, table):
        density = fit_quietly(quick(early_stopping=False), table)
        display = LossCurveDisplay.from_estimator(density)
        assert display.best_epoch is None and len(display.ax_.lines) == 1

    def test_refuses_what_has_no_curve(self, table):
        with pytest.raises(TypeError, match="has no loss_curve_.*best_estimator_"):
            LossCurveDisplay.from_estimator(GaussianMixture().fit(table))


class TestLatent:
    def test_one_panel_a_column(self, density, table):
        display = LatentDisplay.from_estimator(density, table)
        assert display.ax_.shape == (4,)
        assert display.latent == pytest.approx(density.transform(table))

    def test_chosen_columns_in_given_axes(self, density, table):
        figure, axes = plt.subplots(1, 2)
        display = LatentDisplay.from_estimator(density, table, features=[0, -1], ax=axes)
        assert display.names == ["z0", "z3"] and display.figure_ is figure

    def test_wrong_number_of_axes(self, density, table):
        with pytest.raises(ValueError, match="draws 4 panels, got 1 axes"):
            LatentDisplay.from_estimator(density, table, ax=plt.subplots()[1])

    def test_wrong_column(self, density, table):
        with pytest.raises(ValueError, match="latent columns from 0 to 3"):
            LatentDisplay.from_estimator(density, table, features=4)

    def test_refuses_what_has_no_latent_space(self, table):
        with pytest.raises(TypeError, match="no method `transform`"):
            LatentDisplay.from_estimator(GaussianMixture().fit(table), table)


@pytest.mark.parametrize("display", [DensityDisplay, LatentDisplay])
def test_unfitted_estimator(display, table):
    with pytest.raises(NotFittedError):
        display.from_estimator(FlowDensity(), table)


def test_displays_leave_the_estimator_as_it_is(table):
    density = fit_quietly(quick(), table)
    before = dict(vars(density))
    DensityDisplay.from_estimator(density, table, n_samples=50, grid_resolution=10)
    LatentDisplay.from_estimator(density, table)
    LossCurveDisplay.from_estimator(density)
    assert vars(density) == before


def test_missing_matplotlib_names_the_extra(monkeypatch, density):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"LossCurveDisplay draws with matplotlib.*skflow-density\[plot\]"):
        LossCurveDisplay.from_estimator(density)


class TestHtml:
    @pytest.mark.parametrize("cls", ESTIMATORS)
    def test_before_the_fit(self, cls):
        assert "realnvp, depth auto, not fitted" in cls(flow="realnvp")._repr_html_()

    @pytest.mark.parametrize("cls", ESTIMATORS)
    def test_shows_flow_depth_and_score(self, cls, table):
        estimator = fit_quietly(quick(cls), table)
        score = f"{estimator.best_validation_score_:.4g} nats per held-out row"
        assert f"nsf, depth 1: {score}" in estimator._repr_html_()

    def test_fits_nothing(self, density, monkeypatch):
        """Whatever scikit-learn asks of an estimator that it shows."""
        monkeypatch.setattr(FlowDensity, "_fit_proposal", lambda self: pytest.fail("a proposal has been fitted"))
        density._repr_html_()
        dir(density)

    def test_without_held_out_rows(self, table):
        assert "nats per training row" in fit_quietly(quick(early_stopping=False), table)._repr_html_()

    def test_inside_a_pipeline(self, table):
        assert "nsf, depth 1: " in fit_quietly(make_pipeline(StandardScaler(), quick()), table)._repr_html_()

    def test_names_a_callable_flow(self):
        def my_flow(n_features, n_context):
            return skflow.flows.Standardize

        assert "my_flow, depth auto" in FlowDensity(my_flow)._repr_html_()


class TestProgressBar:
    @pytest.fixture
    def progress(self):
        return Progress(loss_curve=[2.0], validation_scores=[-2.5], best_score=-2.5, best_iter=1, n_iter=1)

    def test_silent_unless_asked(self, table, capsys):
        fit_quietly(quick(), table)
        assert capsys.readouterr() == ("", "")

    def test_redraws_in_place_in_a_notebook(self, progress):
        stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
        bar = ProgressBar(8, stream)
        bar.update(progress)
        bar.close(progress)
        assert stream.getvalue().count("\r") == 2 and stream.getvalue().count("\n") == 1

    def test_never_wraps_a_line(self, progress, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        stream = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})()
        ProgressBar(8, stream).update(progress)
        assert len(stream.getvalue().strip("\r")) < 40

    def test_pace_is_that_of_the_run_at_work(self, progress):
        bar = ProgressBar(8, io.StringIO())
        bar.update(progress)
        bar.update(progress)
        assert bar.seconds is not None
        bar.update(Progress(n_iter=1))
        assert bar.seconds is None


class TestMixedTables:
    """Categories as bars, and beside other columns as colours."""

    @pytest.fixture(scope="class")
    def table(self):
        rng = np.random.RandomState(0)
        kind = rng.choice(["thin", "thick", "broken"], 200, p=[0.6, 0.3, 0.1])
        width = np.where(kind == "thick", 5.0, 1.0) + 0.3 * rng.standard_normal(200)
        frame = pd.DataFrame({"kind": kind, "width": width, "checked": rng.uniform(size=200) < 0.5})
        return frame.assign(width=frame["width"].where(rng.uniform(size=200) < 0.9))

    @pytest.fixture(scope="class")
    def fitted(self, table):
        return fit_quietly(quick(), table)

    def test_a_bar_has_the_probability_of_its_category(self, fitted, table):
        display = DensityDisplay.from_estimator(fitted, table, features="kind")
        assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["broken", "thick", "thin"]
        heights = [bar.get_height() for bar in display.ax_.patches]
        np.testing.assert_allclose(heights, [0.1, 0.3, 0.6], atol=0.07)

    def test_colours_follow_the_categories(self, fitted, table):
        display = DensityDisplay.from_estimator(fitted, table, features=["kind", "width"])
        surface, grid = display.surfaces[0, 1], display.grids[1]
        thick, thin = surface[:, 1], surface[:, 2]
        assert grid[thick.argmax()] > 3 > grid[thin.argmax()]

    def test_all_columns_make_a_corner(self, fitted, table):
        assert DensityDisplay.from_estimator(fitted, table).ax_.shape == (3, 3)

    def test_given_asks_for_numbers(self, fitted, table):
        with pytest.raises(ValueError, match="categories"):
            DensityDisplay.from_estimator(fitted, table, given="median")
