"""Derivatives written out by hand, and the memory that one evaluation leaves to the next."""

import math

import numpy as np
import pytest
import torch

from skflow._optimizer import Adam, ParameterVector
from skflow._rows import Rows
from skflow._start import fit_mixture
from skflow._threads import Pace
from skflow._training import Part, Plan, Trainer
from skflow.flows import (
    Chain,
    Flow,
    FlowSettings,
    MaskedAutoregressive,
    RationalQuadraticSpline,
    StandardNormal,
    build_flow,
)
from skflow.flows.evaluation import Evaluation
from skflow.flows.networks import MaskedLinear, MaskedNetwork
from skflow.flows.preprocessing import LogTails, Standardize
from skflow.flows.tape import Tape

D = 5
FLOW_NAMES = ("nsf", "nsf-coupling", "maf", "realnvp")


def _mixture(diagonal):
    rows = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return fit_mixture(rows, 3, np.random.RandomState(0), diagonal=diagonal).double()


BASES = {
    "normal": lambda: StandardNormal(D).double(),
    "mixture": lambda: _mixture(False),
    "diagonal mixture": lambda: _mixture(True),
}


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def compiled(request):
    if request.param:
        pytest.importorskip("numba", reason="the loops are compiled by numba")
    return request.param


def build(name, base="normal", std=0.3, compiled=True):
    """A flow with weights off the identity, those that its masks hide among them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow(name, D, 0, FlowSettings(3, (16, 16), 4, compiled=compiled))
        flow = Flow(flow.double(), BASES[base]())
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(std * torch.randn_like(p))
    return flow


def rows(n, seed):
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", FLOW_NAMES)
def test_gradients_over_used_memory_are_those_of_autograd(name, base, compiled):
    flow = build(name, base, compiled=compiled)
    x, weight = rows(40, 2), torch.linspace(-1, 1, 40, dtype=torch.float64)
    evaluation = Evaluation(flow, x, keeps=True)
    evaluation(rows(40, 1))
    evaluation.gradients(torch.ones(40, dtype=torch.float64))
    log_prob, grads = evaluation(x), evaluation.gradients(weight)
    wanted = flow.log_prob(x)
    trained = [p for p in flow.parameters() if p.requires_grad]
    expected = torch.autograd.grad(wanted @ weight, trained)
    torch.testing.assert_close(log_prob, wanted.detach(), rtol=1e-12, atol=1e-12)
    for p, grad in zip(trained, expected):
        own = grads[[q is p for q in flow.parameters()].index(True)]
        torch.testing.assert_close(own, grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1.5, 10, dtype=torch.float64)])
def test_a_batch_is_some_rows_and_the_weight_of_each_in_their_mean(weight):
    part, some = Part(rows(10, 1), weight), torch.tensor([3, 1, 7])
    x, share = part.batch(some)
    alone = torch.ones(3, dtype=torch.float64) if weight is None else weight[some]
    assert x.equal(part.x[some])
    torch.testing.assert_close(share, alone / 3, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", FLOW_NAMES)
@pytest.mark.parametrize("n", [3, 256, 300, 700])
def test_tiles_change_nothing(name, n, compiled):
    """Of one row to a tile that is filled up, or of several tiles with the units of wide layers in bands."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = FlowSettings(2, (130, 150), 16, compiled=compiled)
        flow = Flow(build_flow(name, D, 0, settings).double(), _mixture(False))
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(0.1 * torch.randn_like(p))
    x, weight = rows(n, 1), torch.linspace(-1, 1, n, dtype=torch.float64)
    whole, some = Evaluation(flow, x, keeps=True), [Evaluation(flow, part, keeps=True) for part in x.split(100)]
    log_prob, grads = whole(x), whole.gradients(weight)
    parts = torch.cat([evaluation(part) for evaluation, part in zip(some, x.split(100))])
    torch.testing.assert_close(log_prob, parts, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_prob, Evaluation(flow, x)(x), rtol=0, atol=0)
    parts = zip(*(evaluation.gradients(part) for evaluation, part in zip(some, weight.split(100))))
    for grad, terms in zip(grads, parts):
        torch.testing.assert_close(grad, sum(terms), rtol=1e-9, atol=1e-9)


def test_an_evaluation_takes_fewer_rows_than_it_was_recorded_for():
    flow, x = build("nsf"), rows(300, 1)
    evaluation, smaller = Evaluation(flow, x, keeps=True), Evaluation(flow, x[:40], keeps=True)
    evaluation(x)
    evaluation.gradients(torch.ones(300, dtype=torch.float64))
    weight = torch.linspace(-1, 1, 40, dtype=torch.float64)
    torch.testing.assert_close(evaluation(x[:40]), smaller(x[:40]), rtol=1e-12, atol=1e-12)
    for some, same in zip(evaluation.gradients(weight), smaller.gradients(weight)):
        torch.testing.assert_close(some, same, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", [*FLOW_NAMES, "glow", "maf-mog", "gaussianization"])
def test_evaluations_over_shared_memory_are_the_density(name, base, compiled):
    """Links of a chain write over what those before them left, whoever they were."""
    flow, x = build(name, base, compiled=compiled), rows(300, 1)
    evaluation = Evaluation(flow, x)
    evaluation(rows(300, 2))
    links = flow.bijection.links
    z, log_abs_det = x, torch.zeros(300, dtype=torch.float64)
    with torch.no_grad():
        for link in links:
            z, term = link(z)
            log_abs_det = log_abs_det + term
        torch.testing.assert_close(evaluation(x), flow.base.log_prob(z) + log_abs_det, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [0, 7])
def test_tables_are_put_on_scale_in_tiles_as_in_rows(far):
    low, high = torch.full((D,), -math.inf, dtype=torch.float64), torch.full((D,), 3.0, dtype=torch.float64)
    low[1] = -2.5
    scale = Standardize(torch.linspace(-1, 1, D, dtype=torch.float64), torch.linspace(0.5, 2, D, dtype=torch.float64))
    flow, x = Flow(Chain([scale, LogTails(low, high)]), BASES["normal"]()), rows(300, 1).clamp(-1.0, 1.0)
    x[:far, 1] -= 1e4
    x[far // 2 : far, 3] += 1e6
    evaluation = Evaluation(flow, x)
    for _ in range(2):
        torch.testing.assert_close(evaluation(x), flow.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("memory", "n_kept", "n_shared"), [("scratch", 1, 1), ("keep", 3, 1), ("output", 3, 2)])
def test_memory_is_taken_over_by_later_links(memory, n_kept, n_shared):
    for keeps, expected in ((True, n_kept), (False, n_shared)):
        tape, taken = Tape(torch.empty(0), keeps), []
        for _ in range(3):
            tape.next_link()
            taken.append(getattr(tape, memory)(2, 3))
            assert getattr(tape, memory)(4).data_ptr() != taken[-1].data_ptr()
        assert len({v.data_ptr() for v in taken}) == expected


@pytest.mark.parametrize("n_context", [0, 2])
def test_sampling_feature_by_feature_is_the_same_with_and_without_a_graph(n_context):
    layer = MaskedAutoregressive(6, n_context, RationalQuadraticSpline(4), (20, 30)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    z = torch.randn(300, 6, dtype=torch.float64, generator=generator)
    context = torch.randn(300, n_context, dtype=torch.float64, generator=generator) if n_context else None
    with_graph = layer.inverse(z, context)
    with torch.no_grad():
        for some, same in zip(layer.inverse(z, context), with_graph):
            torch.testing.assert_close(some, same.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", [1, 3])
@pytest.mark.parametrize("n_context", [0, 2])
@pytest.mark.parametrize("compiled", [True, False])
def test_masked_network_is_plain_arithmetic(t, n_context, compiled):
    """The bands, the order of the rows and the gradients, beside masked products of whole matrices."""
    if compiled:
        pytest.importorskip("numba", reason="the loops are compiled by numba")
    network, generator = MaskedNetwork(7, n_context, 20, (140, 70)).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    network.compiled = compiled
    h = torch.randn(t, n_context + 7, 32, dtype=torch.float64, generator=generator).requires_grad_()
    plain = h
    for i, layer in enumerate(network.layers()):
        used = layer.affine * layer.mask
        plain = used[:, 1:] @ (plain.relu() if i else plain) + used[:, :1]
    order = network.row_order(h).order
    assert (order is None) == (t == 1 or compiled) and len(network.output.bands) > 1
    plain = plain.view(t * 7, 20, 32).transpose(0, 1)
    plain = plain if order is None else plain.index_select(1, order)
    params = network(h)
    torch.testing.assert_close(params, plain, rtol=1e-12, atol=1e-12)
    weight = torch.randn(params.shape, dtype=torch.float64, generator=generator)
    variables = [h, *network.parameters()]
    for own, other in zip(*(torch.autograd.grad((v * weight).sum(), variables) for v in (params, plain))):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


def test_a_second_derivative_does_not_write_over_the_first():
    flow = build("maf")
    log_prob = flow.log_prob(rows(40, 1))
    params = list(flow.parameters())
    first = torch.autograd.grad(log_prob.sum(), params, retain_graph=True)
    kept = [grad.clone() for grad in first]
    torch.autograd.grad(3 * log_prob.sum(), params)
    for grad, copy in zip(first, kept):
        torch.testing.assert_close(grad, copy)


def test_hidden_weights_have_no_say_and_no_gradient():
    flow, x = build("maf"), rows(40, 3)
    evaluation = Evaluation(flow, x, keeps=True)
    log_prob = evaluation(x)
    names = [name for name, _ in flow.named_parameters()]
    grads = dict(zip(names, evaluation.gradients(torch.ones_like(log_prob))))
    masked = {name: m for name, m in flow.named_modules() if isinstance(m, MaskedLinear)}
    assert masked
    for name, m in masked.items():
        assert bool((grads[f"{name}.affine"][m.mask == 0] == 0).all())
        with torch.no_grad():
            m.affine[m.mask == 0] += 1
    assert evaluation(x).equal(log_prob)


def test_diagonal_mixture_stays_diagonal_in_training():
    flow = build("nsf", "diagonal mixture").float()
    means = flow.base.means.detach().clone()
    plan = Plan(1, 32, None, 1, 1e-2, 0.0, 10, 0.0)
    trainer = Trainer(flow, Part(rows(320, 3).float()), None, plan, torch.Generator().manual_seed(0))
    trainer.one_pass(math.inf, Pace())
    assert not torch.equal(flow.base.means, means)
    assert bool((flow.base.lower == 0).all())


def test_adam_is_torchs():
    torch.manual_seed(0)
    own, other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    other.load_state_dict(own.state_dict())
    params = ParameterVector(own)
    adam, torchs = Adam(params, 0.0), torch.optim.Adam(other.parameters(), 1e-2, eps=1e-8)
    for _ in range(5):
        x = torch.randn(8, 4)
        params.differentiate(own(x).square().sum())
        adam.step(1e-2)
        torchs.zero_grad()
        other(x).square().sum().backward()
        torchs.step()
    for p, q in zip(own.parameters(), other.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_training_rows_of_a_sorted_table_come_in_random_order():
    table = Rows(np.arange(5000.0)[:, None], None, None, 0.1, np.random.RandomState(0))
    (fold,) = table.folds
    assert sorted([*fold.train, *fold.held_out]) == list(range(5000))
    assert fold.train[:200].mean() == pytest.approx(2500, abs=400)


def test_ties_of_a_sorted_table_are_judged_by_all_of_it():
    x = np.sort(np.r_[np.zeros(60_000), np.random.RandomState(0).randn(440_000)])[::-1].copy()
    table = Rows(x[:, None], None, None, 0.0, np.random.RandomState(0))
    assert len(np.unique(table.x.numpy())) > 490_000
