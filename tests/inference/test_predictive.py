"""Distribution functions, quantiles and moments of mixtures of known members."""

import numpy as np
import pytest
import torch
from scipy import stats

from skflow.flows import Chain, Flow, Standardize, StandardNormal
from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.inference.predictive import Predictive

CONTEXT = np.zeros((3, 1))


def predictive(locations, scales, weights):
    """Of a mixture of normals."""
    members = [
        Flow(Chain([Standardize(torch.tensor([m]), torch.tensor([s]))]), StandardNormal(1))
        for m, s in zip(locations, scales)
    ]
    mixture = FlowMixture(members, torch.tensor(weights, dtype=torch.float64))
    return Predictive(Flow(Chain(), mixture).double(), torch.device("cpu"), True, 1)


def test_quantiles_and_cdf_of_a_mixture_of_normals():
    some = predictive([-2.0, 0.0, 5.0], [0.1, 2.0, 0.5], [0.2, 0.5, 0.3])
    levels = np.array([1e-6, 0.01, 0.2, 0.5, 0.9, 1 - 1e-6])
    found = some.quantiles(CONTEXT, levels)
    normals = stats.norm([-2.0, 0.0, 5.0], [0.1, 2.0, 0.5])
    np.testing.assert_allclose((normals.cdf(found[0][:, None]) * [0.2, 0.5, 0.3]).sum(1), levels, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(some.cdf(found[:, 3], CONTEXT), 0.5, atol=1e-8)


def test_moments_of_a_mixture_of_normals():
    mean, std = predictive([-1.0, 1.0], [0.5, 0.5], [0.5, 0.5]).moments(CONTEXT)
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(std, np.sqrt(1.25), rtol=5e-3)


def test_a_member_that_reaches_far_beyond_all_others_does_not_carry_the_mean_away():
    mean, std = predictive([0.0, 0.1, 1e6], [1.0, 1.0, 1e9], [0.4, 0.4, 0.2]).moments(CONTEXT)
    assert abs(mean[0, 0]) < 3 and std[0, 0] < 10


def test_weights_a_row():
    some = predictive([0.0, 10.0], [1.0, 1.0], [0.5, 0.5])
    levels = some.cdf(np.array([0.0, 0.0, 10.0]), CONTEXT, np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    assert levels == pytest.approx([0.5, 0.0, 0.5])
