"""The compiled loops beside the torch modules that they stand for."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from skflow import engine
from skflow.engine import networks, univariate
from skflow.engine.blocks import SEQUENTIAL_LAYER, pack
from skflow.engine.compiler import load
from skflow.engine.dispatch import FORMS
from skflow.engine.tape import Tape
from skflow.flows import Affine, MaskedAutoregressive, RationalQuadraticSpline
from skflow.flows.networks.dense import DenseNetwork
from skflow.flows.networks.masked import MaskedNetwork

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
    from skflow.engine.kernels import functions
    from skflow.engine.kernels.vectors import vector_function

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


def rows_of(tiles):
    """Tiles (t, k, m) as (k, t m)."""
    return tiles.transpose(0, 1).flatten(1)


def evaluate_network(network, parts, grad):
    """Parameters and gradients by the compiled loops, over used memory."""
    tape, back = Tape(parts[0], FORMS, keeps=True), Tape(parts[0])
    params, record_back = networks.record(tape, network, parts)
    grad_input, grads = record_back(back, grad, True)
    for _ in range(2):
        tape.run(), back.run()
    alone = Tape(parts[0], FORMS)
    same, _ = networks.record(alone, network, parts)
    for _ in range(2):
        alone.run()
    assert same.equal(params)
    return [params, grad_input, *grads]


def evaluate_module(network, parts, grad):
    """The same from the module and autograd."""
    t, d, n_params, m = grad.shape
    h = rows_of(torch.cat(parts, 1)).requires_grad_()
    params = network(h).unflatten(2, (t, m)).permute(2, 1, 0, 3)
    grad_input, *grads = torch.autograd.grad((params * grad).sum(), [h, *network.parameters()])
    return [params.detach(), grad_input.unflatten(1, (t, m)).transpose(0, 1), *grads]


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
    parts, grad = [draw(t, n_context, m)] * bool(n_context) + [draw(t, d, m)], draw(t, d, n_params, m)
    theirs = evaluate_module(network, parts, grad)
    with torch.no_grad():
        ours = evaluate_network(network, parts, grad)
        assert_near(ours, theirs, TOLERANCE[dtype])
        torch.set_num_threads(1)
        for a, b in zip(evaluate_network(network, parts, grad), ours):
            assert a.equal(b), "the number of threads has a say in the result"


@torch.no_grad()
def test_what_is_not_a_number_comes_through_a_network():
    network, x = MaskedNetwork(3, 0, 2, (8, 8)), torch.zeros(1, 3, 32)
    torch.nn.init.ones_(network.output.affine)
    x[0, 1, 5] = math.nan
    tape = Tape(x, FORMS)
    params, _ = networks.record(tape, network, [x])
    tape.run()
    assert params[0, 2, :, 5].isnan().all()
    params[..., 5] = 0
    assert not params.isnan().any()


# Univariate maps

MAPS = {"affine": Affine} | {f"{k} bins": lambda k=k: RationalQuadraticSpline(k) for k in (1, 2, 8, 16)}


def drawn(name, dtype, shape):
    """A map, values, some of them far out, parameters and gradients; the same random numbers in either precision."""
    map_, draw, (n_rows, n) = MAPS[name](), draws(dtype), shape
    x, params = 3 * draw(*shape), draw(n_rows, map_.n_params, n)
    return map_, x, params, draw(*shape), draw(*shape)


@torch.no_grad()
def evaluate_map(name, dtype, shape):
    """Values, log-slopes, both gradients and the way back, in tiles of a single feature."""
    map_, x, params, grad_z, grad_log_slope = drawn(name, dtype, shape)
    tape, back, alone, way_back = Tape(x, FORMS, keeps=True), Tape(x), Tape(x, FORMS), Tape(x, FORMS)
    tiles, params = x[:, None], params[:, None]
    grad_params = torch.empty_like(params)
    z, log_slope, record_back = univariate.record(tape, map_, tiles, params)
    grad_x = record_back(back, grad_z[:, None], grad_log_slope, grad_params)
    for _ in range(2):  # the second time over used memory
        tape.run(), back.run()
    same = univariate.record(alone, map_, tiles, params)[:2]
    alone.run()
    assert same[0].equal(z) and same[1].equal(log_slope)
    inverse = univariate.record_inverse(way_back, map_, z, params)
    way_back.run()
    return [z[:, 0], log_slope, grad_x[:, 0], grad_params[:, 0], inverse[0][:, 0], inverse[1]]


def evaluate_plain(name, dtype, shape):
    """The same from the map itself and autograd."""
    map_, x, params, grad_z, grad_log_slope = drawn(name, dtype, shape)
    x, params = x.requires_grad_(), params.requires_grad_()
    z, log_slope = map_.forward(x, params.transpose(0, 1))
    grads = torch.autograd.grad((z * grad_z).sum() + (log_slope * grad_log_slope).sum(), [x, params])
    with torch.no_grad():
        return [z.detach(), log_slope.detach(), *grads, *map_.inverse(z, params.transpose(0, 1))]


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(1, 96), (6, 256), (40, 32)])
def test_univariate_maps_agree_with_torch(name, shape):
    ours, theirs = evaluate_map(name, torch.float64, shape), evaluate_plain(name, torch.float64, shape)
    assert_near(ours, theirs, 1e-11)
    torch.set_num_threads(1)
    for a, b in zip(evaluate_map(name, torch.float64, shape), ours):
        assert a.equal(b), "the number of threads has a say in the result"


@pytest.mark.parametrize("name", ["affine", "8 bins"])
def test_single_precision_is_no_worse_than_that_of_torch(name):
    exact = evaluate_plain(name, torch.float64, (6, 256))
    ours, theirs = evaluate_map(name, torch.float32, (6, 256)), evaluate_plain(name, torch.float32, (6, 256))
    for a, b, truth in zip(ours, theirs, exact):
        assert a.dtype == torch.float32
        assert (a - truth).abs().quantile(0.9) < 2 * (b - truth).abs().quantile(0.9)


def test_single_precision_comes_back_as_near_as_with_torch():
    errors = []
    for evaluate in (evaluate_map, evaluate_plain):
        _, x, *_ = drawn("8 bins", torch.float32, (12, 96))
        _, log_slope, _, _, back, inverse_log_slope = evaluate("8 bins", torch.float32, (12, 96))
        errors.append([(back - x).abs(), (inverse_log_slope + log_slope).abs()])
    for ours, theirs in zip(*errors):
        assert ours.quantile(0.9) < 2 * theirs.quantile(0.9) and ours.max() < 4 * theirs.max()


@pytest.mark.parametrize("name", ["affine", "8 bins"])
@torch.no_grad()
def test_what_is_not_a_number_comes_through_a_map(name):
    map_, x = MAPS[name](), torch.zeros(1, 1, 32)
    x[..., 1] = math.nan
    tape, params = Tape(x, FORMS), torch.zeros(1, 1, map_.n_params, 32)
    z, log_slope, _ = univariate.record(tape, map_, x, params)
    tape.run()
    assert z[0, 0].isnan().nonzero().tolist() == [[1]]
    params.fill_(math.nan), x.zero_()
    tape.run()
    assert z.isnan().all() and log_slope.isnan().all()


# The sequential direction


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("map_", [Affine, lambda: RationalQuadraticSpline(8)])
@pytest.mark.parametrize(
    ("d", "n_context", "hidden"), [(6, 0, (64, 64)), (5, 2, (20, 30)), (2, 1, (3,)), (9, 0, (40, 30, 50)), (4, 0, ())]
)
@torch.no_grad()
def test_the_sequential_direction_agrees_with_torch(d, n_context, hidden, map_, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, draw = MaskedAutoregressive(d, n_context, map_(), hidden).to(dtype), draws(dtype)
    for p in layer.parameters():
        p.add_(0.1 * draw(*p.shape))
    z, context = draw(300, d), draw(300, n_context) if n_context else None
    program = engine.inverse(layer, z, context)
    ours = program(z, context)
    assert_near(ours, layer.inverse(z, context), TOLERANCE[dtype])
    torch.set_num_threads(1)
    assert all(a.equal(b) for a, b in zip(program(z, context), ours))


# The blocks of integers


def test_a_block_wants_every_field_and_no_other():
    fields = dict.fromkeys(SEQUENTIAL_LAYER._fields, 1)
    assert pack(SEQUENTIAL_LAYER, **fields) == [1, 1, 1, 1]
    for wrong in ({**fields, "n_inn": 1}, {"used": 1}):
        with pytest.raises(TypeError):
            pack(SEQUENTIAL_LAYER, **wrong)


def test_what_is_kept_on_disk_is_found_by_the_sources(monkeypatch):
    """The index of numba's cache holds the values of free variables, the hash of all sources among them."""
    from skflow.engine.kernels import queue

    run = queue.shared(load("network").forward)
    assert [cell.cell_contents for cell in run.__closure__] == [queue._sources()]
    before = queue._sources()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"changed")
    assert queue._sources.__wrapped__() != before
