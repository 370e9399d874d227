"""The parts of variational inference: weights of persistent rows, and targets counted against a budget."""

import numpy as np
import pytest
import torch

from skflow.flows.distributions.defensive import DefensiveMixture
from skflow.flows.distributions.gaussian_mixture import GaussianMixture
from skflow.flows.distributions.normal import StandardNormal
from skflow.training.importance_weights import (
    effective_sample_size,
    fit_generalised_pareto,
    log_mean_std,
    pareto_smoothed,
    shape_by_target_rows,
    tail_shape,
)
from skflow.training.persistent_sampling import PersistentSample, systematic_resampling
from skflow.training.target import BudgetExhausted, Target


def test_mean_weight_is_the_constant():
    generator = torch.Generator().manual_seed(0)
    reference = StandardNormal(2).double()
    x = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    sample = PersistentSample(reference.log_prob)
    sample.add_draws(x, 3.0 - 2 * x.square().sum(1), reference.log_prob)
    assert sample.log_constant() == pytest.approx(3.0 + np.log(np.pi / 2), abs=0.05)


def test_resampling_keeps_expected_counts():
    index = systematic_resampling(torch.tensor([0.5, 0.25, 0.25]).log(), 8, np.random.RandomState(0))
    assert torch.bincount(index).tolist() == [4, 2, 2]


def test_budget_is_never_exceeded():
    target = Target(lambda x: x.sum(1), 10)
    target(torch.zeros(8, 2))
    with pytest.raises(BudgetExhausted):
        target(torch.zeros(3, 2))
    assert target.n_evaluations == 8


def test_undefined_density_is_zero():
    assert Target(lambda x: x[:, 0], 10)(torch.tensor([[torch.nan], [torch.inf]])).tolist() == [-torch.inf] * 2


def test_defensive_mixture_is_normalised():
    mixture = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[-2.0], [1.0]]), torch.tensor([[[1.0]], [[2.0]]]))
    x = torch.linspace(-2000, 2000, 800_001, dtype=torch.float64)[:, None]
    density = DefensiveMixture(mixture.double(), 5.0, 0.5).log_prob(x).exp()
    assert float(torch.trapezoid(density.detach(), x[:, 0])) == pytest.approx(1.0, abs=1e-4)


def test_effective_sample_size_of_equal_weights_is_their_number():
    assert effective_sample_size(torch.full((7,), -3.0)) == pytest.approx(7)


def test_standard_error_is_that_of_repetitions():
    rng = np.random.RandomState(0)
    log_weights = torch.tensor(0.5 * rng.randn(400, 1000))
    spread = float((torch.logsumexp(log_weights, 1)).std())
    assert log_mean_std(log_weights[0]) == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_shape_of_a_pareto_tail_is_found(k):
    u = np.random.RandomState(0).uniform(size=5000)
    excess = np.sort((u**-k - 1) / k)
    assert fit_generalised_pareto(excess)[0] == pytest.approx(k, abs=0.06)


@pytest.mark.parametrize("k", [0.3, 0.9])
def test_shape_of_weights_is_that_of_their_tail(k):
    log_weights = -k * np.log(np.random.RandomState(1).uniform(size=20_000))
    assert pareto_smoothed(log_weights)[1] == pytest.approx(k, abs=0.15)


@pytest.mark.parametrize("k", [0.3, 0.6])
def test_rows_of_the_target_say_the_same_of_the_tail(k):
    """Weights t^(-1/k) under the proposal are t^(1 - 1/k) under the target."""
    log_weights = torch.tensor(-k / (1 - k) * np.log(np.random.RandomState(1).uniform(size=20_000)))
    assert shape_by_target_rows(log_weights) == pytest.approx(k, abs=0.1)


def test_a_place_without_draws_shows_among_rows_of_the_target():
    """A proposal that is right but for a tenth of the target, where it has as good as no density."""
    proposal = torch.tensor(0.1 * np.random.RandomState(0).randn(4000))
    rows = torch.tensor(0.1 * np.random.RandomState(1).randn(300))
    rows[:30] += torch.linspace(1, 30, 30, dtype=torch.float64)
    assert tail_shape(proposal) < 0.3 and shape_by_target_rows(rows) > 0.7


def test_smoothed_weights_keep_their_order_and_greatest():
    log_weights = np.random.RandomState(0).randn(2000) * 2
    smoothed, _ = pareto_smoothed(log_weights)
    order = np.argsort(log_weights)
    assert (np.diff(smoothed[order]) >= 0).all() and smoothed.max() <= log_weights.max()


def test_equal_weights_have_a_light_tail():
    assert pareto_smoothed(np.full(1000, 2.0))[1] <= 0


def test_a_single_draw_that_counts_is_no_tail():
    log_weights = np.full(1000, -np.inf)
    log_weights[0] = 0.0
    assert pareto_smoothed(log_weights)[1] == np.inf
