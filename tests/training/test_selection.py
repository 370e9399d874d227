"""Which starts are trained on, by curves of validation scores."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from skflow.training.hyperparameters import TRIAL_GROWTH, TRUST_IN_RISE
from skflow.training.progress import Progress
from skflow.training.selection import Candidate, best_start

LENGTH = 200  # passes


class Run:
    """A run of one step a pass, whose scores follow a curve."""

    def __init__(self, curve):
        self.curve, self.dropped = curve, False
        self.progress = Progress(start_score=curve(0), best_score=curve(0))
        self.plan = SimpleNamespace(max_iter=LENGTH)

    @property
    def done(self):
        return self.progress.done

    def advance(self, n_steps, on_iteration):
        progress = self.progress
        while not progress.done and progress.n_iter < n_steps:
            progress.n_iter += 1
            score = self.curve(progress.n_iter)
            progress.validation_scores.append(score)
            if score > progress.best_score:
                progress.best_score, progress.best_iter = score, progress.n_iter
            progress.done = progress.n_iter >= LENGTH or progress.n_iter - progress.best_iter >= 20

    def stop(self, why):
        self.progress.done = True

    def drop(self):
        self.dropped = True


def chosen(*curves, trial_steps=10, max_trial_steps=float("inf")):
    fits = [SimpleNamespace(threads=nullcontext)]
    candidates = [Candidate(fits, Run(curve), "linear") for curve in curves]
    plan = SimpleNamespace(trial_steps=trial_steps, max_trial_steps=max_trial_steps, in_whole_passes=math.ceil)
    best = best_start(candidates, plan, lambda fit: False)
    assert [c.run.dropped for c in candidates] == [c is not best for c in candidates]
    return candidates.index(best), [c.run.progress.n_iter for c in candidates]


def flat(score):
    return lambda t: score


def logarithmic(start, rise):
    """Rises by as much with every doubling."""
    return lambda t: start + rise * math.log2(t + 1)


def turning(start, peak):
    return lambda t: start + min(t, peak) - 0.5 * max(0, t - peak)


def test_start_that_is_behind_and_does_not_rise_is_dropped_at_once():
    assert chosen(flat(0.0), flat(-1.0)) == (0, [10, 10])


def test_start_far_behind_that_rises_fast_is_kept_until_it_is_ahead():
    best, n_iter = chosen(flat(0.0), logarithmic(-5.0, 1.0))
    assert best == 1
    assert n_iter[1] >= 31


def test_start_whose_rise_can_not_carry_it_to_the_front_is_dropped():
    best, n_iter = chosen(flat(0.0), logarithmic(-20.0, 1.0))
    assert best == 0
    assert n_iter[1] == 10


def test_start_that_has_turned_is_dropped_at_the_next_comparison():
    best, n_iter = chosen(flat(0.0), turning(-20.0, 15))
    assert best == 0
    assert n_iter[1] <= 35 * TRIAL_GROWTH


def test_of_equal_starts_the_first_is_chosen():
    assert chosen(flat(0.0), flat(0.0))[0] == 0


def test_the_best_is_chosen_when_trials_have_taken_their_share():
    best, n_iter = chosen(flat(0.0), logarithmic(-7.0, 1.0), max_trial_steps=12)
    assert best == 0
    assert max(n_iter) <= 12 * TRIAL_GROWTH


def test_leader_that_regains_what_it_lost_does_not_rise():
    """A start that began well, fell and comes back, beside one that rises to beyond it."""
    best, n_iter = chosen(lambda t: -20.0 + 0.5 * min(t, 40) if t else 0.0, logarithmic(-5.0, 1.0))
    assert best == 1
    assert n_iter[1] >= 31


def test_extrapolation_adds_a_rise_for_every_doubling_to_come():
    progress = Progress(validation_scores=[0.0, 1.0, 1.5, 2.0], best_score=2.0, n_iter=4)
    assert progress.extrapolated_score(16) == pytest.approx(2.0 + TRUST_IN_RISE * 2 * 1.0)
    assert progress.extrapolated_score(4) == pytest.approx(2.0)


def test_extrapolation_counts_nothing_twice_that_was_lost_and_regained():
    progress = Progress(validation_scores=[0.0, 1.0, 2.5, 3.0], start_score=2.0, best_score=3.0, n_iter=4)
    assert progress.extrapolated_score(16) == pytest.approx(3.0 + TRUST_IN_RISE * 2 * 1.0)


def test_extrapolation_of_a_falling_curve_is_its_best():
    progress = Progress(validation_scores=[3.0, 2.0, 1.0, 0.0], best_score=3.0, n_iter=4)
    assert progress.extrapolated_score(1000) == 3.0
