"""The optimiser, beside torch's Adam where both are the same and beside the algorithm in numpy where they are not."""

import numpy as np
import pytest
import torch
from torch import nn

from skflow.flows.distributions.normal import StandardNormal
from skflow.flows.flow import Flow
from skflow.flows.registry import FlowSettings, build_flow
from skflow.training import hyperparameters as hp
from skflow.training.mixtures import MixtureFitting
from skflow.training.parameters import ParameterVector
from skflow.training.soap import Soap

RATE = 1e-2


class Matrices(nn.Module):
    def __init__(self, *shapes):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in shapes])


def trained(module, n_steps, alpha=0.0):
    """The parameters after some steps on gradients that are drawn at random, and the gradients."""
    params = ParameterVector(module)
    optimizer, generator, grads = Soap(params, alpha), torch.Generator().manual_seed(1), []
    for _ in range(n_steps):
        grads.append([torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in module.parameters()])
        params.take(grads[-1])
        optimizer.step(RATE)
    return [p.detach().numpy() for p in module.parameters()], grads


@pytest.mark.parametrize(("shapes", "n_steps"), [([(7,), (2, 3, 4), (5, 1)], 20), ([(5, 4), (5, 4), (3,)], 1)])
def test_without_bases_it_is_adam(shapes, n_steps):
    ours, grads = trained(Matrices(*shapes), n_steps)
    other = Matrices(*shapes)
    adam = torch.optim.Adam(other.parameters(), RATE, betas=hp.BETAS, eps=1e-8)
    for step in grads:
        for p, grad in zip(other.parameters(), step):
            p.grad = grad
        adam.step()
    for value, p in zip(ours, other.parameters()):
        np.testing.assert_allclose(value, p.detach().numpy(), rtol=1e-5, atol=1e-6)


def in_numpy(value, grads, alpha, sides):
    """Algorithm 3 for one matrix, with the moments kept in the bases."""
    m, n = value.shape
    left, right, bases = np.zeros((m, m)), np.zeros((n, n)), [np.eye(m), np.eye(n)]
    mean = square = np.zeros((m, n))
    beta1, beta2 = hp.BETAS
    for step, g in enumerate(grads, 1):
        turned = bases[0].T @ g @ bases[1]
        mean, square = beta1 * mean + (1 - beta1) * turned, beta2 * square + (1 - beta2) * turned**2
        ratio = mean / (1 - beta1**step) / (np.sqrt(square / (1 - beta2**step)) + 1e-8)
        value = (1 - RATE * alpha) * value - RATE * bases[0] @ ratio @ bases[1].T
        early = step <= hp.EARLY_STEPS
        if early or step % hp.COVARIANCE_STEPS == 0:
            keep = hp.BETA_COVARIANCE
            left, right = keep * left + (1 - keep) * g @ g.T, keep * right + (1 - keep) * g.T @ g
        if early or step % hp.BASIS_STEPS == 0:
            new = [np.linalg.qr(c @ b)[0] if k in sides else b for k, (c, b) in enumerate(zip((left, right), bases))]
            left_change, right_change = (b.T @ c for b, c in zip(bases, new))
            mean, square = left_change.T @ mean @ right_change, (left_change**2).T @ square @ right_change**2
            bases = new
    return value


LONG = hp.MAX_SIDE + 1


@pytest.mark.parametrize(("shape", "sides"), [((5, 5), (0, 1)), ((LONG, 3), (1,)), ((3, LONG), (0,))])
def test_on_matrices_it_is_the_algorithm(shape, sides):
    """In double precision, and the first covariances have no directions that rounding would decide about."""
    before = [p.detach().numpy().copy() for p in Matrices(shape, shape).double().parameters()]
    ours, grads = trained(Matrices(shape, shape).double(), 2 * hp.BASIS_STEPS + 1, alpha=0.3)
    for k, value in enumerate(before):
        expected = in_numpy(value, [step[k].numpy() for step in grads], 0.3, sides)
        np.testing.assert_allclose(ours[k], expected, atol=1e-8)


def least_squares_loss(make_step):
    """After 300 steps, where the inputs' turned coordinates differ in scale by a hundred."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator))[0]
    inputs = torch.randn(500, 20, generator=generator) * torch.logspace(0, -2, 20) @ turn
    weights = nn.ParameterList([nn.Parameter(torch.zeros(20, 20))])
    params = ParameterVector(weights)
    step = make_step(params, weights[0])
    for k in range(300):
        loss = (inputs @ weights[0] - inputs @ turn.T).square().mean()
        params.differentiate(loss)
        step(0.05 * (1 - k / 300))
    return float(loss.detach())


def steps_of_adam(params, weight):
    adam = torch.optim.Adam([weight], 0.05, betas=hp.BETAS)

    def step(rate):
        weight.grad, adam.param_groups[0]["lr"] = params.grad.view_as(weight), rate
        adam.step()

    return step


def test_turned_scales_that_differ_are_learnt_better_than_by_adam():
    assert least_squares_loss(lambda params, _: Soap(params, 0.0).step) < 0.1 * least_squares_loss(steps_of_adam)


def test_a_gradient_that_shrinks_all_at_once_makes_no_long_steps():
    module = Matrices((6, 4))
    params = ParameterVector(module)
    optimizer, generator = Soap(params, 0.0), torch.Generator().manual_seed(0)
    for scale in (1.0, 1e-6, 1e-6, 1e-6):
        params.grad.normal_(generator=generator).mul_(scale)
        before = params.value.clone()
        optimizer.step(RATE)
        assert float((params.value - before).abs().max()) < 10 * RATE


def test_going_on_from_a_state_is_going_on():
    module, other = Matrices((6, 4), (3,)), Matrices((6, 4), (3,))
    params = ParameterVector(module)
    optimizer, generator = Soap(params, 0.1), torch.Generator().manual_seed(0)
    for step in range(40):
        if step == 20:
            copy = ParameterVector(other)
            copy.value.copy_(params.value)
            resumed = Soap(copy, 0.1)
            resumed.resume(optimizer.state())
        params.grad.normal_(generator=generator)
        optimizer.step(RATE)
        if step >= 20:
            copy.grad.copy_(params.grad)
            resumed.step(RATE)
    assert torch.equal(params.value, copy.value)


def test_reset_forgets_everything():
    module = Matrices((6, 4))
    params = ParameterVector(module)
    optimizer = Soap(params, 0.0)
    before = [v if isinstance(v, int) else v.clone() for v in optimizer.state()]
    params.grad.normal_(generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.step(RATE)
    optimizer.reset()
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(before, optimizer.state()))


def test_weights_of_networks_decay_and_bases_do_not():
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    base = MixtureFitting(rows).fit(2, np.random.RandomState(0))
    flow = Flow(build_flow("nsf", 4, 0, FlowSettings(2, (8, 8), 4)), base).float()
    before = [p.detach().clone() for p in flow.parameters()]
    params = ParameterVector(flow)
    Soap(params, 1.0).step(RATE)  # the gradient is zero
    for p, q in zip(flow.bijection.parameters(), before):
        if p.dim() == 2:
            torch.testing.assert_close(p.detach(), (1 - RATE) * q)
    assert all(torch.equal(p, q) for p, q in zip(list(flow.base.parameters())[::-1], before[::-1]))


def test_matrices_of_one_shape_lie_side_by_side():
    params = ParameterVector(Matrices((3, 2), (4,), (2, 2), (3, 2), (1, 5)))
    assert [(stack.start, stack.count, stack.shape) for stack in params.stacks] == [(0, 1, (2, 2)), (4, 2, (3, 2))]
    assert params.n_in_stacks == 16
    assert torch.equal(params.stacks[1].of(params.value)[1], params.module.parts[3])


def test_one_thread_or_two_make_the_same_steps():
    if torch.get_num_threads() == 1:
        pytest.skip("there is one thread")

    def after(n_threads):
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        flow = Flow(build_flow("nsf", 6, 0, FlowSettings(2, (64, 64), 16)), StandardNormal(6)).float()
        values = trained(flow, 2 * hp.BASIS_STEPS)[0]
        torch.set_num_threads(before)
        return values

    torch.manual_seed(0)
    one = after(1)
    torch.manual_seed(0)
    two = after(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two))
