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
from skflow.flows import Flow, FlowSettings, StandardNormal, build_flow
from skflow.flows.networks import MaskedLinear

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


def build(name, base="normal", std=0.3):
    """A flow with weights off the identity, those that its masks hide at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = Flow(build_flow(name, D, 0, FlowSettings(3, (16, 16), 4)).double(), BASES[base]())
        with torch.no_grad():
            for p in flow.bijection.parameters():
                p.add_(std * torch.randn_like(p))
    for module in flow.modules():
        if isinstance(module, MaskedLinear):
            module.clear_idle()
    return flow


def rows(n, seed):
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", FLOW_NAMES)
def test_gradients_over_used_memory_are_those_of_autograd(name, base):
    flow = build(name, base)
    _, memory = flow.evaluate(rows(40, 1))
    flow.pull_back(memory, torch.ones(40, dtype=torch.float64))
    x, weight = rows(40, 2), torch.linspace(-1, 1, 40, dtype=torch.float64)
    log_prob, memory = flow.evaluate(x, memory)
    grads = flow.pull_back(memory, weight)
    wanted = flow.log_prob(x)
    trained = [p for p in flow.parameters() if p.requires_grad]
    expected = torch.autograd.grad(wanted @ weight, trained)
    torch.testing.assert_close(log_prob, wanted.detach(), rtol=1e-12, atol=1e-12)
    for p, grad in zip(trained, expected):
        own = grads[[q is p for q in flow.parameters()].index(True)]
        torch.testing.assert_close(own, grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1.5, 10, dtype=torch.float64)])
def test_rows_that_fill_up_a_batch_count_for_nothing(weight):
    """Compiled loops want whole vectors: a batch of three rows comes as 32, and its mean and gradient stay."""
    flow, part, some = build("nsf"), Part(rows(10, 1), weight), torch.tensor([3, 1, 7])
    x, share = part.batch(some)
    assert len(x) == len(share) == 32 and x[:3].equal(part.x[some]) and not share[3:].any()
    alone = torch.ones(3, dtype=torch.float64) if weight is None else weight[some]
    torch.testing.assert_close(share[:3], alone / 3, rtol=1e-15, atol=0)
    results = []
    for batch, weights in ((x, share), (part.x[some], alone / 3)):
        log_prob, memory = flow.evaluate(batch)
        results.append((log_prob @ weights, *flow.pull_back(memory, weights)))
    for filled, plain in zip(*results):
        torch.testing.assert_close(filled, plain, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_does_not_write_over_the_first():
    flow = build("maf")
    log_prob = flow.log_prob(rows(40, 1))
    params = list(flow.parameters())
    first = torch.autograd.grad(log_prob.sum(), params, retain_graph=True)
    kept = [grad.clone() for grad in first]
    torch.autograd.grad(3 * log_prob.sum(), params)
    for grad, copy in zip(first, kept):
        torch.testing.assert_close(grad, copy)


def test_training_keeps_hidden_weights_at_zero():
    flow = build("maf").float()
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.1)
    plan = Plan(2, 32, None, 1, 1e-2, 1e-2, 10, 0.0)
    trainer = Trainer(flow, Part(rows(320, 3).float()), None, plan, torch.Generator().manual_seed(0))
    trainer.one_pass(math.inf, Pace())
    trainer.one_pass(math.inf, Pace())
    masked = [m for m in flow.modules() if isinstance(m, MaskedLinear)]
    assert masked
    assert all(bool((m.affine[m.mask == 0] == 0).all()) for m in masked)


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
    table = Rows(np.arange(5000.0)[:, None], None, 0.1, np.random.RandomState(0))
    (fold,) = table.folds
    assert sorted([*fold.train, *fold.held_out]) == list(range(5000))
    assert fold.train[:200].mean() == pytest.approx(2500, abs=400)


def test_ties_of_a_sorted_table_are_judged_by_all_of_it():
    x = np.sort(np.r_[np.zeros(60_000), np.random.RandomState(0).randn(440_000)])[::-1].copy()
    table = Rows(x[:, None], None, 0.0, np.random.RandomState(0))
    assert len(np.unique(table.x.numpy())) > 490_000
