"""Programs beside the modules that they stand for, the memory left by one call to the next, and when there are any."""

import math

import numpy as np
import pytest
import torch

from skflow import FlowDensity, engine
from skflow.engine import dispatch, door, threads
from skflow.engine.programs import LogDensity, Map
from skflow.engine.tape import Tape
from skflow.flows import (
    Affine,
    Chain,
    Coupling,
    Elementwise,
    EmbeddedContext,
    Flow,
    FlowSettings,
    Permutation,
    StandardNormal,
    build_flow,
)
from skflow.flows.bijections.log_tails import LogTails
from skflow.flows.bijections.standardize import Standardize
from skflow.flows.distributions.flow_mixture import FlowMixture
from skflow.flows.distributions.logarithmic_pool import LogarithmicPool
from skflow.flows.distributions.student_t import StudentT
from skflow.flows.networks.linear import MaskedLinear
from skflow.training.hyperparameters import resolve_plan
from skflow.training.mixtures import MixtureFitting

pytest.importorskip("numba", reason="the loops are compiled by numba")

D = 5
FLOW_NAMES = ("nsf", "nsf-coupling", "maf", "realnvp")


def _mixture(diagonal):
    rows = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return MixtureFitting(rows).fit(3, np.random.RandomState(0), diagonal=diagonal).double()


BASES = {
    "normal": lambda: StandardNormal(D).double(),
    "mixture": lambda: _mixture(False),
    "diagonal mixture": lambda: _mixture(True),
}


def build(name, base="normal", std=0.3, n_context=0):
    """A flow with weights off the identity, those that its masks hide among them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow(name, D, n_context, FlowSettings(3, (16, 16), 4))
        flow = Flow(flow.double(), BASES[base]())
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(std * torch.randn_like(p))
    return flow


def program_of(flow, like, context=None, keeps=False):
    """Whether it pays or not."""
    return LogDensity(flow, dispatch.FORMS, like, context, keeps=keeps)


def rows(n, seed, d=D):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def given(n, seed, n_context):
    """Rows, and contexts where there are any."""
    return (rows(n, seed), rows(n, seed + 100, n_context)) if n_context else (rows(n, seed),)


@pytest.mark.parametrize("n_context", [0, 2])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", FLOW_NAMES)
def test_gradients_over_used_memory_are_those_of_autograd(name, base, n_context):
    assert_gradients_are_autograds(build(name, base, n_context=n_context), n_context)


def assert_gradients_are_autograds(flow, n_context):
    x, weight = given(40, 2, n_context), torch.linspace(-1, 1, 40, dtype=torch.float64)
    program = program_of(flow, *x, keeps=True)
    program(*given(40, 1, n_context))
    program.gradients(torch.ones(40, dtype=torch.float64))
    log_prob, grads = program(*x), program.gradients(weight)
    wanted = flow.log_prob(*x)
    trained = [p for p in flow.parameters() if p.requires_grad]
    expected = torch.autograd.grad(wanted @ weight, trained)
    torch.testing.assert_close(log_prob, wanted.detach(), rtol=1e-12, atol=1e-12)
    for p, grad in zip(trained, expected):
        own = grads[[q is p for q in flow.parameters()].index(True)]
        torch.testing.assert_close(own, grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FLOW_NAMES)
@pytest.mark.parametrize("n", [3, 256, 300, 700])
def test_tiles_change_nothing(name, n):
    """Of one row to a tile that is filled up, or of several tiles with the units of wide layers in bands."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = FlowSettings(2, (130, 150), 16)
        flow = Flow(build_flow(name, D, 0, settings).double(), _mixture(False))
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(0.1 * torch.randn_like(p))
    x, weight = rows(n, 1), torch.linspace(-1, 1, n, dtype=torch.float64)
    whole, some = (
        program_of(flow, x, keeps=True),
        [program_of(flow, part, keeps=True) for part in x.split(100)],
    )
    log_prob, grads = whole(x), whole.gradients(weight)
    parts = torch.cat([program(part) for program, part in zip(some, x.split(100))])
    torch.testing.assert_close(log_prob, parts, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_prob, program_of(flow, x)(x), rtol=0, atol=0)
    parts = zip(*(program.gradients(part) for program, part in zip(some, weight.split(100))))
    for grad, terms in zip(grads, parts):
        torch.testing.assert_close(grad, sum(terms), rtol=1e-9, atol=1e-9)


def test_a_program_takes_fewer_rows_than_it_was_recorded_for():
    flow, x = build("nsf"), rows(300, 1)
    program, smaller = (
        program_of(flow, x, keeps=True),
        program_of(flow, x[:40], keeps=True),
    )
    program(x)
    program.gradients(torch.ones(300, dtype=torch.float64))
    weight = torch.linspace(-1, 1, 40, dtype=torch.float64)
    torch.testing.assert_close(program(x[:40]), smaller(x[:40]), rtol=1e-12, atol=1e-12)
    for some, same in zip(program.gradients(weight), smaller.gradients(weight)):
        torch.testing.assert_close(some, same, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", [*FLOW_NAMES, "glow", "maf-mog", "gaussianization"])
def test_programs_over_shared_memory_are_the_density(name, base):
    """Links of a chain write over what those before them left, whoever they were."""
    flow, x = build(name, base), rows(300, 1)
    program = program_of(flow, x)
    program(rows(300, 2))
    links = flow.bijection.links
    z, log_abs_det = x, torch.zeros(300, dtype=torch.float64)
    with torch.no_grad():
        for link in links:
            z, term = link(z)
            log_abs_det = log_abs_det + term
        torch.testing.assert_close(program(x), flow.base.log_prob(z) + log_abs_det, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [0, 7])
def test_tables_are_put_on_scale_in_tiles_as_in_rows(far):
    low, high = torch.full((D,), -math.inf, dtype=torch.float64), torch.full((D,), 3.0, dtype=torch.float64)
    low[1] = -2.5
    scale = Standardize(torch.linspace(-1, 1, D, dtype=torch.float64), torch.linspace(0.5, 2, D, dtype=torch.float64))
    flow, x = Flow(Chain([scale, LogTails(low, high)]), BASES["normal"]()), rows(300, 1).clamp(-1.0, 1.0)
    x[:far, 1] -= 1e4
    x[far // 2 : far, 3] += 1e6
    program = program_of(flow, x)
    for _ in range(2):
        torch.testing.assert_close(program(x), flow.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("memory", "n_kept", "n_shared"), [("scratch", 1, 1), ("keep", 3, 1), ("output", 3, 2)])
def test_memory_is_taken_over_by_later_links(memory, n_kept, n_shared):
    for keeps, expected in ((True, n_kept), (False, n_shared)):
        tape, taken = Tape(torch.empty(0), keeps=keeps), []
        for _ in range(3):
            tape.next_link()
            taken.append(getattr(tape, memory)(2, 3))
            assert getattr(tape, memory)(4).data_ptr() != taken[-1].data_ptr()
        assert len({v.data_ptr() for v in taken}) == expected


def test_hidden_weights_have_no_say_and_no_gradient():
    flow, x = build("maf"), rows(40, 3)
    program = program_of(flow, x, keeps=True)
    log_prob = program(x)
    names = [name for name, _ in flow.named_parameters()]
    grads = dict(zip(names, program.gradients(torch.ones_like(log_prob))))
    masked = {name: m for name, m in flow.named_modules() if isinstance(m, MaskedLinear)}
    assert masked
    for name, m in masked.items():
        assert bool((grads[f"{name}.affine"][m.mask == 0] == 0).all())
        with torch.no_grad():
            m.affine[m.mask == 0] += 1
    assert program(x).equal(log_prob)


@pytest.mark.parametrize("n_context", [0, 2])
@pytest.mark.parametrize("name", [*FLOW_NAMES, "iaf", "glow", "maf-mog", "nice"])
@torch.no_grad()
def test_maps_are_those_of_the_bijection_given_a_context(name, n_context):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bijection = build_flow(name, D, n_context, FlowSettings(2, (16,), 4)).double()
        for p in bijection.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, context = rows(300, 1), rows(300, 2)[:, :n_context] if n_context else None
    flow = Flow(bijection, BASES["normal"]())
    assert engine.log_density(flow, x, context)(x, context).allclose(flow.log_prob(x, context), rtol=1e-11, atol=1e-11)
    for program, direction in ((engine.forward, bijection.forward), (engine.inverse, bijection.inverse)):
        for own, theirs in zip(program(bijection, x, context)(x, context), direction(x, context)):
            torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ordering", ["auto", "agnostic"])
@pytest.mark.parametrize("kind, memory", [(FlowMixture, 0.0), (LogarithmicPool, 0.0), (LogarithmicPool, 2.0)])
@torch.no_grad()
def test_an_ensemble_is_what_its_members_make_of_it(kind, memory, ordering):
    """Members take the same memory in turn, behind a link that hands its own on to each; some have no program."""
    orderings = ("auto", ordering, "auto")
    members = [Flow(build_flow("maf", D, 0, FlowSettings(2, (16,), 4, o)), StandardNormal(D)) for o in orderings]
    ensemble = FlowMixture(members) if kind is FlowMixture else LogarithmicPool(members, torch.randn(6, 4, D))
    if memory:
        ensemble.remember(torch.randn(9, D), torch.arange(9) % 3, 0.5, memory)
    for p in ensemble.parameters():
        p.add_(0.1 * torch.randn_like(p))
    flow, x = Flow(Standardize(torch.ones(D), 2 * torch.ones(D)), ensemble).double(), rows(300, 1)
    program = engine.log_density(flow, x)
    for some in (x, rows(200, 2)):
        torch.testing.assert_close(program(some), flow.log_prob(some), rtol=1e-11, atol=1e-11)


def embedded(n_context=2):
    """Two bijections, each with a context that goes through maps of its own, behind a link and in front of one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scale = Standardize(torch.linspace(-1, 1, n_context), torch.linspace(0.5, 2, n_context))
        ends = LogTails(torch.full((n_context,), -1.0), torch.full((n_context,), 1.0))
        links = [build_flow(name, D, n_context, FlowSettings(2, (16,), 4)) for name in ("nsf", "realnvp")]
        links = [EmbeddedContext(link, Chain([scale, ends])) for link in links]
        whole = Chain([Standardize(torch.ones(D), torch.full((D,), 2.0)), *links, Permutation.reverse(D)]).double()
        with torch.no_grad():
            for p in whole.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return whole


@torch.no_grad()
def test_programs_embed_the_context_as_the_module_does():
    bijection = embedded()
    flow = Flow(bijection, BASES["mixture"]())
    x = given(300, 1, 2)
    forward, inverse = engine.forward(bijection, *x), engine.inverse(bijection, *x)
    log_density = engine.log_density(flow, *x)
    for some in (x, given(200, 2, 2), given(300, 3, 2)):
        torch.testing.assert_close(log_density(*some), flow.log_prob(*some), rtol=1e-11, atol=1e-11)
        for program, direction in ((forward, bijection.forward), (inverse, bijection.inverse)):
            for own, theirs in zip(program(*some), direction(*some)):
                torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", ["normal", "mixture"])
def test_gradients_given_an_embedded_context(base):
    assert_gradients_are_autograds(Flow(embedded(), BASES[base]()), 2)


def test_a_base_distribution_takes_the_context_of_every_call():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = Flow(Elementwise(D, 2, Affine(), (8,)), StandardNormal(D))
        flow = Flow(Coupling(D, 2, Affine(), (8,)), base).double()
        with torch.no_grad():
            for p in flow.parameters():
                p.add_(0.3 * torch.randn_like(p))
    x = given(300, 1, 2)
    program = program_of(flow, *x)
    for some in (x, given(300, 2, 2), given(200, 3, 2)):
        torch.testing.assert_close(program(*some), flow.log_prob(*some).detach(), rtol=1e-11, atol=1e-11)
    assert_gradients_are_autograds(flow, 2)


class Shifted(Affine):
    def forward(self, x, params):
        z, log_slope = super().forward(x, params)
        return z + 1, log_slope


def test_a_subclass_is_not_taken_for_its_base():
    flow = Flow(Coupling(D, 0, Shifted(), (8,)).double(), StandardNormal(D).double())
    x = rows(40, 1)
    torch.testing.assert_close(engine.log_density(flow, x)(x), flow.log_prob(x).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "dtype", "kernels", "fast"),
    [
        ("nsf", torch.float64, True, True),
        ("nsf", torch.float32, True, False),  # other than the weights: torch says so
        ("nsf", torch.float64, False, False),
        ("planar", torch.float64, True, False),
    ],
)
def test_there_is_a_program_where_it_pays(name, dtype, kernels, fast):
    flow, x = Flow(build_flow(name, D, 0, FlowSettings(2, (16,), 4)).double(), StandardNormal(D)), rows(40, 1)
    assert (engine.log_density(flow, x.to(dtype), kernels=kernels) is not None) == fast
    assert isinstance(engine.inverse(flow.bijection, x.to(dtype), kernels=kernels), Map) == fast


def test_an_average_over_orderings_has_no_program():
    flow = Flow(build_flow("maf", D, 0, FlowSettings(2, (16,), 4, "agnostic")).double(), StandardNormal(D))
    assert engine.log_density(flow, rows(40, 1)) is None


@pytest.mark.parametrize(("shape", "kernels"), [((200, 3), False), ((200, 5), True)])
def test_kernels_are_not_loaded_for_a_tiny_table(shape, kernels):
    assert resolve_plan(FlowDensity(), *shape).kernels == kernels


@pytest.mark.parametrize("flow", ["nsf", "maf", "realnvp"])
@pytest.mark.parametrize("missing", ["numba", "threads"])
def test_fit_without_numba_or_shared_threads_ends_at_the_same_density(monkeypatch, flow, missing):
    X = np.random.default_rng(0).standard_normal((300, 4)) ** 3
    density = FlowDensity(flow, max_iter=5, random_state=0)
    scores, rows = density.fit(X).score_samples(X), density.sample(50, random_state=0)
    if missing == "numba":
        monkeypatch.setattr(door, "load", lambda name: None)
    else:
        monkeypatch.setattr(threads, "_pool", lambda: None)
    np.testing.assert_allclose(density.score_samples(X), scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(density.sample(50, random_state=0), rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(density.fit(X).score_samples(X), scores, atol=0.05)


@pytest.mark.parametrize("n", [1, 257, 400, 2016, 2048])
def test_base_without_a_form_takes_any_number_of_rows(n):
    zeros = torch.zeros(2)
    flow = Flow(Elementwise(2, 0, Affine()), StudentT(5.0 + zeros, zeros, 1.0 + zeros))
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(LogDensity(flow, dispatch.FORMS, x)(x), flow.log_prob(x))
