"""The compiled loops beside the operations of torch that they stand for."""

import math

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow._settings import resolve_flow
from skflow.flows import Affine, MaskedAutoregressive, RationalQuadraticSpline, build_flow, networks, univariate
from skflow.flows.compiled import load, team
from skflow.flows.networks import DenseNetwork, MaskedNetwork
from skflow.flows.row_order import row_order
from skflow.flows.tape import Tape

numba = pytest.importorskip("numba", reason="the loops are compiled by numba")

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}  # tens of roundings


pytestmark = pytest.mark.usefixtures("two_threads")


def draws(dtype):
    """Random numbers, the same ones in either precision."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def assert_near(ours, theirs, tolerance):
    """To a tolerance in units of the largest number."""
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale)


# Elementary functions


@pytest.fixture(scope="module")
def elementary():
    """Functions of arrays, in the vectors that the loops go by."""
    from skflow.flows.compiled.loops import functions
    from skflow.flows.compiled.loops.vectors import vector_function

    def over_arrays(function):
        @vector_function
        def run(code, x, out, n):
            def body(i, nothing):
                code.store(function(code.load(code.place(x, i))), code.place(out, i))
                return nothing

            code.loop(0, n, [], body, step=code.length)

        @numba.njit
        def call(x, out, n, number):
            run(x, out, n, number)

        def apply(x):
            filled = np.concatenate([x, np.ones(-len(x) % 16, x.dtype)])
            out = np.empty_like(filled)
            call(filled.ctypes.data, out.ctypes.data, len(filled), x.dtype.type(0))
            return out[: len(x)]

        return apply

    return {
        "exp": over_arrays(functions.exp),
        "log": over_arrays(functions.log),
        "softplus": over_arrays(lambda x: functions.softplus(x)[0]),
        "sigmoid": over_arrays(lambda x: functions.softplus(x)[1]),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "exact", "low", "high", "units"),
    [
        ("exp", np.exp, -80, 80, 1),
        ("log", lambda x: np.log(np.exp(x).astype(x.dtype).astype(np.longdouble)), -80, 80, 2),
        ("softplus", lambda x: np.logaddexp(0, x.astype(np.longdouble)), -30, 30, 4),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x.astype(np.longdouble))), -30, 30, 3),
    ],
)
def test_elementary_functions_err_in_the_last_digit(elementary, name, exact, low, high, units, dtype):
    x = np.random.default_rng(0).uniform(low, high, 100_000).astype(dtype)
    truth = exact(x.astype(np.longdouble) if name == "exp" else x)
    ours = elementary[name](np.exp(x) if name == "log" else x)
    assert ours.dtype == dtype
    assert np.abs(ours - truth).max() > 0, "the truth is no more precise"
    assert (np.abs(ours - truth) / np.spacing(np.abs(truth).astype(dtype))).max() <= units


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementary_functions_at_the_ends(elementary, dtype):
    nan, inf = math.nan, math.inf
    low, zero, high = elementary["exp"](np.array([-inf, 0, inf], dtype))
    assert 0 < low < 2 * np.finfo(dtype).tiny and zero == 1 and np.finfo(dtype).max / 4 < high < inf
    assert elementary["log"](np.array([0, 1, inf], dtype)).tolist() == [-inf, 0, inf]
    assert elementary["softplus"](np.array([-inf, inf], dtype)).tolist() == [pytest.approx(0, abs=1e-30), inf]
    assert all(np.isnan(function(np.array([nan], dtype))).all() for function in elementary.values())


# Networks


def evaluate_network(network, parts, grad, compiled):
    """Parameters tile by tile, and the gradients, over used memory."""
    network.compiled = compiled
    tape, back = Tape(parts[0], keeps=True), Tape(parts[0])
    params, record_back = network.record(tape, parts)
    rows = network.row_order(parts[0])
    sorted_grad = grad if rows.order is None else grad[rows.order]
    grad_input, grads = record_back(back, sorted_grad.transpose(0, 1), True)
    for _ in range(2):
        tape.run(), back.run()
    alone = Tape(parts[0])
    same, _ = network.record(alone, parts)
    for _ in range(2):
        alone.run()
    assert same.equal(params)
    params = params.transpose(0, 1)
    return [params if rows.undo is None else params[rows.undo], grad_input, *grads]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("d", "n_context", "n_params", "hidden", "t", "m"),
    [
        (1, 0, 2, (3,), 1, 32),
        (1, 2, 2, (5, 4), 2, 64),
        (3, 0, 2, (3,), 3, 96),
        (7, 2, 5, (20, 9), 3, 96),
        (21, 0, 23, (128, 70), 4, 256),
        (5, 3, 2, (), 2, 32),
    ],
)
def test_networks_agree_with_torch(d, n_context, n_params, hidden, t, m, masked, dtype):
    if masked:
        network = MaskedNetwork(d, n_context, n_params, hidden).to(dtype)
    else:
        network = DenseNetwork(d + n_context, d, n_params, hidden).to(dtype)
    draw = draws(dtype)
    with torch.no_grad():
        for layer in network.layers():
            layer.affine.copy_(0.3 * draw(*layer.affine.shape))  # what a mask hides as well
        parts, grad = [draw(t, n_context, m)] * bool(n_context) + [draw(t, d, m)], draw(t * d, n_params, m)
        theirs = evaluate_network(network, parts, grad, compiled=False)
        ours = evaluate_network(network, parts, grad, compiled=True)
        assert_near(ours, theirs, TOLERANCE[dtype])
        torch.set_num_threads(1)
        for a, b in zip(evaluate_network(network, parts, grad, compiled=True), ours):
            assert a.equal(b), "the number of threads has a say in the result"


def test_what_is_not_a_number_comes_through_a_network():
    network, x = MaskedNetwork(3, 0, 2, (8, 8)), torch.zeros(1, 3, 32)
    torch.nn.init.ones_(network.output.affine)
    x[0, 1, 5] = math.nan
    with torch.no_grad():
        params = network(x).view(2, 3, 32)
    assert params[:, 2, 5].isnan().all()
    params[..., 5] = 0
    assert not params.isnan().any()


# Curves

CURVES = {"affine": Affine} | {f"{k} bins": lambda k=k: RationalQuadraticSpline(k) for k in (1, 2, 8, 16)}


def evaluate_curve(name, dtype, shape, compiled):
    """Curve, log-slope, both gradients and the way back at the same random numbers, some of them far out."""
    curve, draw, (n_rows, n) = CURVES[name](), draws(dtype), shape
    curve.compiled = compiled
    x, params = 3 * draw(*shape), draw(n_rows, curve.n_params, n).transpose(0, 1)
    grad_z, grad_log_slope, grad_params = draw(*shape), draw(*shape), torch.empty_like(params)
    tape, back, alone = Tape(x, keeps=True), Tape(x), Tape(x)
    tiles, rows = x[:, None], row_order(n_rows, ((0, 1),), x.device)
    z, log_slope, record_back = curve.record(tape, tiles, params, rows)
    grad_x = record_back(back, grad_z[:, None], grad_log_slope, grad_params)
    for _ in range(2):  # the second time over used memory
        tape.run(), back.run()
    same = curve.record(alone, tiles, params, rows)[:2]
    alone.run()
    assert same[0].equal(z) and same[1].equal(log_slope)
    with torch.no_grad():
        return [z[:, 0], log_slope, grad_x[:, 0], grad_params, *curve.inverse(z[:, 0], params)]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("shape", [(1, 96), (6, 256), (40, 32)])
def test_curves_agree_with_torch(name, shape):
    ours, theirs = (evaluate_curve(name, torch.float64, shape, c) for c in (True, False))
    assert_near(ours, theirs, 1e-11)
    torch.set_num_threads(1)
    for a, b in zip(evaluate_curve(name, torch.float64, shape, True), ours):
        assert a.equal(b), "the number of threads has a say in the result"


@pytest.mark.parametrize("name", ["affine", "8 bins"])
def test_single_precision_is_no_worse_than_that_of_torch(name):
    exact = evaluate_curve(name, torch.float64, (6, 256), False)
    ours, theirs = (evaluate_curve(name, torch.float32, (6, 256), c) for c in (True, False))
    for a, b, truth in zip(ours, theirs, exact):
        assert a.dtype == torch.float32
        assert (a - truth).abs().quantile(0.9) < 2 * (b - truth).abs().quantile(0.9)


@torch.no_grad()
def test_single_precision_comes_back_as_near_as_with_torch():
    draw = draws(torch.float32)
    x, params = 3 * draw(4, 3, 96), draw(23, 4, 3, 96)
    errors = []
    for compiled in (True, False):
        curve = RationalQuadraticSpline(8, compiled=compiled)
        z, log_slope = curve.forward(x, params)
        back, inverse_log_slope = curve.inverse(z, params)
        errors.append([(back - x).abs(), (inverse_log_slope + log_slope).abs()])
    for ours, theirs in zip(*errors):
        assert ours.quantile(0.9) < 2 * theirs.quantile(0.9) and ours.max() < 4 * theirs.max()


@pytest.mark.parametrize("name", ["affine", "8 bins"])
def test_what_is_not_a_number_comes_through_a_curve(name):
    curve, x = CURVES[name](), torch.zeros(32)
    x[1] = math.nan
    z, _ = curve.forward(x, torch.zeros(curve.n_params, 32))
    assert z.isnan().nonzero().tolist() == [[1]]
    z, log_slope = curve.forward(torch.zeros(32), torch.full((curve.n_params, 32), math.nan))
    assert z.isnan().all() and log_slope.isnan().all()


# The sequential direction


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("curve", [Affine, lambda: RationalQuadraticSpline(8)])
@pytest.mark.parametrize(
    ("d", "n_context", "hidden"), [(6, 0, (64, 64)), (5, 2, (20, 30)), (2, 1, (3,)), (9, 0, (40, 30, 50)), (4, 0, ())]
)
@torch.no_grad()
def test_the_sequential_direction_agrees_with_torch(d, n_context, hidden, curve, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, draw = MaskedAutoregressive(d, n_context, curve(), hidden).to(dtype), draws(dtype)
    for p in layer.parameters():
        p.add_(0.1 * draw(*p.shape))
    z, context = draw(300, d), draw(300, n_context) if n_context else None
    layer.network.compiled = layer.univariate.compiled = False
    theirs = layer.inverse(z, context)
    layer.network.compiled = layer.univariate.compiled = True
    ours = layer.inverse(z, context)
    assert_near(ours, theirs, TOLERANCE[dtype])
    torch.set_num_threads(1)
    assert all(a.equal(b) for a, b in zip(layer.inverse(z, context), ours))


# When they are used


@pytest.mark.parametrize(
    ("n", "dtype", "shared", "compiled"),
    [
        (32, torch.float32, True, True),
        (32, torch.float64, True, True),
        (32, torch.float16, True, False),
        (33, torch.float32, True, False),
        (32, torch.float32, False, True),
        (univariate.MAX_ALONE, torch.float32, False, False),
        (univariate.MAX_ALONE, torch.float32, True, True),
    ],
)
def test_curves_are_compiled_where_it_pays(monkeypatch, n, dtype, shared, compiled):
    monkeypatch.setattr(univariate, "is_shared", lambda: shared)
    assert (RationalQuadraticSpline(4).loops(torch.zeros(2, n, dtype=dtype)) is not None) == compiled


@pytest.mark.parametrize(
    ("m", "dtype", "shared", "compiled"),
    [
        (32, torch.float32, True, True),
        (32, torch.float64, True, False),  # other than the weights: torch says so
        (33, torch.float32, True, False),
        (32, torch.float32, False, False),
    ],
)
def test_networks_are_compiled_where_it_pays(monkeypatch, m, dtype, shared, compiled):
    monkeypatch.setattr(networks, "is_shared", lambda: shared)
    network = MaskedNetwork(3, 0, 2, (8,)).float()
    assert (network.loops(torch.zeros(1, 3, m, dtype=dtype)) is not None) == compiled


@pytest.mark.parametrize(("shape", "compiled"), [((200, 3), False), ((200, 5), True)])
@pytest.mark.parametrize("name", ["nsf", "maf"])
def test_loops_are_not_loaded_for_a_tiny_table(name, shape, compiled):
    link = build_flow(name, shape[1], 0, resolve_flow(FlowDensity(), *shape)).links[0]
    assert (link.univariate.loops(torch.zeros(2, 32)) is not None) == compiled
    assert (link.network.loops(torch.zeros(1, shape[1], 32)) is not None) == compiled


@pytest.mark.parametrize(("n_threads", "work", "used"), [(1, 1e9, 1), (2, 1e9, 2), (2, 10, 1)])
def test_calls_take_the_threads_that_torch_has_and_the_work_can_feed(monkeypatch, n_threads, work, used):
    counts = []
    monkeypatch.setattr(team, "_parallel", lambda: lambda body, at, n, flags: counts.append(n))
    monkeypatch.setattr(team, "_n_cores", lambda: 8)
    torch.set_num_threads(n_threads)
    step = team.Step(load("affine").forward, 0, int(work))  # no items
    team.Call([step], torch.float32, [0] * 20, [])()
    assert counts == [used] * (used > 1)


@pytest.mark.parametrize("flow", ["nsf", "maf", "realnvp"])
@pytest.mark.parametrize("missing", ["numba", "threads"])
def test_fit_without_numba_or_shared_threads_ends_at_the_same_density(monkeypatch, flow, missing):
    X = np.random.default_rng(0).standard_normal((300, 4)) ** 3
    density = FlowDensity(flow, max_iter=5, random_state=0)
    scores, rows = density.fit(X).score_samples(X), density.sample(50, random_state=0)
    if missing == "numba":
        for module in (networks, univariate):
            monkeypatch.setattr(module, "load", lambda name: None)
    else:
        monkeypatch.setattr(team, "_parallel", lambda: None)
        assert not team.is_shared()
    np.testing.assert_allclose(density.score_samples(X), scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(density.sample(50, random_state=0), rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(density.fit(X).score_samples(X), scores, atol=0.05)
