"""What is told the class one-hot: whitening, kernel estimates, and the mixture of the classes."""

import math

import pytest
import torch
from torch.nn import functional as F

from skflow.flows.bijections.class_whitening import ClassWhitening
from skflow.flows.distributions.class_kernels import ClassKernels
from skflow.flows.distributions.class_mixture import ClassMixture
from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.flows.distributions.normal import StandardNormal
from skflow.flows.flow import Flow

LABEL = torch.tensor([0, 2, 1, 2, 0])
ONE_HOT = F.one_hot(LABEL, 3).double()


def whitening(n_factors=3):
    factors = torch.eye(2).expand(n_factors, 2, 2) + 0.5 * torch.arange(n_factors)[:, None, None] * torch.ones(2, 2)
    return ClassWhitening(torch.tensor([[0.0, 0.0], [1.0, -1.0], [5.0, 2.0]]), factors.tril()).double()


def kernels():
    centres = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-2.0, 0.0], [4.0, 4.0]]).double()
    return ClassKernels(centres, torch.tensor([3.0, 1.0, 1.0, 2.0]).double(), torch.tensor([0, 0, 1, 2]), 0.5)


def mixture():
    members = Flow(whitening(), StandardNormal(2).double()), kernels()
    weights, priors = torch.tensor([0.3, 0.7]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    return ClassMixture(FlowMixture(members, weights), priors, temperature=2.0)


def cells(density, step=0.1):
    """The integral over a grid, class by class."""
    grid = torch.arange(-12, 16, step).double()
    x = torch.cartesian_prod(grid, grid)
    return [float(density.log_prob(x, row.expand(len(x), -1)).exp().sum() * step**2) for row in torch.eye(3).double()]


@pytest.mark.parametrize("n_factors", [1, 3])
def test_whitening_round_trip(n_factors):
    x, bijection = torch.randn(5, 2).double(), whitening(n_factors)
    z, forward = bijection(x, ONE_HOT)
    back, inverse = bijection.inverse(z, ONE_HOT)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse, -forward)


@pytest.mark.parametrize("n_factors", [1, 3])
def test_whitening_log_det_is_that_of_its_jacobian(n_factors):
    x, bijection = torch.randn(5, 2).double(), whitening(n_factors)
    for row, given, found in zip(x, ONE_HOT, bijection(x, ONE_HOT)[1]):
        jacobian = torch.autograd.functional.jacobian(lambda v, g=given: bijection(v[None], g[None])[0][0], row)
        assert float(found) == pytest.approx(float(jacobian.det().abs().log()))


@pytest.mark.parametrize("density", [kernels(), mixture().conditional], ids=["kernels", "mixture"])
def test_densities_given_the_class_integrate_to_one(density):
    assert cells(density) == pytest.approx([1, 1, 1], abs=1e-3)


def test_kernels_of_a_class_know_its_own_rows_alone():
    far = kernels().log_prob(torch.tensor([[-2.0, 0.0]]).double().expand(3, -1), torch.eye(3).double())
    assert far[1] == pytest.approx(-math.log(2 * math.pi * 0.25)) and far[1] > far[[0, 2]].max() + 5


def test_a_row_does_not_depend_on_those_beside_it():
    x, density = torch.randn(5, 2).double(), mixture()
    torch.testing.assert_close(density.log_prob(x)[2:3], density.log_prob(x[2:3]), rtol=0, atol=1e-12)


def test_marginal_is_the_sum_over_the_classes():
    x, density = torch.randn(5, 2).double(), mixture()
    expected = (density.class_log_prob(x).exp() @ density.priors).log()
    torch.testing.assert_close(density.log_prob(x), expected)


def test_posterior_is_tempered():
    density = mixture()
    log_odds = density.posterior(torch.tensor([[3.0, 1.0, 0.0]]).double()) @ torch.tensor([1.0, -1.0, 0.0]).double()
    assert float(log_odds) == pytest.approx(2 / 2 + math.log(0.2 / 0.3))


def test_rows_are_drawn_as_the_density_says():
    density, generator = mixture(), torch.Generator().manual_seed(0)
    label = torch.arange(3).repeat_interleave(4000)
    x = density.sample_of(label, generator)
    for c, row in enumerate(torch.eye(3).double()):
        own = x[label == c]
        grid = torch.arange(-12, 16, 0.1).double()
        cell = torch.cartesian_prod(grid, grid)
        share = density.conditional.log_prob(cell, row.expand(len(cell), -1)).exp() * 0.01
        torch.testing.assert_close(own.mean(0), share @ cell, rtol=0, atol=0.1)
