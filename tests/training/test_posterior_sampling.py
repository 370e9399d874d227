"""The parts of variational inference: weights of persistent rows, and targets counted against a budget."""

import numpy as np
import pytest
import torch

from skflow.flows.distributions.defensive import DefensiveMixture
from skflow.flows.distributions.gaussian_mixture import GaussianMixture
from skflow.flows.distributions.normal import StandardNormal
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
