"""The compiled loops of the spline beside the operations of torch that they stand for."""

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow._settings import resolve_flow
from skflow.flows import RationalQuadraticSpline, build_flow, spline
from skflow.flows.tape import Tape

pytest.importorskip("numba", reason="the loops are compiled by numba")


def evaluate(compiled, dtype, shape, n_bins):
    """Curve, log-slope and both gradients at the same random numbers, some of them outside the interval."""
    curve, generator = RationalQuadraticSpline(n_bins), torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    n_rows, n = shape
    x, params = 3 * draw(*shape), draw(n_rows, curve.n_params, n).transpose(0, 1)
    grad_z, grad_log_slope, grad_params = draw(*shape), draw(*shape), torch.empty_like(params)
    tape, back = Tape(x, keeps=True), Tape(x)
    if compiled:
        z, log_slope, record_back = spline.record_compiled(tape, x, params, n_bins, curve.bound, spline._kernels())
    else:
        curve.compiled = False
        z, log_slope, record_back = curve.record(tape, x, params)
    grad_x = record_back(back, grad_z, grad_log_slope, grad_params)
    for _ in range(2):  # the second time over used memory
        tape.run(), back.run()
    return z, log_slope, grad_x, grad_params


@pytest.mark.parametrize("n_bins", [1, 2, 8, 16])
@pytest.mark.parametrize("shape", [(1, 100), (6, 256), (3, 50)])
def test_compiled_and_torch_agree(shape, n_bins):
    ours, theirs = (evaluate(c, torch.float64, shape, n_bins) for c in (True, False))
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_bins", [1, 2, 8, 16])
def test_compiled_and_torch_invert_alike(n_bins):
    curve, generator = RationalQuadraticSpline(n_bins), torch.Generator().manual_seed(0)
    z = 3 * torch.randn(6, 100, generator=generator, dtype=torch.float64)
    params = torch.randn(6, curve.n_params, 100, generator=generator, dtype=torch.float64)
    tape, kernels = Tape(z), spline._kernels()
    x, log_slope, *_ = spline.record_values(tape, z, params, n_bins, curve.bound, kernels, inverse=True)
    tape.run()
    expected, expected_log_slope = curve.inverse(z, params.transpose(0, 1))
    torch.testing.assert_close(x, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(-log_slope, expected_log_slope, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_single_precision_comes_back_as_near_as_with_torch():
    generator = torch.Generator().manual_seed(0)
    x, params = 3 * torch.randn(4, 3, 100, generator=generator), torch.randn(23, 4, 3, 100, generator=generator)
    errors = []
    for compiled in (True, False):
        curve = RationalQuadraticSpline(8, compiled=compiled)
        z, log_slope = curve.forward(x, params)
        back, inverse_log_slope = curve.inverse(z, params)
        errors.append([(back - x).abs(), (inverse_log_slope + log_slope).abs()])
    for ours, theirs in zip(*errors):
        assert ours.quantile(0.9) < 2 * theirs.quantile(0.9) and ours.max() < 4 * theirs.max()


def test_single_precision_is_no_worse_than_that_of_torch():
    exact = evaluate(False, torch.float64, (6, 256), 8)
    ours, theirs = (evaluate(c, torch.float32, (6, 256), 8) for c in (True, False))
    for a, b, truth in zip(ours, theirs, exact):
        assert a.dtype == torch.float32
        assert (a - truth).abs().quantile(0.9) < 2 * (b - truth).abs().quantile(0.9)


@pytest.fixture
def recorded(monkeypatch):
    """Counts what goes to the compiled loops."""
    calls, original = [], spline.record_compiled
    monkeypatch.setattr(spline, "record_compiled", lambda *args: calls.append(args) or original(*args))
    return calls


@pytest.mark.parametrize(
    ("n", "dtype", "compiled"),
    [(10, torch.float32, True), (10, torch.float64, False), (spline.MAX_COMPILED, torch.float32, False)],
)
def test_small_tensors_in_single_precision_are_compiled(recorded, n, dtype, compiled):
    curve, x = RationalQuadraticSpline(4), torch.zeros(2, n, dtype=dtype)
    curve.forward(x, torch.zeros(curve.n_params, *x.shape, dtype=dtype))
    assert len(recorded) == compiled


@pytest.mark.parametrize(("shape", "compiled"), [((200, 3), False), ((200, 5), True)])
def test_loops_are_not_loaded_for_a_tiny_table(recorded, shape, compiled):
    curve = build_flow("nsf", shape[1], 0, resolve_flow(FlowDensity(), *shape)).links[0].univariate
    x = torch.zeros(2, 10)
    curve.forward(x, torch.zeros(curve.n_params, *x.shape))
    assert len(recorded) == compiled


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
