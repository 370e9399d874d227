"""What the default does when rows are many: its settings follow from their number, and nothing is done twice."""

import dataclasses

import numpy as np
import pytest

from skflow import FlowDensity
from skflow.training import density, hyperparameters, selection, trainer
from skflow.training.hyperparameters import LONG, VERY_LONG, resolve_plan
from skflow.training.table import Table

from ..helpers import fit_quietly, quick


def plan(n):
    return resolve_plan(FlowDensity(), n, 6)


def test_batch_and_steps_grow_and_the_rate_falls_where_a_table_is_long():
    short, long = plan(LONG), plan(20 * LONG)
    assert long.batch_size / short.batch_size == pytest.approx(20**0.5, rel=0.02)
    assert long.n_steps / short.n_steps == pytest.approx(20**0.85, rel=0.05)
    assert long.learning_rate / short.learning_rate == pytest.approx(20**-0.25)


def test_rate_and_decay_that_are_given_are_taken():
    given = resolve_plan(FlowDensity(learning_rate_init=0.1, alpha=0.2), 20 * LONG, 6)
    assert (given.learning_rate, given.alpha) == (0.1, 0.2)


def test_decay_is_that_of_columns_over_rows():
    assert plan(1000).alpha == pytest.approx(40 * 6 / 1000)


def test_rows_seen_stay_where_a_table_is_very_long():
    seen = [n * plan(n).max_iter for n in (VERY_LONG, 8 * VERY_LONG)]
    assert seen[1] == pytest.approx(seen[0], rel=0.1)


def test_starts_of_a_long_table_are_not_compared_for_long():
    assert plan(LONG).max_trial_steps == np.inf
    assert plan(10 * LONG).max_trial_steps < 0.11 * plan(10 * LONG).n_steps


def test_starts_are_compared_no_longer_than_the_plan_says(moons, monkeypatch):
    steps = {}
    advance = selection.Candidate.advance

    def note(candidate, n_steps, on_iteration):
        advance(candidate, n_steps, on_iteration)
        steps[id(candidate.run)] = candidate.run.trainers[0].step

    monkeypatch.setattr(selection.Candidate, "advance", note)
    monkeypatch.setattr(hyperparameters, "ROWS_TO_REFIT", (0, 0))
    monkeypatch.setattr(density, "resolve_plan", lambda *args: plan_of_two_trials)
    plan_of_two_trials = dataclasses.replace(
        resolve_plan(FlowDensity(max_iter=40, n_iter_no_change=100), len(moons), 2), trial_steps=5, max_trial_steps=10
    )
    FlowDensity(random_state=0).fit(moons)
    assert len(steps) > 1 and sorted(steps.values())[-2] <= 10


def test_a_trial_within_a_pass_is_not_the_pass(monkeypatch):
    monkeypatch.setattr(hyperparameters, "MAX_TRIAL_STEPS", 5)
    seen = []
    one_step = trainer.Trainer._one_step

    def note(self, current):
        seen.append(self)
        return one_step(self, current)

    monkeypatch.setattr(trainer.Trainer, "_one_step", note)
    X = np.random.default_rng(0).gamma(1.0, size=(1000, 2))
    fitted = fit_quietly(quick(batch_size=30, max_iter=1), X)
    assert fitted.n_iter_ == 1 and seen.count(seen[-1]) >= 900 // 30


def test_held_out_rows_have_a_limit(monkeypatch):
    monkeypatch.setattr(hyperparameters, "MAX_HELD_OUT", 50)
    X = np.random.default_rng(0).standard_normal((1000, 2))
    (fold,) = Table(X, None, None, None, np.random.RandomState(0)).split(0.1)
    assert len(fold.held_out) == 50 and len(fold.train) == 950


@pytest.mark.parametrize(("limit", "tried"), [(10, False), (10_000, True)])
@pytest.mark.parametrize("base", ["auto", "mixture"])
def test_mixtures_are_not_tried_on_a_long_table_unless_asked_for(base, limit, tried, moons, monkeypatch):
    monkeypatch.setattr(hyperparameters, "MAX_ROWS_FOR_MIXTURES", limit)
    sizes = []
    fit_bases = density.fit_bases

    def note(*args, **more):
        choices = fit_bases(*args, **more)
        sizes.extend(len(base.means) for choice in choices for base in choice)
        return choices

    monkeypatch.setattr(density, "fit_bases", note)
    fit_quietly(quick(base=base), moons)
    assert (max(sizes) > 2) == (tried or base == "mixture")  # one component is always the broad one
