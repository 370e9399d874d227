"""The contract of every distribution: a new one enters by one row of a table."""

import copy

import numpy as np
import pytest
import torch

from skflow.flows import (
    Affine,
    Chain,
    EmbeddedContext,
    Flow,
    GaussianMixture,
    MaskedAutoregressive,
    OrderAgnostic,
    OrderAverage,
    RationalQuadraticSpline,
    Rotation,
    Standardize,
    StandardNormal,
    StudentT,
)
from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.flows.distributions.latent_tree import LatentTree
from skflow.flows.distributions.logarithmic_pool import LogarithmicPool
from skflow.flows.distributions.mixed_distribution import MixedDistribution

from .test_bijections import contexts, features, jacobian_log_dets
from .test_normalised import points

HIDDEN = (8,)

BASES = {
    "normal": lambda d: StandardNormal(d),
    "student-t": lambda d: StudentT(torch.linspace(1.5, 60, d), torch.linspace(-1, 1, d), torch.linspace(0.5, 2, d)),
    "mixture": lambda d: GaussianMixture(
        torch.tensor([0.2, 0.8]),
        torch.stack([torch.full((d,), -1.0), torch.full((d,), 1.5)]),
        torch.stack([torch.eye(d) + 0.3 * torch.ones(d, d).tril(-1), 0.7 * torch.eye(d)]),
    ),
}


def _flow(d, c, base="student-t"):
    return Flow(MaskedAutoregressive(d, c, RationalQuadraticSpline(4, 3.0), HIDDEN), BASES[base](d))


def _embedded(d, c):
    layers = Chain([Rotation(d), MaskedAutoregressive(d, c, Affine(), HIDDEN)])
    return Flow(
        EmbeddedContext(layers, Standardize(torch.ones(c), torch.full((c,), 2.0))) if c else layers, BASES["mixture"](d)
    )


def _order_average(d, c):
    layers = Chain([OrderAgnostic(d, c, Affine(), HIDDEN, 3), OrderAgnostic(d, c, Affine(), HIDDEN, 3)])
    return OrderAverage(Flow(layers, BASES["mixture"](d)))


def _members(d, c):
    return [_flow(d, c), _flow(d, c, "mixture"), _order_average(d, c)]


def _pool(d, c):
    pool = LogarithmicPool(_members(d, c), 2 * torch.randn(6, 4, d))
    pool.remember(torch.randn(9, d), torch.arange(9) % 3, 0.5, 1.5)
    return pool


def _tree(d, c):
    return LatentTree(
        torch.arange(d) - 1,
        torch.zeros(d, dtype=torch.long),
        torch.tensor([0.2, -0.3]),
        torch.eye(2).expand(d, 2, 2).clone(),
        torch.tensor([-1.0, 1.0]).expand(d, 2).clone(),
        torch.zeros(d, 2),
        torch.empty(0, 2),
        torch.empty(0),
    )


def _mixed(d, c):
    return MixedDistribution(
        FlowMixture([_tree(d, c)]), _flow(d, 0), torch.tensor(0.4), torch.zeros(d, dtype=torch.long)
    )


def _base(name):
    return lambda d, c: BASES[name](d)


# Distributions: name -> (builder of (n_features, n_context), conditions on a context)
DISTRIBUTIONS = {
    **{name: (_base(name), False) for name in BASES},
    "flow": (_flow, True),
    "embedded context": (_embedded, True),
    "order average": (_order_average, True),
    "flow mixture": (lambda d, c: FlowMixture(_members(d, c)), True),
    "flow in front of a mixture": (
        lambda d, c: Flow(Standardize(torch.ones(d), torch.full((d,), 2.0)), FlowMixture(_members(d, c))),
        True,
    ),
    "logarithmic pool": (_pool, True),
    "latent tree": (_tree, False),
    "mixed": (_mixed, False),
}
UNNORMALISED = {"logarithmic pool"}  # whose samples are those of the mean of its flows
distributions = pytest.mark.parametrize("name", DISTRIBUTIONS)
few_features = pytest.mark.parametrize("d", [1, 2])


def build(name, d, n_context, dtype=torch.float64):
    """A distribution with parameters off their start by noise, and two contexts, or None and None."""
    torch.manual_seed(0)
    distribution = DISTRIBUTIONS[name][0](d, n_context).to(dtype)
    with torch.no_grad():
        for p in distribution.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return distribution, torch.tensor([[-1.0, 0.5, 2.0], [1.0, 0.0, -0.5]], dtype=dtype) if n_context else [None, None]


def given(context, n):
    """The same context for n rows."""
    return None if context is None else context.expand(n, -1)


def grid(d):
    """Rows over the line or the plane, and the length or area that each stands for."""
    axis, length = points(0.0, 1.0, (2001, 401)[d - 1], 9.0)
    rows = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    cells = np.stack(np.meshgrid(*[length] * d, indexing="ij"), -1).prod(-1).ravel()
    return torch.from_numpy(rows), torch.from_numpy(cells)


@pytest.mark.long
@distributions
@few_features
@contexts
@torch.no_grad()
def test_integral_is_one(name, d, n_context):
    distribution, some = build(name, d, n_context)
    rows, cells = grid(d)
    for context in some:
        mass = float((distribution.log_prob(rows, given(context, len(rows))).exp() * cells).sum())
        if name in UNNORMALISED:
            assert 0.1 < mass < 1.0
        else:
            assert mass == pytest.approx(1, abs=5e-3)


@pytest.mark.long
@distributions
@few_features
@contexts
@torch.no_grad()
def test_samples_follow_the_density_given_their_own_context(name, d, n_context):
    """Means of bounded functions of the rows, against the integral of these under the density."""
    distribution, some = build(name, d, n_context)
    n, (rows, cells) = 10_000, grid(d)
    context = None if some[0] is None else some.repeat(n, 1)  # the two in turn
    drawn = distribution.sample(2 * n, context, torch.Generator().manual_seed(1))
    density = FlowMixture(distribution.members) if name in UNNORMALISED else distribution
    weights = torch.randn(d + 1, 20, dtype=torch.float64)
    for which, context in enumerate(some):
        values, everywhere = (torch.tanh(x @ weights[:-1] + weights[-1]) for x in (drawn[which::2], rows))
        expected = (density.log_prob(rows, given(context, len(rows))).exp() * cells) @ everywhere
        assert ((values.mean(0) - expected).abs() < 4.5 * values.std(0) / n**0.5 + 1e-3).all()


@distributions
@features
@torch.no_grad()
def test_context_matters(name, d):
    distribution, some = build(name, d, 3)
    x = torch.randn(7, d).double()
    difference = distribution.log_prob(x, given(some[0], 7)) - distribution.log_prob(x, given(some[1], 7))
    assert (difference.abs().max() > 1e-3) == DISTRIBUTIONS[name][1]


@distributions
@features
@contexts
@torch.no_grad()
def test_rows_do_not_mix(name, d, n_context):
    distribution, _ = build(name, d, n_context)
    x, context = torch.randn(7, d).double(), torch.randn(7, 3).double() if n_context else None
    whole = distribution.log_prob(x, context)
    assert whole.shape == (7,)
    for i in range(7):
        alone = distribution.log_prob(x[i : i + 1], None if context is None else context[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], atol=1e-10, rtol=0)


@distributions
@contexts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_dtype_kept(name, n_context, dtype):
    distribution, some = build(name, 2, n_context, dtype)
    x = distribution.sample(50, given(some[0], 50), torch.Generator().manual_seed(0))
    log_prob = distribution.log_prob(x, given(some[0], 50))
    assert x.shape == (50, 2)
    assert x.dtype == log_prob.dtype == dtype
    assert x.isfinite().all()
    assert log_prob.isfinite().all()


@distributions
@torch.no_grad()
def test_samples_come_from_the_generator_alone(name):
    distribution, some = build(name, 2, 3)
    before = torch.get_rng_state()
    first, second = (distribution.sample(20, given(some[0], 20), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@distributions
def test_gradients_reach_every_parameter(name):
    distribution, some = build(name, 3, 3)
    if not list(distribution.parameters()):
        pytest.skip("has no parameters")
    distribution.log_prob(torch.randn(20, 3).double(), given(some[0], 20)).sum().backward()
    for label, p in distribution.named_parameters():
        if p.requires_grad and p.numel():
            assert p.grad is not None, label
            assert p.grad.isfinite().all(), label


@distributions
@contexts
@torch.no_grad()
def test_copies_are_the_same_distribution(name, n_context):
    distribution, some = build(name, 2, n_context)
    x, context = torch.randn(20, 2).double(), given(some[0], 20)
    twin = copy.deepcopy(distribution)
    assert torch.equal(twin.log_prob(x, context), distribution.log_prob(x, context))
    assert twin.n_parameters() == distribution.n_parameters() > 0 or name == "normal"


@distributions
@torch.no_grad()
def test_training_raises_the_density_itself_unless_orderings_are_drawn(name):
    distribution, some = build(name, 3, 3)
    x, context = torch.randn(20, 3).double(), given(some[0], 20)
    raised = distribution.stochastic_log_prob(x, context, torch.Generator().manual_seed(0))
    assert torch.equal(raised, distribution.log_prob(x, context)) == (name != "order average")


@contexts
@torch.no_grad()
def test_training_raises_a_lower_bound_of_an_order_average(n_context):
    """In expectation over the orderings of two columns in two layers, of which there are four pairs."""
    distribution, some = build("order average", 2, n_context)
    pairs = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    for layer, turned in zip(distribution.bijection.links, pairs):
        layer.orders = torch.stack([turned, 1 - turned], 1)
    distribution = OrderAverage(distribution.flow)
    x, generator = torch.randn(20, 2).double(), torch.Generator().manual_seed(0)
    context = given(some[0], 20)
    draws = torch.stack([distribution.stochastic_log_prob(x, context, generator) for _ in range(1000)])
    gap, error = distribution.log_prob(x, context) - draws.mean(0), draws.std(0) / 1000**0.5
    assert (gap > -4 * error).all()
    assert gap.mean() > 0.005


@contexts
@torch.no_grad()
def test_members_are_asked_about_the_rows_that_they_have_not_seen(n_context):
    for name in ("flow mixture", "logarithmic pool"):
        distribution, _ = build(name, 2, n_context)
        x, context = torch.randn(9, 2).double(), torch.randn(9, 3).double() if n_context else None
        fold = torch.arange(9) % 3
        blind, every = distribution.blind_log_prob(x, fold, context), distribution.member_log_prob(x, context)
        torch.testing.assert_close(blind, every.gather(1, fold[:, None])[:, 0], atol=1e-12, rtol=0)


# --- base distributions ----------------------------------------------------------------------------------------------


@pytest.fixture(params=BASES)
def base(request):
    torch.manual_seed(0)
    return lambda d: BASES[request.param](d).double()


@features
def test_base_density_is_that_of_its_normal_scores(base, d):
    """log p(z) = log N(u) + log |det du/dz| for u = to_normal(z)."""
    base = base(d)
    z = 1.5 * torch.randn(6, d).double()
    log_det = jacobian_log_dets(lambda r, _: (base.to_normal(r),), z, None)
    normal = StandardNormal(d).double().log_prob(base.to_normal(z))
    torch.testing.assert_close(base.log_prob(z), normal + log_det, atol=1e-8, rtol=0)


@features
@torch.no_grad()
def test_base_round_trip(base, d):
    base = base(d)
    z = 1.5 * torch.randn(100, d).double()
    torch.testing.assert_close(base.from_normal(base.to_normal(z)), z, atol=1e-9, rtol=0)
    torch.testing.assert_close(base.to_normal(base.from_normal(z)), z, atol=1e-9, rtol=0)


@features
@torch.no_grad()
def test_base_sample_has_normal_scores(base, d):
    base = base(d)
    u = base.to_normal(base.sample(20_000, generator=torch.Generator().manual_seed(0)))
    assert u.mean(0).abs().max() < 0.03
    assert (u.std(0) - 1).abs().max() < 0.03
    assert (torch.corrcoef(u.t()) - torch.eye(d)).abs().max() < 0.03 if d > 1 else True


@features
def test_base_gradients_at_extremes(base, d):
    for size in (0.0, 1.0, 1e3, 1e6, 1e9):
        z = torch.full((2, d), size, dtype=torch.float64, requires_grad=True)
        module = base(d)
        log_prob = module.log_prob(z)
        log_prob.sum().backward()
        assert log_prob.isfinite().all()
        assert z.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in module.parameters())


def test_student_t_is_fitted_to_the_tails():
    torch.manual_seed(0)
    t = torch.distributions.StudentT(3.0, 1.0, 2.0).sample((4000,))
    base = StudentT.fit(torch.stack([t, torch.randn(4000)], 1))
    assert 2 < base.df[0] < 4.5 < 20 < base.df[1]
    torch.testing.assert_close(base.loc, torch.tensor([1.0, 0.0]).double(), atol=0.15, rtol=0)
    torch.testing.assert_close(base.log_scale.exp(), torch.tensor([2.0, 1.0]).double(), atol=0.15, rtol=0)


def test_student_t_scores_do_not_underflow():
    base = StudentT(torch.tensor([1.0, 5.0, 100.0]), torch.zeros(3), torch.ones(3)).double()
    z = torch.tensor([[1e6, -1e6, 1e6], [1e-3, 1e12, -40.0]]).double()
    with torch.no_grad():
        u = base.to_normal(z)
        torch.testing.assert_close(base.from_normal(u), z, atol=0, rtol=1e-8)
    assert u.isfinite().all()
