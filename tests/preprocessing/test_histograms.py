"""Columns whose values are repeated: a bin for every value."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from skflow.flows.bijections.standardize import Standardize
from skflow.preprocessing.histograms import bin_edges, fit_histogram, spread_over_bins

EVERYWHERE = -np.inf, np.inf


@pytest.fixture(scope="module")
def values():
    """Whole numbers, normal but for seven, which three in ten are."""
    rng = np.random.RandomState(0)
    return np.where(rng.uniform(size=2_000) < 0.3, 7.0, np.round(10 + 4 * rng.standard_normal(2_000)))


def _fitted(values, bounds=EVERYWHERE):
    smooth = Standardize(torch.tensor([10.0]), torch.tensor([4.0]))
    return fit_histogram(smooth, values, bin_edges(values), bounds)


def test_bins_stand_for_the_points_of_the_grid(values):
    edges = bin_edges(values)
    np.testing.assert_allclose(edges, np.arange(values.min(), values.max() + 2) - 0.5)


def test_bins_of_values_far_apart_meet_half_way():
    values = np.repeat([0.0, 1.0, 10.0, 1000.0], 10)
    np.testing.assert_allclose(bin_edges(values), [-0.5, 0.5, 5.5, 505.0, 1495.0])


@pytest.mark.parametrize("values", [np.zeros(50), np.random.RandomState(0).standard_normal(50), np.arange(50.0)])
def test_no_bins_where_hardly_a_value_is_repeated_or_all_are_one(values):
    assert bin_edges(values) is None


def test_a_bin_of_many_values_has_the_frequency_of_its_value(values):
    histogram = _fitted(values)
    z, log_slope = histogram(torch.tensor([[7.0]], dtype=torch.float64))
    density = torch.exp(log_slope - 0.5 * z[:, 0] ** 2) / np.sqrt(2 * np.pi)
    assert float(density) == pytest.approx(np.mean(values == 7.0), abs=1e-3)


def test_the_density_integrates_to_one(values):
    histogram = _fitted(values)
    x = torch.linspace(-60, 80, 1_400_001, dtype=torch.float64)[:, None]
    z, log_slope = histogram(x)
    density = torch.exp(log_slope - 0.5 * z[:, 0] ** 2) / np.sqrt(2 * np.pi)
    assert float(density.sum()) * 1e-4 == pytest.approx(1, abs=1e-4)


def test_values_spread_over_their_bins_are_normal_scores(values):
    histogram = _fitted(values)
    x = spread_over_bins(torch.from_numpy(values), histogram.edges, np.random.RandomState(1))
    np.testing.assert_array_equal(np.round(x), values)
    z = np.sort(histogram(x[:, None])[0][:, 0])
    assert np.abs(ndtr(z) - (np.arange(2_000) + 0.5) / 2_000).max() < 0.02


def test_it_goes_on_far_beyond_the_bins(values):
    z, log_slope = _fitted(values)(torch.tensor([[-1e3], [1e3]], dtype=torch.float64))
    assert z.isfinite().all() and log_slope.isfinite().all()


def test_edges_end_at_the_bounds(values):
    values = np.maximum(values, 0)
    assert float(_fitted(values, (0.0, np.inf)).edges[0]) == 0.0


def test_none_where_a_smooth_density_is_as_good():
    values = np.round(50 * np.random.RandomState(0).standard_normal(3_000))
    smooth = Standardize(torch.zeros(1, dtype=torch.float64), torch.tensor([50.0], dtype=torch.float64))
    assert fit_histogram(smooth, values, bin_edges(values), EVERYWHERE) is None


def test_few_values_leave_room_for_others():
    values = np.repeat([0.0, 1.0, 10.0], 200)
    z, log_slope = _fitted(values)(torch.tensor([[-5.0], [50.0]], dtype=torch.float64))
    assert z.isfinite().all() and log_slope.isfinite().all()
