"""Same seed, same result; and nothing outside the estimator is touched."""

import random
import warnings

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow.flows import FLOWS

from ..helpers import ESTIMATORS, fit_quietly, quick, same_flow, target


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_same_seed_same_flow(flow, table):
    assert same_flow(*(fit_quietly(quick(flow=flow, depth=2, max_iter=2), table[:100]) for _ in range(2)))


def test_same_seed_same_default_flow(moons):
    """With nothing set but the seed, so with early stopping and the mixture base as they come."""
    first, second = (FlowDensity(random_state=3, max_iter=30).fit(moons) for _ in range(2))
    np.testing.assert_array_equal(first.score_samples(moons), second.score_samples(moons))
    assert first.loss_curve_ == second.loss_curve_


def test_other_seed_other_flow(density, table):
    assert not same_flow(fit_quietly(quick(max_iter=10, random_state=1), table), density)


def test_no_seed_is_fresh(table):
    assert not same_flow(*(fit_quietly(quick(random_state=None), table) for _ in range(2)))


def test_seed_may_be_a_generator(table):
    first, second = (fit_quietly(quick(random_state=np.random.RandomState(5)), table) for _ in range(2))
    assert same_flow(first, second)


def test_global_seeds_do_not_matter(density, table):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        again = fit_quietly(quick(max_iter=10), table)
    assert same_flow(again, density)


@pytest.mark.parametrize("seed", [0, None])
def test_refit_of_one_estimator_forgets_the_first_fit(table, seed):
    estimator = quick()
    first = fit_quietly(estimator, table[:, :2]).score_samples(table[:, :2])
    fit_quietly(estimator, table)
    np.testing.assert_array_equal(fit_quietly(estimator, table[:, :2]).score_samples(table[:, :2]), first)


def global_state():
    return {
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": repr(np.random.get_state()),  # noqa: NPY002 the legacy generator is the one to watch
        "python generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "inter-op threads": torch.get_num_interop_threads(),
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "flush denormals": float(torch.tensor([1e-310], dtype=torch.float64)),
        "numpy errors": np.geterr(),
        "warning filters": list(warnings.filters),
    }


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize(
    "method", ["fit", "partial_fit", "score_samples", "transform", "inverse_transform", "sample", "bic", "predict"]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_global_state_is_untouched(cls, seed, method, table, two_threads):
    estimator = quick(cls, random_state=seed)
    if not hasattr(estimator, method):
        pytest.skip(f"{cls.__name__} has no {method}")
    if method not in ("fit", "partial_fit"):
        fit_quietly(estimator, table[:60])
    y = [target(estimator, table)] if method == "fit" else []
    before = global_state()
    getattr(estimator, method)(5 if method == "sample" else table, *y)
    after = global_state()
    changed = [name for name in before if after[name] != before[name]]
    assert not changed, f"{method} changed {changed}"


def test_failed_fit_leaves_threads_and_generators(table, two_threads):
    before = global_state()
    with pytest.raises(RuntimeError):
        quick(flow=make_broken).fit(table)
    assert global_state() == before


def make_broken(n_features, n_context):
    torch.rand(3)
    raise RuntimeError("no such flow")


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_default_dtype_of_the_caller_does_not_matter(double_by_default, density, table):
    again = fit_quietly(quick(max_iter=10), table)
    np.testing.assert_allclose(again.score_samples(table), density.score_samples(table), atol=0.5)
    assert again.sample(3, random_state=0).dtype == np.float64


def test_fit_works_where_gradients_are_off(density, table):
    with torch.no_grad():
        again = fit_quietly(quick(max_iter=10), table)
    assert same_flow(again, density)


def test_scores_carry_no_graph(density, table):
    assert not any(p.requires_grad and p.grad is not None for p in density.flow_.parameters())
