"""Two ways: data to latent and back, and what the latent is."""

import numpy as np
import pytest
import torch

from ..helpers import fit_quietly, quick


def test_inverse_transform_undoes_transform(fitted, table):
    np.testing.assert_allclose(fitted.inverse_transform(fitted.transform(table)), table, rtol=0, atol=1e-6)


def test_transform_undoes_inverse_transform(fitted):
    Z = np.random.RandomState(0).randn(200, 4)
    np.testing.assert_allclose(fitted.transform(fitted.inverse_transform(Z)), Z, rtol=0, atol=1e-6)


def test_round_trip_far_from_the_data(fitted, table):
    far = table.mean(0) + np.array([-8.0, 8.0])[:, None] * table.std(0)
    np.testing.assert_allclose(fitted.inverse_transform(fitted.transform(far)), far, rtol=1e-5)


@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_log_density_is_that_of_the_latent_normal(base, table):
    """log p(x) = log N(f(x)) + log |det df/dx|, the determinant by automatic differentiation."""
    density = fit_quietly(quick(flow="maf", base=base), table)
    for x in torch.tensor(table[:5]):
        jacobian = torch.autograd.functional.jacobian(lambda x: density.flow_.to_latent(x[None])[0], x)
        z = density.transform(x[None].numpy())[0]
        expected = -0.5 * z @ z - 2 * np.log(2 * np.pi) + float(torch.linalg.slogdet(jacobian)[1])
        assert density.score_samples(x[None].numpy())[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_transform_is_fit_then_transform(table):
    np.testing.assert_array_equal(quick().fit_transform(table), quick().fit(table).transform(table))


def test_sample_has_the_shape_asked_for(fitted):
    assert fitted.sample(7, random_state=0).shape == (7, 4)


def test_sample_of_one_row_by_default(density):
    assert density.sample().shape == (1, 4)


def test_samples_are_finite(fitted):
    assert np.isfinite(fitted.sample(5000, random_state=0)).all()


def test_sample_repeats_with_its_random_state(fitted):
    np.testing.assert_array_equal(fitted.sample(5, random_state=3), fitted.sample(5, random_state=3))


def test_sample_changes_with_its_random_state(fitted):
    assert not np.isin(fitted.sample(5, random_state=3), fitted.sample(5, random_state=4)).any()


def test_sample_without_random_state_is_fresh(density):
    assert not np.isin(density.sample(5), density.sample(5)).any()


def test_sample_draws_from_a_generator(density):
    rng = np.random.RandomState(0)
    assert not np.isin(density.sample(5, random_state=rng), density.sample(5, random_state=rng)).any()


@pytest.mark.long
def test_samples_follow_the_density(fitted):
    """The mean log-density of samples is minus the entropy: two ways to it must agree."""
    X = fitted.sample(4000, random_state=0)
    Z = np.random.RandomState(0).randn(4000, 4)
    a, b = fitted.score_samples(X), fitted.score_samples(fitted.inverse_transform(Z))
    standard_error = np.hypot(a.std(), b.std()) / np.sqrt(4000)
    assert abs(a.mean() - b.mean()) < 5 * standard_error
