"""Hamiltonian Monte Carlo: what it leaves invariant, and what it makes of places that are hard to get to."""

import pytest
import torch

from skflow.training.hamiltonian import hamiltonian_monte_carlo

FACTOR = torch.tensor([[1.0, 0.0], [200.0, 50.0]], dtype=torch.float64)
PRECISION = torch.linalg.inv(FACTOR @ FACTOR.T)


def normal(x):
    return -0.5 * torch.einsum("ni,ij,nj->n", x, PRECISION, x)


@pytest.mark.parametrize(("n_leaps", "differentiable"), [(10, True), (1, False)])
def test_density_is_left_invariant(n_leaps, differentiable):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=generator, dtype=torch.float64) @ FACTOR.T
    moved = hamiltonian_monte_carlo(
        x, normal if differentiable else lambda x: normal(x.detach()), 20, n_leaps, generator
    )
    white = torch.linalg.solve_triangular(FACTOR, moved.T, upper=False)
    torch.testing.assert_close(torch.cov(white), torch.eye(2, dtype=torch.float64), atol=0.1, rtol=0)


def test_chains_come_from_a_part_to_the_whole():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 1, generator=generator, dtype=torch.float64).abs()  # the upper half alone
    moved = hamiltonian_monte_carlo(x, lambda x: -0.5 * x.square().sum(1), 20, 10, generator)
    assert float((moved < 0).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_evaluations_are_as_many_as_is_said():
    rows = 0

    def counted(x):
        nonlocal rows
        rows += len(x)
        return normal(x)

    hamiltonian_monte_carlo(torch.ones(7, 2, dtype=torch.float64), counted, 3, 4, torch.Generator().manual_seed(0))
    assert rows == 7 * (1 + 3 * 4)


def test_places_without_density_are_never_entered():
    def positive(x):
        assert x.isfinite().all()
        return torch.where(x[:, 0] > 0, x[:, 0].log() - x[:, 0], -torch.inf)

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(500, 1, generator=generator, dtype=torch.float64)
    assert (hamiltonian_monte_carlo(x, positive, 10, 5, generator) > 0).all()
