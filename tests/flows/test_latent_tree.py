"""Latent trees: densities whose marginals and conditionals are known."""

import itertools

import numpy as np
import pytest
import torch

from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.flows.distributions.latent_tree import LatentTree

SIZES = (0, 2, 3, 0)  # categories of the columns; zero for numbers
GRID = torch.linspace(-25, 25, 2001, dtype=torch.float64)
NAN = torch.nan


def make_tree(seed, k=3):
    """A tree of random numbers: two columns of numbers, two of categories."""
    generator = torch.Generator().manual_seed(seed)

    def log_shares(*shape, dim):
        return torch.log_softmax(torch.randn(shape, generator=generator, dtype=torch.float64), dim)

    return LatentTree(
        torch.tensor([-1, 0, 0, 2]),
        torch.tensor(SIZES),
        log_shares(k, dim=0),
        log_shares(4, k, k, dim=2),
        torch.randn(2, k, generator=generator, dtype=torch.float64),
        0.3 * torch.randn(2, k, generator=generator, dtype=torch.float64),
        torch.cat([log_shares(2, k, dim=0), log_shares(3, k, dim=0)]),
        torch.tensor([0.01, 0.02], dtype=torch.float64),
    )


@pytest.fixture(params=["tree", "mixture"])
def density(request):
    if request.param == "tree":
        return make_tree(0)
    return FlowMixture([make_tree(1), make_tree(2, k=2)], torch.tensor([0.3, 0.7], dtype=torch.float64))


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def all_categories(first, last):
    """Rows of all categories, unknown ones included, between two given numbers."""
    return rows(*((first, a, b, last) for a, b in itertools.product(range(3), range(4))))


def integral(density, make_row):
    with torch.no_grad():
        p = density.log_prob(torch.stack([make_row(v) for v in GRID])).exp()
    return float(torch.trapezoid(p, GRID))


def test_probabilities_and_densities_add_up_to_one(density):
    total = sum(
        integral(density, lambda v, a=a, b=b: torch.stack([v, *rows(a, b, NAN)]))
        for a, b in itertools.product(range(3), range(4))
    )
    assert total == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("column", [0, 3])
def test_a_missing_number_is_integrated_out(density, column):
    row = rows(0.4, 1.0, 2.0, -0.3)
    row[column] = NAN
    expected = density.log_prob(row[None])[0].exp().item()
    assert integral(density, lambda v: torch.where(row.isnan(), v, row)) == pytest.approx(expected, rel=1e-8)


def test_missing_categories_are_summed_out(density):
    total = density.log_prob(all_categories(0.5, -1.0)).exp().sum()
    torch.testing.assert_close(total, density.log_prob(rows([0.5, NAN, NAN, -1.0])).exp()[0])


def test_nothing_observed_is_certain(density):
    torch.testing.assert_close(density.log_prob(torch.full((1, 4), NAN).double()), torch.zeros(1).double())


@pytest.mark.parametrize("code", [3.0, 7.0, -1.0])
def test_unknown_categories_count_together(code):
    tree = make_tree(0)
    torch.testing.assert_close(
        tree.log_prob(rows([NAN, NAN, code, NAN])), torch.log(torch.tensor([0.02], dtype=torch.float64))
    )


def test_what_is_drawn_follows_the_conditional(density):
    n = 20_000
    noise = torch.rand(n, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = noise[:, : 5 if isinstance(density, FlowMixture) else 4]
    given = rows([0.7, NAN, NAN, NAN])
    drawn = density.fill(given, noise, torch.zeros(n, dtype=torch.long))
    assert (drawn[:, 0] == 0.7).all()
    known = rows(*((0.7, a, b, NAN) for a, b in itertools.product(range(2), range(3))))
    expected = torch.softmax(density.log_prob(known), 0).detach().numpy()
    frequency = np.bincount((3 * drawn[:, 1] + drawn[:, 2]).long(), minlength=6) / n
    assert np.abs(frequency - expected).max() < 5 * np.sqrt(0.25 / n)
    below = integral(density, lambda v: torch.stack([rows(0.7)[0], *rows(NAN, NAN), torch.where(v < 0, v, 99.0)]))
    share = below / density.log_prob(given).exp()[0].item()
    assert float((drawn[:, 3] < 0).double().mean()) == pytest.approx(share, abs=0.03)


def test_samples_have_known_categories_and_no_holes(density):
    x = density.sample(500, generator=torch.Generator().manual_seed(0))
    assert x.isfinite().all()
    for j, size in ((1, 2), (2, 3)):
        assert set(x[:, j].tolist()) == set(range(size))
