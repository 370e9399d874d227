"""Distributions over tiles.

``record(tape, base, z, context)`` takes the memory of tiles (t, d, m), and of a context or None. It returns that of the
log-density (t, m), and how to record the derivative: ``back(tape, grad_log_prob)`` returns the memory of the gradients
with respect to ``z`` and to the parameters, in the order of ``parameters()``; None for one that is not trained.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ..flows.distributions.distribution import LOG_2PI, Distribution
from ..flows.distributions.gaussian_mixture import GaussianMixture
from ..flows.distributions.normal import StandardNormal
from .tape import Graph, Tape
from .threads import on_one_thread
from .tiles import from_tiles

Recorded = tuple[Tensor, Callable]


def record(tape: Tape, base: Distribution, z: Tensor, context: Tensor | None) -> Recorded:
    """The form of the class, or torch's operations and differentiation on rows."""
    form = tape.forms.get(type(base))
    if form is None or (tape.keeps and not form.gradients):
        n = len(z) * z.shape[2]

        def log_prob(z):
            rows = from_tiles(z, n), None if context is None else from_tiles(context, n)
            return [base.log_prob(*rows).view(len(z), -1)]

        graph = Graph(tape, log_prob, base.parameters())
        pull_back = on_one_thread(lambda base, grad_log_prob: graph.gradients(grad_log_prob))
        return _record(tape, base, z, on_one_thread(graph), pull_back)
    return form.record(tape, base, z, context)


def _record(tape, base, z, evaluate, pull_back):
    """From functions: the log-density with what the derivative needs, and the gradients from that."""
    out, kept, params = tape.keep(len(z), z.shape[2]), [], list(base.parameters())

    def run():
        log_prob, *kept[:] = evaluate(z)
        out.copy_(log_prob)
        if not tape.keeps:
            kept.clear()

    def back(tape, grad_log_prob):
        grad_z = tape.output(*z.shape)
        grads = [torch.empty_like(p, requires_grad=False) if p.requires_grad else None for p in params]

        def run_back():
            for into, grad in zip([grad_z, *grads], pull_back(base, grad_log_prob, *kept)):
                if into is not None:
                    into.copy_(grad)

        tape.add(run_back)
        return grad_z, grads

    tape.add(run)
    return out, back


def record_normal(tape: Tape, base: StandardNormal, z: Tensor, context: Tensor | None) -> Recorded:
    """`StandardNormal`."""
    square, log_prob = tape.scratch(*z.shape), tape.keep(len(z), z.shape[2])
    tape.add(torch.mul, z, z, out=square)
    tape.add(torch.sum, square, 1, out=log_prob)
    tape.add(log_prob.add_, z.shape[1] * LOG_2PI)
    tape.add(log_prob.mul_, -0.5)

    def back(tape, grad_log_prob):
        grad_z, down = tape.output(*z.shape), tape.scratch(*grad_log_prob.shape)
        tape.add(torch.neg, grad_log_prob, out=down)
        tape.add(torch.mul, z, down[:, None], out=grad_z)
        return grad_z, []

    return log_prob, back


def record_mixture(tape: Tape, base: GaussianMixture, z: Tensor, context: Tensor | None) -> Recorded:
    """`GaussianMixture`."""
    evaluate, gradients = functools.partial(_mixture, base), _mixture_gradients
    if len(z) == 1:  # threads share the tiles, but a single one they would divide
        evaluate, gradients = on_one_thread(evaluate), on_one_thread(gradients)
    return _record(tape, base, z, evaluate, gradients)


def _mixture(base, z):
    white, terms, factors = base.components(z)
    log_prob = torch.logsumexp(terms, 1)
    return log_prob, z, white, terms.sub_(log_prob[:, None]).exp_(), factors


def _mixture_gradients(base, grad_log_prob, z, white, share, factors):
    """With posterior weights r of the components, the gradient of ``w_k = P_k (z - m_k)`` is ``-r_k w_k``."""
    t, k, d, m = white.shape
    share = share * grad_log_prob[:, None]
    grad_white = (white * share[:, :, None]).neg_().view(t, k * d, m)
    mass, total = share.sum(2).sum(0), grad_white.sum(2).sum(0).view(k, d, 1)
    grad_factors = (grad_white @ z.mT).sum(0).view(k, d, d) - total * base.means[:, None]
    grad_means = -(factors.mT @ total)[:, :, 0]
    grad_diagonal = grad_factors.diagonal(dim1=-2, dim2=-1) * base.log_diagonal.exp() + mass[:, None]
    grad_logits = mass - torch.softmax(base.logits, 0) * mass.sum()
    grad_z = factors.view(k * d, d).t().expand(t, -1, -1) @ grad_white
    return [grad_z, grad_logits, grad_means, grad_diagonal, torch.tril(grad_factors, -1)]
