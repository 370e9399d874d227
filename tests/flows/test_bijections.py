"""The contract of every bijection and univariate map: a new one enters by one row of a table."""

import copy
import math

import pytest
import torch

from skflow.flows import (
    FLOWS,
    LU,
    ActNorm,
    Additive,
    Affine,
    BernsteinPolynomial,
    Bounded,
    Chain,
    Coupling,
    Elementwise,
    EmbeddedContext,
    FlowSettings,
    Inverse,
    LogTails,
    MarginalGaussianization,
    MaskedAutoregressive,
    MixtureCDF,
    OrderAgnostic,
    Permutation,
    Planar,
    Radial,
    RationalQuadraticSpline,
    Rotation,
    SigmoidMixture,
    Standardize,
    SumOfSquares,
    Sylvester,
    build_flow,
)
from skflow.flows.bijections.columnwise import Columnwise
from skflow.flows.univariate.root import bracketed_root, solve_monotone

HIDDEN = (16,)
INF = math.inf

# Univariate maps: name -> map
UNIVARIATE = {
    "additive": Additive(),
    "affine": Affine(),
    "spline": RationalQuadraticSpline(6),
    "spline-1": RationalQuadraticSpline(1),
    "mixture": MixtureCDF(5),
    "sigmoids": SigmoidMixture(5),
    "bernstein": BernsteinPolynomial(6),
    "squares": SumOfSquares(3),
}


def _bounded(d, c):
    low, high = torch.full((d,), -INF), torch.full((d,), INF)
    low[0], high[-1] = -20.0, 30.0  # both bounds in one dimension, else one of either kind
    return Bounded.fit(torch.randn(50, d), low, high)


def _marginal(d, c):
    """Knots and scores that a heavy-tailed column might have."""
    knots_z = torch.linspace(-1.5, 1.5, 5)
    knots_x = torch.tensor([-3.0, -1.0, 0.2, 0.9, 3.5]).expand(d, -1).clone()
    slopes = torch.tensor([0.2, 0.6, 0.9, 0.8, 0.15]).expand(d, -1).clone()
    return MarginalGaussianization(torch.arange(d), knots_x, knots_z, slopes, torch.tensor([[0.0, 0.3]] * d))


def _embedded(d, c):
    if not c:
        pytest.skip("has a context to embed")
    embedding = Chain([Standardize(torch.linspace(-1, 1, c), torch.full((c,), 2.0)), LU(c)])
    return EmbeddedContext(Chain([ActNorm(d), MaskedAutoregressive(d, c, Affine(), HIDDEN)]), embedding)


def _columnwise(d, c):
    maps = [
        Chain(
            [
                Standardize(torch.tensor([0.5 * j]), torch.tensor([1.0 + j])),
                LogTails(torch.tensor([-1.0]), torch.ones(1)),
            ]
        )
        for j in range(d)
    ]
    return Columnwise(torch.arange(d), maps)


# Bijections: name -> (builder of (n_features, n_context), starts as the identity, conditions on a context)
BIJECTIONS = {
    "permutation": (lambda d, c: Permutation.random(d), False, False),
    "lu": (lambda d, c: LU(d), True, False),
    "rotation": (lambda d, c: Rotation(d), False, False),
    "actnorm": (lambda d, c: ActNorm(d), True, False),
    "standardize": (lambda d, c: Standardize(torch.arange(1.0, d + 1), torch.full((d,), 3.0)), False, False),
    "log tails": (lambda d, c: LogTails(torch.full((d,), -1.0), torch.full((d,), 0.5)), False, False),
    "bounded": (_bounded, False, False),
    "marginal": (_marginal, False, False),
    "columnwise": (_columnwise, False, False),
    "elementwise": (lambda d, c: Elementwise(d, c, Affine(), HIDDEN), True, True),
    "coupling": (lambda d, c: Coupling(d, c, Affine(), HIDDEN), True, True),
    "autoregressive": (lambda d, c: MaskedAutoregressive(d, c, Affine(), HIDDEN), True, True),
    "order-agnostic": (lambda d, c: OrderAgnostic(d, c, RationalQuadraticSpline(4), HIDDEN), True, True),
    "inverse": (lambda d, c: Inverse(MaskedAutoregressive(d, c, Affine(), HIDDEN)), True, True),
    "chain": (lambda d, c: Chain([LU(d), Elementwise(d, c, MixtureCDF(3), HIDDEN)]), False, True),
    "embedded context": (_embedded, True, True),
    "planar": (lambda d, c: Planar(d, c, HIDDEN), True, True),
    "radial": (lambda d, c: Radial(d, c, HIDDEN), True, True),
    "sylvester": (lambda d, c: Sylvester(d, c, HIDDEN), True, True),
    "sylvester-narrow": (lambda d, c: Sylvester(d, c, HIDDEN, n_columns=2), True, True),
}
CONDITIONAL = {"embedded context"}  # cannot do without a context
SETTINGS = FlowSettings(2, HIDDEN, 4)
for _name in FLOWS:
    BIJECTIONS[f"flow:{_name}"] = (lambda d, c, name=_name: build_flow(name, d, c, SETTINGS), False, True)

features = pytest.mark.parametrize("d", [1, 2, 5])
contexts = pytest.mark.parametrize("n_context", [0, 3], ids=["free", "context"])
bijections = pytest.mark.parametrize("name", BIJECTIONS)
univariates = pytest.mark.parametrize("name", UNIVARIATE)


def build(name, d, n_context, std=0.3, dtype=torch.float64):
    """A bijection with parameters off their start by noise, and the rows and contexts to try it on.

    Where an inverse is compared to nine digits, ``std`` is smaller: the test would measure conditioning, not bugs.
    """
    if name == "coupling" and d == 1:
        pytest.skip("a coupling has nothing to couple in one feature")
    torch.manual_seed(0)
    bijection = BIJECTIONS[name][0](d, n_context).to(dtype)
    with torch.no_grad():
        for p in bijection.parameters():
            p.add_(std * torch.randn_like(p))
    x = 1.5 * torch.randn(7, d, dtype=dtype)
    return bijection, x, torch.randn(7, n_context, dtype=dtype) if n_context else None


def jacobian_log_dets(function, x, context):
    """log |det| of the Jacobian row by row, from autograd."""
    terms = []
    for i in range(len(x)):
        row = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda r, row=row: function(r[None], row)[0][0], x[i])
        terms.append(torch.linalg.slogdet(jacobian)[1])
    return torch.stack(terms)


# --- bijections ------------------------------------------------------------------------------------------------------


@bijections
@features
def test_identity_at_initialisation(name, d):
    builder, identity, _ = BIJECTIONS[name]
    if not identity or (name == "coupling" and d == 1):
        pytest.skip("is not meant to start as the identity, or has no feature to leave as it is")
    x = torch.randn(20, d)
    n_context = 3 * (name in CONDITIONAL)
    z, log_abs_det = builder(d, n_context)(x, torch.randn(20, n_context) if n_context else None)
    torch.testing.assert_close(z, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(log_abs_det, torch.zeros(20), atol=1e-5, rtol=0)


@bijections
@features
@contexts
@torch.no_grad()
def test_round_trip(name, d, n_context):
    bijection, x, context = build(name, d, n_context, std=0.1)
    z, log_abs_det = bijection(x, context)
    back, log_abs_det_back = bijection.inverse(z, context)
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)
    torch.testing.assert_close(log_abs_det_back, -log_abs_det, atol=1e-9, rtol=0)
    forth, _ = bijection(bijection.inverse(x, context)[0], context)
    if name != "bounded":  # whose data do not cover the line
        torch.testing.assert_close(forth, x, atol=1e-9, rtol=0)


@bijections
@features
@contexts
def test_log_det_against_autodiff(name, d, n_context):
    bijection, x, context = build(name, d, n_context)
    expected = jacobian_log_dets(bijection, x, context)
    torch.testing.assert_close(bijection(x, context)[1], expected, atol=1e-9, rtol=0)


@bijections
@features
@contexts
def test_inverse_log_det_against_autodiff(name, d, n_context):
    bijection, x, context = build(name, d, n_context, std=0.1)
    z = bijection(x, context)[0].detach()
    expected = jacobian_log_dets(bijection.inverse, z, context)
    torch.testing.assert_close(bijection.inverse(z, context)[1], expected, atol=1e-9, rtol=0)


@bijections
@contexts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_kept(name, n_context, dtype):
    bijection, x, context = build(name, 2, n_context, dtype=dtype)
    for result in (*bijection(x, context), *bijection.inverse(x.clamp(-5, 5), context)):
        assert result.dtype == dtype
        assert result.isfinite().all()


@bijections
@features
def test_context_matters(name, d):
    if not BIJECTIONS[name][2]:
        pytest.skip("is a bijection without a context")
    bijection, x, context = build(name, d, 3)
    moved = bijection(x, context + 0.5)[0] - bijection(x, context)[0]
    assert moved.abs().max() > 1e-6


@bijections
@contexts
@torch.no_grad()
def test_rows_do_not_mix(name, n_context):
    bijection, x, context = build(name, 2, n_context)
    for function in (bijection, bijection.inverse):
        whole = function(x, context)
        for i in range(len(x)):
            alone = function(x[i : i + 1], None if context is None else context[i : i + 1])
            for a, b in zip(alone, whole):
                torch.testing.assert_close(a[0], b[i], atol=1e-10, rtol=0)


@bijections
def test_gradients_reach_every_parameter(name):
    bijection, x, context = build(name, 3, 3 * (name in CONDITIONAL))
    if not list(bijection.parameters()):
        pytest.skip("has no parameters")
    for function in (bijection, bijection.inverse):
        bijection.zero_grad()
        z, log_abs_det = function(x, context)
        (z.square().sum() + log_abs_det.sum()).backward()
        for label, p in bijection.named_parameters():
            assert p.grad is not None, label
            assert p.grad.isfinite().all(), label


@bijections
@contexts
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_second_derivatives_against_differences(name, n_context, direction):
    """Of the log-density by its rows, along some vectors: nothing is written for a first derivative alone."""
    bijection, x, context = build(name, 2, n_context, std=0.1)
    vectors = torch.randn_like(x)

    def slope(x):
        z, log_abs_det = getattr(bijection, direction)(x.requires_grad_(), context)
        return torch.autograd.grad((log_abs_det - 0.5 * (z * z).sum(1)).sum(), x, create_graph=True)[0]

    at, step = x.clone(), 1e-5
    (second,) = torch.autograd.grad((slope(at) * vectors).sum(), at)
    differences = (slope(x + step * vectors) - slope(x - step * vectors)) / (2 * step)
    torch.testing.assert_close(second, differences, atol=1e-5, rtol=1e-4)


@bijections
@contexts
def test_initialise_keeps_the_contract(name, n_context):
    bijection, _, _ = build(name, 3, n_context, std=0.0)
    rows = torch.randn(200, 3, dtype=torch.float64).exp()
    context = torch.randn(200, n_context, dtype=torch.float64) if n_context else None
    bijection.initialise(rows, context)
    with torch.no_grad():
        z, log_abs_det = bijection(rows, context)
        torch.testing.assert_close(bijection.inverse(z, context)[0], rows, atol=1e-9, rtol=0)
    assert log_abs_det.isfinite().all()


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("ordering", ["natural", "reversed", "random", "agnostic"])
@torch.no_grad()
def test_every_ordering_round_trip(name, ordering):
    if not FLOWS[name].ordered:
        with pytest.raises(ValueError, match="leave ordering at 'auto'"):
            build_flow(name, 4, 0, FlowSettings(2, HIDDEN, 4, ordering))
        return
    torch.manual_seed(0)
    flow = build_flow(name, 4, 2, FlowSettings(2, HIDDEN, 4, ordering)).double()
    for p in flow.parameters():
        p.add_(0.1 * torch.randn_like(p))
    x, context = torch.randn(9, 4).double(), torch.randn(9, 2).double()
    z, _ = flow(x, context)
    torch.testing.assert_close(flow.inverse(z, context)[0], x, atol=1e-9, rtol=0)


@pytest.mark.parametrize("ordering", ["natural", "reversed", "random", "agnostic"])
def test_ordering_is_the_one_asked_for(ordering):
    """The Jacobian of an autoregressive layer is triangular in the order of its columns."""
    torch.manual_seed(3)
    flow = build_flow("made", 4, 0, FlowSettings(1, HIDDEN, 4, ordering)).double()
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(torch.randn_like(p))
    rows = torch.randn(20, 4).double()
    jacobians = [torch.autograd.functional.jacobian(lambda r: flow(r[None])[0][0], row) for row in rows]
    depends = torch.stack(jacobians).abs().amax(0) > 1e-12
    assert sorted(depends.sum(1).tolist()) == [1, 2, 3, 4]  # the first column depends on itself alone, the last on all
    rank = depends.sum(0).argsort(descending=True)  # columns, most looked at first
    if ordering == "natural":
        assert rank.tolist() == [0, 1, 2, 3]
    if ordering == "reversed":
        assert rank.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("layer", [Planar, Radial])
@torch.no_grad()
def test_residual_round_trip_of_random_draws(layer):
    """10,000 draws of the parameters, inputs of up to 1e4 in size."""
    torch.manual_seed(0)
    worst = 0.0
    for _ in range(20):
        d = int(torch.randint(1, 8, ()))
        bijection = layer(d, 4, ()).double()  # a linear network: every row of the context is a draw of the parameters
        network = bijection.parameters_.network.output
        network.weight.normal_(0, 1)
        network.bias.normal_(0, 1)
        x = torch.randn(500, d).double() * 10 ** torch.empty(500, 1).double().uniform_(-3, 3.5)
        x = x.clamp(-1e4, 1e4)
        context = torch.randn(500, 4).double()
        back, _ = bijection.inverse(bijection(x, context)[0], context)
        worst = max(worst, float((back - x).abs().max()))
    assert worst < 1e-9


@pytest.mark.long
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("n_context", [0, 3], ids=["free", "context"])
@torch.no_grad()
def test_depth_32(name, n_context):
    """Parameters of moderate size, so that rounding is tested and not the conditioning of 32 random maps."""
    torch.manual_seed(0)
    flow = build_flow(name, 3, n_context, FlowSettings(32, (8,), 4)).double()
    for p in flow.parameters():
        p.add_(0.02 * torch.randn_like(p))
    x, context = torch.randn(50, 3).double(), torch.randn(50, n_context).double() if n_context else None
    z, log_abs_det = flow(x, context)
    back, log_abs_det_back = flow.inverse(z, context)
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)
    torch.testing.assert_close(log_abs_det_back, -log_abs_det, atol=1e-9, rtol=0)


@pytest.mark.long
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("depth", [1, 4])
def test_adversarial_weights(name, depth):
    """Parameters of standard deviation 3: everything stays finite, gradients too, whatever the input."""
    for seed in range(3):
        torch.manual_seed(seed)
        flow = build_flow(name, 3, 0, FlowSettings(depth, (8,), 4)).double()
        with torch.no_grad():
            for p in flow.parameters():
                p.normal_(0, 3)
        x = torch.randn(30, 3).double()
        x[:6] *= torch.tensor([1e-20, 1e2, 1e3, 1e4, 1e6, 0.0]).double()[:, None]
        x.requires_grad_()
        z, log_abs_det = flow(x)
        assert z.isfinite().all()
        assert log_abs_det.isfinite().all()
        (log_abs_det.sum() + torch.tanh(z).sum()).backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in flow.parameters() if p.grad is not None)
        with torch.no_grad():
            back, log_abs_det_back = flow.inverse(torch.randn(30, 3).double())
        assert back.isfinite().all()
        assert log_abs_det_back.isfinite().all()


@pytest.mark.parametrize("name", FLOWS)
def test_deepcopy_and_state_dict(name):
    torch.manual_seed(0)
    flow = build_flow(name, 3, 0, SETTINGS)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn_like(p))
    other = build_flow(name, 3, 0, SETTINGS)
    other.load_state_dict(flow.state_dict())
    x = torch.randn(5, 3)
    for twin in (copy.deepcopy(flow), other):
        torch.testing.assert_close(twin(x), flow(x), atol=0, rtol=0)


@torch.no_grad()
def test_actnorm_initialises_to_zero_mean_and_unit_variance():
    x = torch.randn(500, 3) * torch.tensor([0.1, 1.0, 30.0]) + torch.tensor([5.0, 0.0, -200.0])
    layer = ActNorm(3)
    layer.initialise(x)
    z, _ = layer(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


@torch.no_grad()
def test_gaussianization_initialises_to_normal_columns():
    torch.manual_seed(0)
    x = torch.where(torch.rand(2000, 2) < 0.3, -2.0, 1.0) + 0.3 * torch.randn(2000, 2)
    layer = Elementwise(2, 0, MixtureCDF(8))
    layer.initialise(x)
    z, _ = layer(x)
    share = torch.special.ndtr(z.sort(0).values)
    uniform = (torch.arange(2000) + 0.5)[:, None] / 2000
    assert (share - uniform).abs().max() < 0.03


@torch.no_grad()
def test_chain_initialises_each_link_on_what_reaches_it():
    x = torch.randn(300, 2) * 7 + 3
    chain = Chain([Standardize(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 0.1])), ActNorm(2)])
    chain.initialise(x)
    z, _ = chain(x)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)


@torch.no_grad()
def test_embedded_context_initialises_the_bijection_that_it_conditions():
    x, context = 7 * torch.randn(300, 2) + 3, torch.randn(300, 3)
    bijection = _embedded(2, 3)
    assert bijection.reads_rows
    bijection.initialise(x, context)
    z, _ = bijection(x, context)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)


# --- univariate maps -------------------------------------------------------------------------------------------------


def draw_params(univariate, n, std, dtype=torch.float64):
    torch.manual_seed(1)
    return std * torch.randn(univariate.n_params, n, dtype=dtype)


@univariates
def test_univariate_zero_parameters_are_the_identity(name):
    univariate = UNIVARIATE[name]
    x = torch.linspace(-30, 30, 601, dtype=torch.float64)
    z, log_slope = univariate.forward(x, torch.zeros(univariate.n_params, 601, dtype=torch.float64))
    torch.testing.assert_close(z, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-12, rtol=0)


@univariates
@pytest.mark.parametrize("std", [0.5, 3.0])
def test_univariate_round_trip(name, std):
    univariate = UNIVARIATE[name]
    params = draw_params(univariate, 4000, std)
    x = 3 * torch.randn(4000, dtype=torch.float64)
    z, log_slope = univariate.forward(x, params)
    back, log_slope_back = univariate.inverse(z, params)
    torch.testing.assert_close(back, x, atol=1e-9, rtol=0)
    torch.testing.assert_close(log_slope_back, -log_slope, atol=1e-8, rtol=0)


@univariates
@pytest.mark.parametrize("std", [0.5, 3.0])
def test_univariate_log_slope_against_autodiff(name, std):
    univariate = UNIVARIATE[name]
    params = draw_params(univariate, 2000, std)
    x = (3 * torch.randn(2000, dtype=torch.float64)).requires_grad_()
    z, log_slope = univariate.forward(x, params)
    (slope,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_slope, slope.log(), atol=1e-9, rtol=0)


@univariates
def test_univariate_gradients(name):
    """All four derivatives of either direction against finite differences."""
    univariate = UNIVARIATE[name]
    params = draw_params(univariate, 6, 0.5).requires_grad_()
    x = torch.tensor([-7.0, -2.1, -0.3, 0.4, 1.9, 8.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(univariate.forward, (x, params), atol=1e-6, rtol=1e-4)
    assert torch.autograd.gradcheck(univariate.inverse, (x, params), atol=1e-6, rtol=1e-4)


@univariates
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 10.0, 1e3, 1e6, 1e12, 1e30])
def test_univariate_extreme_inputs(name, dtype, size):
    """Finite both ways with finite gradients, under parameters of standard deviation 3; the way back is right."""
    univariate = UNIVARIATE[name]
    params = draw_params(univariate, 200, 3.0, dtype).requires_grad_()
    x = torch.full((200,), size, dtype=dtype)
    x[::2] *= -1
    x.requires_grad_()
    z, log_slope = univariate.forward(x, params)
    back, log_slope_back = univariate.inverse(z.detach(), params)
    for value in (z, log_slope, back, log_slope_back):
        assert value.isfinite().all()
    for value in (log_slope, log_slope_back):
        for grad in torch.autograd.grad(value.sum(), [x, params], allow_unused=True) if value.requires_grad else ():
            assert grad is None or grad.isfinite().all()
    if dtype == torch.float64:
        assert ((back - x).abs() / (1 + x.abs())).max() < 1e-9


@univariates
def test_univariate_increases_and_its_slope_is_bounded(name):
    univariate = UNIVARIATE[name]
    x = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    for seed in range(20):
        torch.manual_seed(seed)
        params = (3 * torch.randn(univariate.n_params, 1, dtype=torch.float64)).expand(-1, 2001)
        z, log_slope = univariate.forward(x, params)
        assert (z.diff() > 0).all()
        assert log_slope.abs().max() < 16


@univariates
def test_univariate_start(name):
    univariate = UNIVARIATE[name]
    start = univariate.start()
    assert start.shape == (univariate.n_params, 1)
    z, log_slope = univariate.forward(torch.linspace(-3, 3, 50), start.expand(-1, 50))
    assert log_slope.abs().max() < 1.5  # near the identity
    fitted = univariate.start(torch.randn(4, 100))
    assert fitted.shape in ((univariate.n_params, 1), (univariate.n_params, 4))


def test_root_of_awkward_functions():
    """Flat, steep and kinked; roots at the ends of the bracket and in the middle."""
    target = torch.linspace(-1, 1, 41, dtype=torch.float64)
    cases = {
        "cube": (lambda x: (x**3, (3 * x**2).clamp_min(1e-300).log()), 1.0),
        "steep": (lambda x: (torch.tanh(1e6 * x), (1e6 / torch.cosh((1e6 * x).clamp(-300, 300)) ** 2).log()), 1.0),
        "kinked": (lambda x: (torch.where(x > 0, x, 1e-3 * x), torch.where(x > 0, 0.0, math.log(1e-3))), 2e3),
    }
    for name, (function, reach) in cases.items():
        edge = torch.full_like(target, reach)
        with torch.no_grad():
            x = bracketed_root(function, target, -edge, edge)
            assert (function(x)[0] - target).abs().max() < 1e-9, name


def test_root_gradient_is_the_implicit_functions():
    scale = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.3, -1.0, 5.0], dtype=torch.float64, requires_grad=True)

    def root(scale, target):
        edge = torch.full_like(target, 10.0)
        return solve_monotone(
            lambda x: (x + scale * torch.tanh(x), (1 + scale / x.cosh() ** 2).log()), target, -edge, edge
        )

    assert torch.autograd.gradcheck(root, (scale, target))
