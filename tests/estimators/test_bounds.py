"""Declared bounds: no density outside, all of it inside."""

import numpy as np
import pandas as pd
import pytest

from ..flows.test_normalised import mass
from ..helpers import fit_quietly, quick

SIDES = {"both": (0.0, 1.0), "lower": (0.0, None), "upper": (None, 1.0)}


@pytest.fixture(scope="module")
def shares():
    """250 rows in the unit square, crowded at two of its edges."""
    rng = np.random.RandomState(0)
    return np.column_stack([rng.beta(0.8, 2, 250), rng.beta(2, 1, 250)])


@pytest.fixture(scope="module", params=SIDES)
def bounded(request, shares):
    """A fit with the first column bounded, and the bound."""
    return fit_quietly(quick(bounds=[SIDES[request.param], None]), shares), SIDES[request.param]


def test_density_is_zero_outside(bounded, shares):
    density, (low, high) = bounded
    outside = np.array(([[low - 1e-9, 0.5]] if low is not None else []) + ([[high + 1e-9, 0.5]] if high else []))
    assert (density.score_samples(outside) == -np.inf).all()
    assert (density.score_samples(outside.astype(np.float32) + np.sign(outside - 0.5).astype(np.float32)) == -np.inf)[0]


def test_density_is_finite_inside(bounded, shares):
    density, (low, high) = bounded
    edges = [x for x in (low, high) if x is not None] + [1e-300, 1e-12, 1 - 1e-12]
    assert np.isfinite(density.score_samples([[x, 0.5] for x in edges])).all()


def test_unbounded_side_is_finite_far_away(bounded):
    density, (low, high) = bounded
    far = [[x, y] for x in (-1e5, 1e5) for y in (-1e5, 1e5) if (low is None or x > low) and (high is None or x < high)]
    far = far or [[0.5, 1e5]]
    assert np.isfinite(density.score_samples(far)).all()


def test_samples_stay_inside(bounded):
    density, (low, high) = bounded
    x = density.sample(5000, random_state=0)[:, 0]
    assert low is None or x.min() >= low
    assert high is None or x.max() <= high


def test_samples_have_a_finite_log_density(bounded):
    density, _ = bounded
    assert np.isfinite(density.score_samples(density.sample(5000, random_state=0))).all()


def test_round_trip_inside(bounded, shares):
    density, _ = bounded
    np.testing.assert_allclose(density.inverse_transform(density.transform(shares)), shares, rtol=0, atol=1e-7)


def test_mass_inside_both_bounds_is_one(shares):
    density = fit_quietly(quick(bounds=(0, 1)), shares)
    u = (np.arange(600) + 0.5) / 600
    x = 0.5 - 0.5 * np.cos(np.pi * u)  # dense at the edges, where the density may grow without limit
    cell = 0.5 * np.pi * np.sin(np.pi * u) / 600
    rows = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    total = np.sum(np.exp(density.score_samples(rows)) * np.outer(cell, cell).ravel())
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("low, high", [(0.0, None), (None, 0.0)])
def test_mass_on_a_half_line_is_one(low, high):
    X = np.random.RandomState(0).gamma(1.5, size=(300, 1)) * (1 if high is None else -1)
    density = fit_quietly(quick(bounds=(low, high)), X)
    assert mass(density.score_samples, [0.0], [1.0], n=4001) == pytest.approx(1, abs=0.01)


def test_one_pair_holds_for_every_column(shares):
    density = fit_quietly(quick(bounds=(0, 1)), shares)
    assert (density.score_samples([[0.5, 1.1], [1.1, 0.5], [-0.1, 0.5]]) == -np.inf).all()


def test_rows_on_the_bounds_can_be_fitted():
    X = np.random.RandomState(0).rand(100, 1).clip(0.1, 0.9)
    density = fit_quietly(quick(bounds=(0.1, 0.9)), X)
    assert np.isfinite(density.score_samples(X)).all()


def test_bounds_of_a_frame_follow_its_columns(shares):
    frame = pd.DataFrame(shares, columns=["a", "b"])
    density = fit_quietly(quick(bounds=[None, (0, 1)]), frame)
    assert density.score_samples(pd.DataFrame({"a": [0.5], "b": [1.5]}))[0] == -np.inf
