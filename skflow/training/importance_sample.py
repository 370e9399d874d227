"""Draws from a flow, weighted as draws of a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import engine
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.flow import Flow

ROWS_AT_A_TIME = 2048


@dataclass
class ImportanceSample:
    """Draws from a flow and the logarithms of their weights, in nats."""

    x: Tensor
    log_weights: Tensor


def log_prob(flow: Distribution, x: Tensor) -> Tensor:
    """Log-density of rows in data units, chunk by chunk, without a graph."""
    if isinstance(flow, FlowMixture):
        return torch.logsumexp(torch.stack([log_prob(f, x) for f in flow.members], 1) + flow.weights.log(), 1)
    return torch.cat([engine.log_prob(flow, rows) for rows in x.split(ROWS_AT_A_TIME)])


@torch.no_grad()
def draw(flow: Distribution, n: int, generator: torch.Generator) -> Tensor:
    """Rows drawn from a flow."""
    if type(flow) is not Flow:
        return flow.sample(n, None, generator)
    z = flow.base.sample(n, None, generator)
    inverse = engine.inverse(flow.bijection, z[:ROWS_AT_A_TIME])
    return torch.cat([inverse(rows)[0].clone() for rows in z.split(ROWS_AT_A_TIME)])


def importance_sample(
    flow: Distribution, log_density: Callable[[Tensor], Tensor], n: int, generator: torch.Generator
) -> ImportanceSample:
    """``n`` draws from a flow, weighted as draws of a target."""
    x = draw(flow, n, generator)
    return ImportanceSample(
        x, (log_density(x) - log_prob(flow, x)).nan_to_num(nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf)
    )
