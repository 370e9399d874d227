"""Densities integrate to one: every flow, fitted or not, in one and in two dimensions, in any unit."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

from skflow.flows import FLOWS, Flow, FlowSettings, StandardNormal, build_flow

from ..helpers import EVERY_FLOW, fit_quietly, quick

SETTINGS = FlowSettings(depth=2, hidden_layer_sizes=(8, 8), n_bins=5)
UNITS = [1e-3, 1e4]


def points(centre, unit, n, reach):
    """Grid points of a line, dense around ``centre`` and far into the tails, and the length that each stands for."""
    u = np.linspace(-reach, reach, n)
    return centre + unit * np.sinh(u), unit * np.cosh(u) * (u[1] - u[0])


def mass(log_density, centre, unit, n=401, reach=9.0):
    """Integral of ``exp(log_density(rows))`` over a line or a plane; ``centre`` and ``unit`` describe each column."""
    axes = [points(c, s, n, reach) for c, s in zip(centre, unit)]
    rows = np.stack(np.meshgrid(*[x for x, _ in axes], indexing="ij"), -1).reshape(-1, len(axes))
    cells = np.stack(np.meshgrid(*[w for _, w in axes], indexing="ij"), -1).prod(-1).ravel()
    return float(np.sum(np.exp(log_density(rows)) * cells))


def unfitted(name, n_features, spread):
    """A flow as it is built, or with weights moved by normal numbers of standard deviation ``spread``."""
    torch.manual_seed(3)
    flow = Flow(build_flow(name, n_features, 0, SETTINGS), StandardNormal(n_features)).double()
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(spread * torch.randn_like(p))
    return flow


@pytest.fixture(autouse=True)
def _torch_generator_as_before():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.mark.parametrize("spread", [0.0, 0.2], ids=["as built", "random weights"])
@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize("name", sorted(FLOWS))
def test_unfitted_flow_integrates_to_one(name, n_features, spread):
    flow = unfitted(name, n_features, spread)
    with torch.no_grad():
        total = mass(lambda rows: flow.log_prob(torch.tensor(rows)).numpy(), [0.0] * n_features, [1.0] * n_features)
    assert total == pytest.approx(1, abs=5e-3), f"{name} in {n_features}-D"


@pytest.fixture(scope="module")
def one_column():
    rng = np.random.RandomState(0)
    return np.where(rng.rand(250) < 0.3, -2 + 0.4 * rng.randn(250), 1 + rng.randn(250))[:, None]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", sorted(FLOWS))
def test_fitted_flow_integrates_to_one_in_one_dimension(name, unit, one_column):
    X = unit * one_column
    density = fit_quietly(quick(flow=name, depth=2), X)
    total = mass(density.score_samples, X.mean(0), X.std(0), n=4001)
    assert total == pytest.approx(1, abs=5e-3), f"{name} at a scale of {unit}"


@pytest.mark.parametrize("name", EVERY_FLOW)
def test_fitted_flow_integrates_to_one_in_two_dimensions(name):
    X = make_moons(250, noise=0.2, random_state=0)[0] * UNITS
    density = fit_quietly(quick(flow=name, depth=2, max_iter=10), X)
    total = mass(density.score_samples, X.mean(0), X.std(0), n=501)
    assert total == pytest.approx(1, abs=1e-2), name


@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_fitted_flow_integrates_to_one_with_base(base):
    X = make_moons(250, noise=0.2, random_state=0)[0]
    density = fit_quietly(quick(base=base), X)
    assert mass(density.score_samples, X.mean(0), X.std(0), n=501) == pytest.approx(1, abs=1e-2)


def test_the_integral_would_notice_a_missing_log_determinant(one_column):
    """The grid is fine enough to tell: without the 1 / scale of standardisation the mass is off by that factor."""
    density = fit_quietly(quick(), 10 * one_column)
    total = mass(lambda rows: density.score_samples(rows) + np.log(1.02), [0.0], [10.0], n=4001)
    assert total == pytest.approx(1.02, abs=5e-3)
