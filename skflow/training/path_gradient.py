"""Reverse KL divergence, minimised by path gradients."""

from __future__ import annotations

import math

import torch

from ..flows.flow import Flow
from . import hyperparameters as hp
from .parameters import ParameterVector
from .soap import Soap
from .target import Target


def minimise_reverse_kl(flow: Flow, target: Target, n_steps: int, generator: torch.Generator) -> Flow:
    """Train the layers of a flow so that its draws have the density of a target.

    The gradient of KL(q || p) is that of log q - log p along the path from noise z to a draw x = T(z) alone, without
    the score, whose mean is zero (Roeder, Wu & Duvenaud 2017, eq. 8): its variance vanishes as q comes near p. With f
    the inverse of T and J its Jacobian at x,

        dT/dw = -J^-1 df/dw,

    so no inverse has to be differentiated.

    Parameters
    ----------
    flow : Flow
        In float64. Its bijection is a chain of a preprocessing, which stays, and of layers.
    target : Target
        Its evaluations have gradients.
    n_steps : int
        Of ``hp.REVERSE_KL_ROWS`` draws each.
    generator : torch.Generator

    Returns
    -------
    Flow
        ``flow`` itself.
    """
    preprocessing, layers = flow.bijection.links
    preprocessing.requires_grad_(False)
    flow.base.requires_grad_(False)
    params = ParameterVector(layers)
    optimizer = Soap(params, 0.0)
    latent = Flow(layers, flow.base)
    average = params.value.clone()
    for step in range(n_steps):
        with torch.no_grad():
            y = layers.inverse(flow.base.sample(hp.REVERSE_KL_ROWS, None, generator))[0]
        params.differentiate(_surrogate(latent, preprocessing, target, y[y.isfinite().all(1)]))
        norm = float(params.grad.norm())
        if not math.isfinite(norm):
            continue
        if norm > hp.MAX_GRAD_NORM:
            params.grad.mul_(hp.MAX_GRAD_NORM / norm)
        optimizer.step(hp.REVERSE_KL_RATE * _schedule(step, n_steps))
        average.lerp_(params.value, 1 - min(hp.AVERAGING, (step + 1) / (step + 10)))
    params.value.copy_(average)
    params.release()
    return flow


def _surrogate(latent, preprocessing, target, y):
    """What has the path gradient as its gradient: rows ``y`` are draws on the scale of the layers."""
    y = y.detach().requires_grad_(True)
    x, log_abs_det = preprocessing.inverse(y)
    z, layers_log_abs_det = latent.bijection(y)
    log_ratio = latent.base.log_prob(z) + layers_log_abs_det - log_abs_det - target.with_gradient(x)
    log_ratio = torch.where(log_ratio.isfinite(), log_ratio, 0.0)
    (slope,) = torch.autograd.grad(log_ratio.sum(), y, retain_graph=True)
    jacobian = torch.stack([torch.autograd.grad(column.sum(), y, retain_graph=True)[0] for column in z.t()], 1)
    along, failed = torch.linalg.solve_ex(jacobian.mT, slope[..., None])
    along = torch.where((failed == 0)[:, None] & along[..., 0].isfinite(), along[..., 0], 0.0).detach()
    return -(along * z).sum() / max(1, len(y))


def _schedule(step: int, n_steps: int) -> float:
    """A linear warm-up, then a half cosine down to a hundredth."""
    warm_up = min(1.0, (step + 1) / (1 + 0.05 * n_steps))
    return warm_up * (hp.LAST_RATE + (1 - hp.LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / n_steps)))
