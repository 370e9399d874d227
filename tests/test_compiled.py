"""The compiled loops of the spline beside the operations of torch that they stand for."""

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow._settings import resolve_flow
from skflow.flows import RationalQuadraticSpline, build_flow, spline

pytest.importorskip("numba", reason="the loops are compiled by numba")


def evaluate(compiled, dtype, shape, n_bins, shared=True):
    """Curve, log-slope and both gradients at the same random numbers, some of them outside the interval."""
    curve, generator = RationalQuadraticSpline(n_bins), torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    x, params = 3 * draw(*shape), draw(*shape[:-1], curve.n_params, shape[-1]).movedim(-2, 0)
    grad_z, grad_log_slope = draw(*shape), draw(*(shape[-1:] if shared else shape))
    if compiled:
        z, log_slope, memory = curve._evaluate_compiled(x, params, spline._kernels())
    else:
        z, log_slope, memory = curve._evaluate(x, params)
    return z, log_slope, *curve.pull_back(memory, grad_z, grad_log_slope)


@pytest.mark.parametrize("n_bins", [1, 2, 8, 16])
@pytest.mark.parametrize(("shape", "shared"), [((100,), True), ((6, 256), True), ((3, 50), False), ((2, 3, 40), False)])
def test_compiled_and_torch_agree(shape, shared, n_bins):
    ours, theirs = (evaluate(c, torch.float64, shape, n_bins, shared) for c in (True, False))
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_single_precision_is_no_worse_than_that_of_torch():
    exact = evaluate(False, torch.float64, (6, 256), 8)
    ours, theirs = (evaluate(c, torch.float32, (6, 256), 8) for c in (True, False))
    for a, b, truth in zip(ours, theirs, exact):
        assert a.dtype == torch.float32
        assert (a - truth).abs().quantile(0.9) < 2 * (b - truth).abs().quantile(0.9)


@pytest.mark.parametrize(
    ("n", "dtype", "compiled"),
    [(10, torch.float32, True), (10, torch.float64, False), (spline.MAX_COMPILED, torch.float32, False)],
)
def test_small_tensors_in_single_precision_are_compiled(n, dtype, compiled):
    curve, x = RationalQuadraticSpline(4), torch.zeros(2, n, dtype=dtype)
    memory = curve.evaluate(x, torch.zeros(curve.n_params, *x.shape, dtype=dtype))[2]
    assert isinstance(memory, spline._Compiled) == compiled


@pytest.mark.parametrize(("shape", "compiled"), [((200, 3), False), ((200, 5), True)])
def test_loops_are_not_loaded_for_a_tiny_table(shape, compiled):
    curve = build_flow("nsf", shape[1], 0, resolve_flow(FlowDensity(), *shape)).links[0].univariate
    x = torch.zeros(2, 10)
    assert isinstance(curve.evaluate(x, torch.zeros(curve.n_params, *x.shape))[2], spline._Compiled) == compiled


def test_numbers_that_are_not_finite_come_through():
    curve = RationalQuadraticSpline(4)
    z, log_slope = curve.forward(torch.tensor([0.0, float("nan")]), torch.zeros(curve.n_params, 2))
    assert z.isnan().tolist() == [False, True]
    z, log_slope = curve.forward(torch.zeros(2), torch.full((curve.n_params, 2), float("nan")))
    assert z.isnan().all() and log_slope.isnan().all()


def test_fit_without_numba_ends_at_the_same_density(monkeypatch):
    X = np.random.default_rng(0).standard_normal((300, 3)) ** 3
    density = FlowDensity(max_iter=5, random_state=0)
    scores = density.fit(X).score_samples(X)
    monkeypatch.setattr(spline, "_kernels", lambda: None)
    np.testing.assert_allclose(density.fit(X).score_samples(X), scores, atol=0.05)
