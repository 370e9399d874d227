"""What is fast, of which class: a row for each. A subclass has none, since it may have changed anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..flows.base_distribution import GaussianMixture, StandardNormal
from ..flows.bijection import Bijection, Chain, Inverse
from ..flows.conditional import Coupling, MaskedAutoregressive
from ..flows.ensemble import SmoothedEnsemble
from ..flows.flow import Flow
from ..flows.linear import Permutation
from ..flows.networks import DenseNetwork, MaskedNetwork
from ..flows.preprocessing import LogTails, Standardize
from . import bijections, distributions, networks, univariate
from .compiler import load
from .log_density import LogDensity, Map, record_ensemble
from .tape import Form
from .threads import loops_have_threads

FORMS = {
    # bijections
    Chain: Form(bijections.record_chain, bijections.record_chain_inverse),
    Inverse: Form(bijections.record_turned, bijections.record_turned_inverse, gradients=False),
    Permutation: Form(bijections.record_permutation, bijections.record_permutation_inverse),
    Standardize: Form(bijections.record_standardize, gradients=False),
    LogTails: Form(bijections.record_log_tails, gradients=False),
    Coupling: Form(bijections.record_conditional, bijections.record_coupling_inverse),
    MaskedAutoregressive: Form(bijections.record_conditional, bijections.record_autoregressive_inverse),
    # univariate maps
    **{kind: compiled.form() for kind, compiled in univariate.COMPILED.items()},
    # networks
    DenseNetwork: Form(networks.record, compiled=True),
    MaskedNetwork: Form(networks.record, compiled=True),
    # base distributions
    StandardNormal: Form(distributions.record_normal),
    GaussianMixture: Form(distributions.record_mixture),
    SmoothedEnsemble: Form(record_ensemble, gradients=False),
}


def log_density(
    flow: Flow, like: Tensor, context: Tensor | None = None, *, gradients: bool = False, kernels: bool = True
) -> LogDensity | None:
    """A program for the log-density of a flow.

    Parameters
    ----------
    flow : Flow
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
        None where the flow has no fast form, or none here: `Flow.log_prob` is then the way.
    """
    if not kernels or flow.n_orderings > 1 or not is_fast(flow, like):
        return None
    return LogDensity(flow, FORMS, like, context, gradients)


def forward(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Map | None:
    """A program for a bijection from data to latent, or None: see `log_density`."""
    return Map(bijection, FORMS, like, context) if kernels and is_fast(bijection, like) else None


def inverse(bijection: Bijection, like: Tensor, context: Tensor | None = None, *, kernels: bool = True) -> Map | None:
    """A program for the other direction, or None: see `log_density`."""
    return Map(bijection, FORMS, like, context, inverse=True) if kernels and is_fast(bijection, like) else None


def log_prob(flow: Flow, x: Tensor, *, kernels: bool = True) -> Tensor:
    """`Flow.log_prob` without a graph, the fast way where there is one."""
    with torch.no_grad():
        return (log_density(flow, x, kernels=kernels) or flow.log_prob)(x)


def is_fast(module: nn.Module, like: Tensor) -> bool:
    """Whether compiled loops can be had for rows like these, and have something to do."""
    conditional = [m for m in module.modules() if type(m) in (Coupling, MaskedAutoregressive)]
    numbers = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if not conditional or not numbers or any(p.dtype != like.dtype for p in module.parameters()):
        return False
    work = len(like) * sum(p.numel() for m in conditional for p in m.network.parameters())
    known = all(FORMS.get(type(m.network), Form(print)).compiled for m in conditional)
    return known and loops_have_threads(work) and load("queue") is not None
