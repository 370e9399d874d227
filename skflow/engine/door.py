"""The door to the engine: programs where there are any, or None."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..flows.bijections.autoregressive import MaskedAutoregressive
from ..flows.bijections.bijection import Bijection
from ..flows.bijections.coupling import Coupling
from ..flows.distributions.distribution import Distribution
from ..flows.flow import Flow
from .compiler import load
from .dispatch import FORMS
from .programs import LogDensity, Map
from .threads import loops_have_threads


def log_density(
    flow: Distribution, like: Tensor, context: Tensor | None = None, *, gradients: bool = False, kernels: bool = True
) -> LogDensity | None:
    """A program for the log-density of a flow.

    Parameters
    ----------
    flow : Distribution
    like : Tensor of shape (n, d)
        Any rows, of the precision and device of those to come, and as many as will come at most.
    context : Tensor of shape (n, n_context), optional
        Likewise.
    gradients : bool, default=False
        Whether the gradients of the parameters will be asked for.
    kernels : bool, default=True
        Whether compiled loops may be loaded, which takes half a second.

    Returns
    -------
    LogDensity or None
        None where the flow has no fast form, or none here: its own `log_prob` is then the way.
    """
    if not kernels or type(flow) is not Flow or not is_fast(flow, like):
        return None
    return LogDensity(flow, FORMS, like, context, gradients)


def forward(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Map | None:
    """A program for a bijection from data to latent, or None: see `log_density`."""
    return Map(bijection, FORMS, like, context) if kernels and is_fast(bijection, like) else None


def inverse(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Map | None:
    """A program for the other direction, or None: see `log_density`."""
    return Map(bijection, FORMS, like, context, inverse=True) if kernels and is_fast(bijection, like) else None


def log_prob(flow: Distribution, x: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Tensor:
    """`Distribution.log_prob` without a graph, the fast way where there is one."""
    rows = [x] if context is None else [x, context]
    with torch.no_grad():
        return (log_density(flow, *rows, kernels=kernels) or flow.log_prob)(*rows)


def is_fast(module: nn.Module, like: Tensor) -> bool:
    """Whether compiled loops can be had for rows like these, and have something to do."""
    layers = [m for m in module.modules() if type(m) in (Coupling, MaskedAutoregressive)]
    numbers = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if not (layers and numbers and all(type(m.network) in FORMS for m in layers)):
        return False
    weights = [layer.affine for m in layers for layer in m.network.layers()]
    work = len(like) * sum(weight.numel() for weight in weights)
    same = all(weight.dtype == like.dtype for weight in weights)
    return same and loops_have_threads(work) and load("queue") is not None
