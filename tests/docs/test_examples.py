"""Every example runs, headless, and draws. Fits are cut short here; `make docs` runs the examples as they stand."""

import dataclasses
import runpy
import warnings
from pathlib import Path

import pytest

import skflow.training.classification
import skflow.training.density
import skflow.training.ensemble
from skflow.training.hyperparameters import resolve_plan

plt = pytest.importorskip("matplotlib.pyplot", reason="the examples draw with matplotlib")
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("plot_*.py"))
EPOCHS = 4


def hasty_plan(estimator, n, d):
    plan = resolve_plan(estimator, n, d)
    return dataclasses.replace(plan, max_iter=min(EPOCHS, plan.max_iter))


def test_the_examples_are_found():
    assert len(EXAMPLES) >= 9


@pytest.mark.long
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, monkeypatch):
    for module in (skflow.training.classification, skflow.training.density, skflow.training.ensemble):
        monkeypatch.setattr(module, "resolve_plan", hasty_plan)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda *args, **kwargs: None)
    plt.switch_backend("Agg")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(path), run_name="__main__")
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert figures and all(figure.axes for figure in figures), "no picture"
    finally:
        plt.close("all")
