"""Fits a flow to a density known up to a constant, by tempered sampling that the flow itself preconditions."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from .. import engine
from ..flows.bijections.bounded import Bounded
from ..flows.bijections.chain import Chain
from ..flows.bijections.standardize import location_and_spread
from ..flows.distributions.defensive import DefensiveMixture
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.student_t import StudentT
from ..flows.flow import Flow
from . import hyperparameters as hp
from .crank_nicolson import CrankNicolson
from .density import DensityFitting
from .persistent_sampling import PersistentSample, effective_sample_size, tempered_log_density
from .target import Target

ROWS_AT_A_TIME = 2048


class FinalFitting(DensityFitting):
    """Fits a flow to weighted draws, as `FlowDensity` fits a table without ties."""

    dequantised = False


class NearFitting(FinalFitting):
    """The same with straight lines kept straight: a wall of the rows so far is none of the flow."""

    kinds = ("linear",)


def log_prob(flow: Flow, x: Tensor) -> Tensor:
    """Log-density of rows in data units, chunk by chunk, without a graph."""
    if isinstance(flow, FlowMixture):
        return torch.logsumexp(torch.stack([log_prob(f, x) for f in flow.members], 1) + flow.weights.log(), 1)
    return torch.cat([engine.log_prob(flow, rows) for rows in x.split(ROWS_AT_A_TIME)])


def draw(flow: Flow, n: int, generator: torch.Generator) -> Tensor:
    """Rows drawn from a flow."""
    with torch.no_grad():
        z = flow.base.sample(n, None, generator)
        inverse = engine.inverse(flow.bijection, z[:ROWS_AT_A_TIME]) or flow.bijection.inverse
        return torch.cat([inverse(rows)[0].clone() for rows in z.split(ROWS_AT_A_TIME)])


PRECONDITIONER = dict(
    flow="nsf",
    depth=2,
    hidden_layer_sizes="auto",
    n_bins="auto",
    base="mixture",
    ordering="auto",
    batch_size=256,
    early_stopping=True,
    validation_fraction=0.1,
    learning_rate_init=5e-3,
    alpha=1e-4,
    n_iter_no_change=1000,
    tol=0.0,
)


def reference(n_features, low, high, scale, init=None):
    """A wide density to start from: Student t columns inside the bounds, around ``init`` where it is given."""
    d = n_features
    zeros, ones = torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)
    if low is None:
        low, high = zeros - torch.inf, zeros + torch.inf
    both, one = low.isfinite() & high.isfinite(), low.isfinite() ^ high.isfinite()
    unit = torch.where(both, high - low, torch.where(one, scale * ones, ones))
    links = [Bounded(low, high, unit)] if (both | one).any() else []
    loc, spread = zeros, torch.where(both, hp.LOGISTIC_SCALE, torch.where(one, 2.0, scale * ones))
    if init is not None:
        x = torch.as_tensor(init, dtype=torch.float64)
        if links:
            links[0] = Bounded.fit(x, low, high)
            x = links[0](x)[0]
        loc, width = location_and_spread(x)
        spread = torch.where(width > 0, scale * width, spread)
    df = torch.where(both, hp.LOGISTIC_DF, hp.REFERENCE_DF * ones)
    return Flow(Chain(links), StudentT(df, loc, spread)).requires_grad_(False)


class PosteriorFitting:
    """Samples a target by tempering from a wide reference; flows fitted to all rows so far propose the next ones."""

    def __init__(
        self, estimator, target: Target, n_features, seed, device, bounds, init=None, on_iteration=lambda fit: False
    ):
        self.estimator, self.target, self.d, self.seed, self.device = estimator, target, n_features, seed, device
        self.bounds, self.init, self.on_iteration = bounds, init, on_iteration
        self.rng = np.random.RandomState(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def _scale(self):
        scores = []
        for scale in hp.SCALES:
            flow = reference(self.d, *self.bounds, scale, self.init)
            x = flow.sample(hp.DRAWS_PER_SCALE, None, self.generator)
            w = self.target(x) - flow.log_prob(x)
            scores.append(float(torch.logsumexp(w, 0)) - math.log(len(x)))
        scores = np.array(scores)
        good = scores >= scores.max() - 1
        return 2 * max(s for s, g in zip(hp.SCALES, good) if g)

    def _light(self, x, name):
        est = SimpleNamespace(**{**PRECONDITIONER, "flow": name, "depth": 3 if name == "maf" else 2})
        est.max_iter = max(1, hp.STEPS_PER_TEMPERATURE * 256 // len(x))
        cls = NearFitting if name == "maf" else FinalFitting
        fit = cls(
            est, x.numpy(), None, None, self.rng.randint(2**31 - 1), self.device, self.bounds, self.on_iteration
        ).from_scratch()
        flow = fit.flow
        return Flow(flow.bijection, DefensiveMixture(flow.base, hp.MOVE_DF, hp.HEAVY)).requires_grad_(False)

    def sample(self):
        """The persistent sample at the target, its proposals."""
        ref = reference(self.d, *self.bounds, self._scale(), self.init)
        pool = PersistentSample(lambda x: log_prob(ref, x))
        x = ref.sample(2 * hp.N_EFFECTIVE, None, self.generator)
        pool.add_draws(x, self.target(x), lambda x: log_prob(ref, x))
        beta, step = 0.0, hp.FIRST_STEP
        for _ in range(hp.MAX_ROUNDS):
            beta = pool.next_beta(beta, hp.N_EFFECTIVE)
            log_z = pool.log_constant(beta)
            ess = effective_sample_size(pool.log_weights(beta))
            if beta == 1 and ess >= hp.FINAL_ROWS:
                break
            rows = pool.resample(int(max(hp.N_EFFECTIVE, min(ess, hp.FINAL_ROWS))), beta, self.rng)
            near = self._light(pool.x[rows], "maf")
            far = self._light(pool.x[rows], "nsf")
            flow = FlowMixture([near, far]).requires_grad_(False)
            x = torch.cat([draw(f, hp.CHAINS // 2, self.generator) for f in (near, far)])
            on_target = self.target(x)
            pool.add_draws(x, on_target, lambda x, flow=flow: log_prob(flow, x))
            w = tempered_log_density(pool.on_reference[-len(x) :], on_target, torch.tensor(beta)) - log_prob(flow, x)
            share = effective_sample_size(w) / len(x)
            if share < hp.GOOD_SHARE:
                chain = CrankNicolson(near, far, self.generator, step)
                start = pool.resample(hp.CHAINS, beta, self.rng)

                def tempered(x, beta=beta):
                    r, t = log_prob(ref, x), self.target(x)
                    return tempered_log_density(r, t, torch.tensor(beta)), r, t

                out = chain.run(pool.x[start], tempered)
                step = chain.step
                pool.add_tempered(out[0], out[2], out[3], beta, log_z)
        return pool
