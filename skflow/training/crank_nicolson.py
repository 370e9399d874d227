"""Preconditioned Crank-Nicolson moves in the latent space of a flow."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .. import engine
from ..flows.flow import Flow
from . import hyperparameters as hp


class CrankNicolson:
    """A Markov chain per row, whose proposals are those of a flow with a mixture as its base.

    A local move draws a component by what it says of the row's latent z, and then, with e = P_k (z - m_k) white,

        e' = sqrt(1 - s^2) e + s g^(-1/2) noise,    g ~ Gamma((d + df) / 2, (df + |e|^2) / 2),

    which leaves the mixture of Student t distributions with those centres and scales invariant (Grumitt, Karamanis &
    Seljak 2024, eq. 9, for a single one): the heavy tails let no row get stuck far out. A global move draws z' from the
    base. Both are accepted by Metropolis and Hastings.

    Parameters
    ----------
    near, far : Flow
        Of local and of global moves, in float64, with a `DefensiveMixture` as base.
    generator : torch.Generator
    step : float
        s, between zero and one; `run` adapts it to the share of moves that are accepted.
    """

    def __init__(self, near: Flow, far: Flow, generator: torch.Generator, step: float):
        self.near = near
        self.far = far
        self.generator = generator
        self.step = step

    @torch.no_grad()
    def run(self, x: Tensor, log_density: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Move rows until they have little to do with where they were.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        log_density : callable
            Maps rows to a tuple of tensors of shape (n,), the first of them the log-density that the chain is to leave
            invariant; the others are carried along.

        Returns
        -------
        tuple of Tensor
            The rows, and what ``log_density`` says of them.
        """
        maps = {flow: _maps(flow, x) for flow in (self.near, self.far)}
        values = log_density(x)
        start = maps[self.near][0](x)[0].clone()
        for step in range(hp.MAX_MOVES):
            local = (step + 1) % hp.GLOBAL_EVERY != 0
            flow = self.near if local else self.far
            (forward, inverse), base = maps[flow], flow.base
            reference = base.student_log_prob if local else base.log_prob
            z, log_abs_det = forward(x)
            of_x = reference(z) + log_abs_det
            proposal = self._local(base, z) if local else base.sample(len(x), None, self.generator)
            x_new, log_abs_det = inverse(proposal)
            x_new = x_new.clone()
            new = log_density(x_new)
            ratio = (new[0] - reference(proposal) + log_abs_det - values[0] + of_x).nan_to_num(
                nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf
            )
            accepted = torch.rand(len(x), generator=self.generator, dtype=z.dtype).log() < ratio
            x = torch.where(accepted[:, None], x_new, x)
            values = tuple(torch.where(accepted, a, b) for a, b in zip(new, values))
            if local:
                share = float(ratio.clamp_max(0).exp().mean())
                self.step = min(hp.MAX_STEP, self.step * math.exp(share - hp.ACCEPTED))
            if step + 1 >= hp.MIN_MOVES and _correlation(start, maps[self.near][0](x)[0]) < hp.CORRELATION:
                break
        return x, *values

    def _local(self, base, z):
        n, d = z.shape
        white, log_prob, _ = base.student_components(z)
        k = torch.multinomial(torch.softmax(log_prob, 1), 1, generator=self.generator)[:, 0]
        e = white[torch.arange(n), k]
        shape = torch.full((n,), 0.5 * (d + base.df), dtype=z.dtype)
        g = torch._standard_gamma(shape, generator=self.generator) / (0.5 * (base.df + e.square().sum(1)))
        noise = torch.randn(n, d, generator=self.generator, dtype=z.dtype) * g.rsqrt()[:, None]
        # Narrow places need short moves while others are better served by long ones.
        step = self.step * hp.SHORTEST ** torch.rand(n, 1, generator=self.generator, dtype=z.dtype)
        return base.from_white((1 - step.square()).sqrt() * e + step * noise, k)


def _maps(flow, like):
    """Of a flow's bijection, both directions."""
    forward = engine.forward(flow.bijection, like)
    z = forward(like)[0].clone()
    return forward, engine.inverse(flow.bijection, z)


def _correlation(a, b):
    """Between rows then and now, the greatest over the columns."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float(((a * b).mean(0) / (a.square().mean(0) * b.square().mean(0)).sqrt().clamp_min(1e-300)).max())
