"""Path gradients of the reverse KL divergence."""

import pytest
import torch

from skflow.flows import Affine, Chain, Flow, MaskedAutoregressive, StandardNormal
from skflow.training.path_gradient import _surrogate, minimise_reverse_kl
from skflow.training.target import BudgetExhausted, Target

FACTOR = torch.tensor([[1.0, 0.0], [2.0, 0.5]], dtype=torch.float64)


def target(max_evaluations=10**6):
    """A correlated normal density, up to a constant."""
    precision = torch.linalg.inv(FACTOR @ FACTOR.T)
    return Target(lambda x: -0.5 * torch.einsum("ni,ij,nj->n", x, precision, x), max_evaluations, differentiable=True)


def flow(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = MaskedAutoregressive(2, 0, Affine(), (8,))
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return Flow(Chain([Chain([]), Chain([layer])]), StandardNormal(2)).double()


def test_gradient_is_that_through_the_inverse():
    """The same as differentiating the draws themselves, with the density's own parameters held."""
    q = flow()
    preprocessing, layers = q.bijection.links
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameters = list(layers.parameters())
    held = flow()
    draws = layers.inverse(noise)[0]
    (held.log_prob(draws) - target().with_gradient(draws)).mean().backward()
    expected = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in parameters]
    latent = Flow(layers, q.base)
    found = torch.autograd.grad(
        _surrogate(latent, preprocessing, target(), draws.detach()), parameters, allow_unused=True
    )
    for a, b in zip(found, expected):
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b)


def test_divergence_falls():
    q, p, generator = flow(), target(), torch.Generator().manual_seed(0)

    def divergence():
        x = q.sample(2000, None, torch.Generator().manual_seed(1))
        return float((q.log_prob(x) - p(x)).detach().mean())

    before = divergence()
    minimise_reverse_kl(q, p, 200, generator)
    least = -float(torch.log(2 * torch.pi * torch.linalg.det(FACTOR)))
    assert divergence() - least < 0.1 * (before - least)


def test_budget_ends_it():
    with pytest.raises(BudgetExhausted):
        minimise_reverse_kl(flow(), target(200), 10, torch.Generator().manual_seed(0))
