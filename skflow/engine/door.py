"""The door to the engine: programs where there are any."""

from __future__ import annotations

from collections.abc import Callable

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
from .threads import on_one_thread

Direction = Callable[..., tuple[Tensor, Tensor]]


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


def forward(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Direction:
    """A program for a bijection from data to latent, or the module's own `forward`: see `log_density`."""
    if kernels and is_fast(bijection, like):
        return Map(bijection, FORMS, like, context)
    return on_one_thread(bijection.forward)


def inverse(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Direction:
    """A program for the other direction, or the module's own `inverse`."""
    if kernels and is_fast(bijection, like):
        return Map(bijection, FORMS, like, context, inverse=True)
    return on_one_thread(bijection.inverse)


def log_prob(flow: Distribution, x: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Tensor:
    """`Distribution.log_prob` without a graph, the fast way where there is one."""
    rows = [x] if context is None else [x, context]
    with torch.no_grad():
        return (log_density(flow, *rows, kernels=kernels) or on_one_thread(flow.log_prob))(*rows)


def is_fast(module: nn.Module, like: Tensor) -> bool:
    """Whether compiled loops can be had for rows like these, and have something to do."""
    layers = [m for m in module.modules() if type(m) in (Coupling, MaskedAutoregressive)]
    numbers = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if not (layers and numbers and all(type(m.network) in FORMS for m in layers)):
        return False
    same = all(layer.affine.dtype == like.dtype for m in layers for layer in m.network.layers())
    return same and load("queue") is not None
