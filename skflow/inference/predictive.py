"""Distribution function, quantiles and moments of targets given features, from the flows' own maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import special
from scipy.stats import qmc
from torch import Tensor

from .. import engine
from ..engine import threads_for
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.flow import Flow
from ..flows.regression.stacking import StackedRegression
from .conversion import converted

ROWS_AT_A_TIME = 16_384
NODES, REACH = 41, 3.5  # of the trapezoidal rule over normal scores; a tail beyond, unseen, may have no mean at all
NODES_OF_SEVERAL = 64  # points of a scrambled Sobol sequence, for several targets
MAX_STEPS = 60
WORK_OF_LOCATION = 20_000  # operations of a row, about
ACCURACY = 1e-9  # of the distribution function at a quantile


def predictions(location: StackedRegression, X: np.ndarray) -> np.ndarray:
    """What a location gives for rows ``X`` (n, p), in double precision; shape (n, k + k n_models)."""
    with torch.inference_mode(), threads_for(len(X) * WORK_OF_LOCATION):
        return location(torch.tensor(X, dtype=torch.float64)).numpy()


class Predictive:
    """The distribution that a mixture of flows has for every context, on one device in double precision.

    A member maps one target to a standard normal score u increasingly, or decreasingly: its distribution function is
    ``Phi(u)`` or ``Phi(-u)``, and that of the mixture the weighted mean of its members'.

    Parameters
    ----------
    flow : Flow
        An increasing bijection in front of a `FlowMixture`.
    device : torch.device
    kernels : bool
        Whether compiled loops may be loaded.
    n_targets : int
    """

    def __init__(self, flow: Flow, device: torch.device, kernels: bool, n_targets: int):
        self.flow = converted(flow, torch.float64, device)
        self.device = device
        self.kernels = kernels
        self.n_targets = n_targets

    @property
    def mixture(self) -> FlowMixture:
        """The mixture behind the first links."""
        return self.flow.base

    def cdf(self, y: np.ndarray, context: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The distribution function of one target at ``y`` (n,), with other weights of the members (n, K) if given."""

        def at(y, context, *weights):
            v = self.flow.bijection(y[:, None], context)[0]
            return _Members(self, v, context).cdf_and_density(v, *weights)[0]

        return self._by_chunks(at, y, context, *([] if weights is None else [weights]))

    def quantiles(self, context: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Quantiles of one target, shape (n, q)."""
        levels = np.asarray(levels, dtype=float)
        q = max(1, len(levels))

        def of(context):
            p = torch.as_tensor(levels, device=self.device).repeat(len(context))
            v = self._solve(p, context.repeat_interleave(q, 0))
            y = self.flow.bijection.inverse(v[:, None], context.repeat_interleave(q, 0))[0]
            return y.view(-1, q)

        return np.maximum.accumulate(self._by_chunks(of, context, repeats=q), axis=1)

    def moments(self, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every target within 3.5 normal scores, shape (n, k) each."""
        d = self.n_targets
        if d == 1:
            nodes = np.linspace(-REACH, REACH, NODES)[:, None]
            shares = np.exp(-0.5 * nodes[:, 0] ** 2)
        else:
            nodes = special.ndtri(qmc.Sobol(d, seed=0).random(NODES_OF_SEVERAL)).clip(-REACH, REACH)
            shares = np.ones(len(nodes))
        nodes, shares = (torch.as_tensor(v, device=self.device) for v in (nodes, shares / shares.sum()))

        def of(context):
            n, m = len(context), len(nodes)
            u, wide = nodes.repeat(n, 1), context.repeat_interleave(m, 0)
            members = _Members(self, u, wide)
            values = torch.stack(
                [self.flow.bijection.inverse(v, wide)[0].view(n, m, d) for v in members.from_normal(u)]
            )
            # A member that alone reaches far beyond all others has met no row like this one.
            low, high = (v.median(0).values for v in (values.amin(2, keepdim=True), values.amax(2, keepdim=True)))
            values = values.clamp(low - (high - low), high + (high - low))
            means = torch.einsum("knmd,m->knd", values, shares)
            weights = self.mixture.weights[:, None, None]
            mean = (weights * means).sum(0)
            spread = torch.einsum("knmd,m->knd", (values - mean[:, None]) ** 2, shares)
            return torch.stack([mean, (weights * spread).sum(0).sqrt()], 1)

        both = self._by_chunks(of, context, repeats=len(nodes))
        return both[:, 0], both[:, 1]

    def _solve(self, p, context):
        """Where the distribution function is ``p`` (n,): Newton's method, or bisection where that leaves the bracket.

        The quantile of the mixture lies between the least and the greatest of its members'.
        """
        u = torch.special.ndtri(p)[:, None]
        members = _Members(self, u, context)
        ends = torch.stack([v[:, 0] for v in members.from_normal(u)])
        low, high = ends.amin(0), ends.amax(0)
        v = (self.mixture.weights[:, None] * ends).sum(0).clamp(low, high)
        for _ in range(MAX_STEPS):
            share, density = members.cdf_and_density(v[:, None])
            excess = share - p
            low, high = torch.where(excess <= 0, v, low), torch.where(excess >= 0, v, high)
            if bool((excess.abs() <= ACCURACY).all()):
                break
            step = v - excess / density
            v = torch.where((step > low) & (step < high), step, 0.5 * (low + high))
        return v

    def _by_chunks(self, function: Callable[..., Tensor], *arrays: np.ndarray, repeats: int = 1) -> np.ndarray:
        n_chunks = max(1, -(-len(arrays[0]) * repeats // ROWS_AT_A_TIME))
        chunks = zip(*(np.array_split(array, n_chunks) for array in arrays))
        with torch.no_grad(), threads_for(ROWS_AT_A_TIME * self.flow.width * 64):
            parts = [
                function(*(torch.tensor(array, dtype=torch.float64, device=self.device) for array in chunk))
                for chunk in chunks
            ]
        return torch.cat(parts).cpu().numpy()


class _Members:
    """The members' maps for some rows and contexts, made once and asked as often as needed."""

    def __init__(self, predictive: Predictive, like: Tensor, context: Tensor):
        self._mixture = predictive.mixture
        self._context = context
        self._like = like
        self._kernels = predictive.kernels
        self._forward: list | None = None
        # Of a single target some maps turn the order round; whether they do does not depend on the context.
        low, high = (torch.full_like(like[:1], u) for u in (-1.0, 1.0))
        self._signs = [
            1.0 if bool((m.from_latent(high, context[:1]) > m.from_latent(low, context[:1])).all()) else -1.0
            for m in self._mixture.members
        ]

    def cdf_and_density(self, v: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of the mixture at ``v`` (n, 1), shape (n,) each."""
        if self._forward is None:
            self._forward = [self._made(engine.forward, member) for member in self._mixture.members]
        weights = self._mixture.weights.expand(len(v), -1) if weights is None else weights
        share = density = 0
        for k, (forward, member) in enumerate(zip(self._forward, self._mixture.members)):
            z, log_abs_det = forward(v, self._context)
            u = self._signs[k] * member.base.to_normal(z, self._context)[:, 0]
            share = share + weights[:, k] * torch.special.ndtr(u)
            density = density + weights[:, k] * torch.exp(member.base.log_prob(z, self._context) + log_abs_det)
        return share, density

    def from_normal(self, u: Tensor) -> list[Tensor]:
        """Rows of every member from normal scores (n, d), of one target increasing with them."""
        out = []
        for sign, member in zip(self._signs, self._mixture.members):
            z = engine.on_one_thread(member.base.from_normal)(u if u.shape[1] > 1 else sign * u, self._context)
            out.append(self._made(engine.inverse, member)(z, self._context)[0])
        return out

    def _made(self, make, member):
        return make(member.bijection, self._like, self._context, kernels=self._kernels)
