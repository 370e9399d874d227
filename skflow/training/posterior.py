"""Fits a flow to a density known up to a constant: tempered importance sampling first, then maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from .. import engine
from ..flows.bijections.bounded import Bounded
from ..flows.bijections.chain import Chain
from ..flows.bijections.standardize import location_and_spread
from ..flows.distributions.defensive import DefensiveMixture
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.student_t import StudentT
from ..flows.flow import Flow
from . import hyperparameters as hp
from .crank_nicolson import CrankNicolson
from .density import DensityFitting
from .fit import Fit
from .importance_weights import effective_sample_size, log_mean
from .interrupt import keeps_the_fit
from .path_gradient import minimise_reverse_kl
from .persistent_sampling import Generation, PersistentSample, tempered_log_density
from .target import BudgetExhausted, Target

ROWS_AT_A_TIME = 2048
PROPOSAL = {  # the parameters that all proposals have in common
    "depth": 2,
    "hidden_layer_sizes": "auto",
    "n_bins": "auto",
    "ordering": "auto",
    "batch_size": 256,
    "early_stopping": True,
    "validation_fraction": 0.1,
    "learning_rate_init": 5e-3,
    "alpha": 1e-4,
    "n_iter_no_change": "auto",
    "tol": 0.0,
}


class DrawsFitting(DensityFitting):
    """Fits a flow to draws, as `FlowDensity` fits a table without ties."""

    dequantised = False


class ProposalFitting(DrawsFitting):
    """The same with straight lines kept straight: where the draws end so far is no wall of the target."""

    kinds = ("winsorised",)


class Interrupted(Exception):
    """Ctrl-C has ended the fit of a proposal."""


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
    inverse = engine.inverse(flow.bijection, z[:ROWS_AT_A_TIME]) or flow.bijection.inverse
    return torch.cat([inverse(rows)[0].clone() for rows in z.split(ROWS_AT_A_TIME)])


def importance_sample(
    flow: Distribution, log_density: Callable[[Tensor], Tensor], n: int, generator: torch.Generator
) -> ImportanceSample:
    """``n`` draws from a flow, weighted as draws of a target."""
    x = draw(flow, n, generator)
    return ImportanceSample(
        x, (log_density(x) - log_prob(flow, x)).nan_to_num(nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf)
    )


def wide_reference(
    n_features: int, bounds: tuple[Tensor | None, Tensor | None], scale: float, init: Tensor | None = None
) -> Flow:
    """A wide density to start from: Student t columns inside the bounds, around ``init`` where it is given.

    Parameters
    ----------
    n_features : int
    bounds : pair of Tensor of shape (d,), or of None
    scale : float
        Of columns without two bounds, or times the spread of ``init``.
    init : Tensor of shape (n, d), optional
    """
    zeros = torch.zeros(n_features, dtype=torch.float64)
    low, high = (zeros - torch.inf, zeros + torch.inf) if bounds[0] is None else bounds
    both, one = low.isfinite() & high.isfinite(), low.isfinite() ^ high.isfinite()
    unit = torch.where(both, high - low, torch.where(one, scale, 1.0 + zeros))
    links = [Bounded(low, high, unit)] if (both | one).any() else []
    loc, spread = zeros, torch.where(both, hp.LOGISTIC_SCALE, torch.where(one, 2.0, scale + zeros))
    if init is not None:
        inner = init
        if links:
            links[0] = Bounded.fit(init, low, high)
            inner = links[0](init)[0]
        loc, width = location_and_spread(inner)
        spread = torch.where(width > 0, scale * width, spread)
    df = torch.where(both, hp.LOGISTIC_DF, hp.REFERENCE_DF + zeros)
    return Flow(Chain(links), StudentT(df, loc, spread)).requires_grad_(False)


class PosteriorFitting:
    """Fits what ``estimator`` describes to a target; only its parameters are read.

    Rows are drawn at a falling temperature, each time from flows that have been fitted to the weighted rows so far;
    where their draws are not good enough, there are also rows of Markov chains that the flows precondition. The flow
    that the estimator describes is fitted to the rows of the target's own temperature. Where its draws are poor and the
    target can be differentiated, path gradients of the reverse KL divergence carry flows to where no row has been, and
    it is fitted once more to what these have drawn.

    Parameters
    ----------
    estimator : BaseFlow
    target : Target
    n_features : int
    seed : int
    device : torch.device
        Where flows are trained.
    bounds : pair of Tensor of shape (d,), or of None
    init : Tensor of shape (n, d), optional
        Where the target is thought to lie.
    on_iteration : callable
        Told of the `Fit` after every pass of the last flow; true stops it.
    on_generation : callable
        Told of every `Generation`.
    """

    def __init__(
        self,
        estimator,
        target: Target,
        n_features: int,
        seed: int,
        device: torch.device,
        bounds: tuple[Tensor | None, Tensor | None],
        init: Tensor | None = None,
        on_iteration: Callable[[Fit], bool] = lambda fit: False,
        on_generation: Callable[[Generation], None] = lambda generation: None,
    ):
        self.estimator, self.target, self.n_features, self.device = estimator, target, n_features, device
        self.bounds, self.init = bounds, init
        self.on_iteration, self.on_generation = on_iteration, on_generation
        self.rng = np.random.RandomState(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.n_evidence = max(1, min(hp.EVIDENCE_ROWS, int(hp.MAX_EVIDENCE_SHARE * target.max_evaluations)))
        self.n_final = min(hp.FINAL_ROWS, int(hp.MAX_FINAL_SHARE * target.max_evaluations))
        self.n_effective = min(hp.N_EFFECTIVE, self.n_final // 2)
        self.beta, self.interrupted = 0.0, False

    def from_scratch(self) -> tuple[Fit, ImportanceSample]:
        """The fit, and draws of its flow that have had no say in it."""
        target = self.target
        target.reserved = self.n_evidence
        self._begin()
        self._sample(self._temper)
        fit, sample = self._fit_and_weigh()
        ended = self.interrupted or fit.progress.stopped in ("interrupted", "callback")
        enough = target.differentiable and target.left > 4 * self.n_evidence
        if not ended and enough and _share(sample) < hp.FINAL_SHARE:
            self._sample(self._refine, fit.flow, sample)
            if self.interrupted:
                fit.progress.stopped = "interrupted"
                return fit, sample
            again = self._fit_and_weigh()
            # It may know of more than the first, and so be the better one though fewer of its draws are effective.
            if _share(again[1]) >= min(hp.POOR_SHARE, _share(sample)):
                return again
        return fit, sample

    def _sample(self, part, *args):
        """Do a part of the sampling, which the budget or Ctrl-C may end."""
        try:
            part(*args)
        except (BudgetExhausted, Interrupted):
            pass
        except KeyboardInterrupt:
            if not keeps_the_fit():
                raise
            self.interrupted = True

    def _fit_and_weigh(self):
        """The flow of the estimator, and draws from it."""
        fit, target = self._fit_draws(), self.target
        target.reserved = 0
        return fit, importance_sample(fit.flow, target, min(self.n_evidence, target.left), self.generator)

    def _begin(self):
        """Draws from the reference, whose scale is the largest that still meets the target."""
        target, scores = self.target, {}
        for scale in hp.SCALES:
            flow = wide_reference(self.n_features, self.bounds, scale, self.init)
            scores[scale] = log_mean(importance_sample(flow, target, hp.DRAWS_PER_SCALE, self.generator).log_weights)
        best = max(scores.values())
        if best == -math.inf:
            raise ValueError(
                f"log_density is finite at none of {target.n_evaluations} rows of scales between {hp.SCALES[0]:.2g} "
                f"and {hp.SCALES[-1]:.2g} around {'zero' if self.init is None else 'init'}: pass init, where the "
                "density is not zero, or the bounds of its support."
            )
        scale = max(scale for scale, score in scores.items() if score >= best - 1)
        self.reference = wide_reference(self.n_features, self.bounds, scale, self.init)
        x = draw(self.reference, hp.REFERENCE_ROWS, self.generator)
        self.sample = PersistentSample(lambda x: log_prob(self.reference, x))
        self.sample.add_draws(x, target(x), self.sample.reference)

    def _temper(self):
        """Generation after generation, until there are enough rows of the target itself."""
        sample, target, step = self.sample, self.target, hp.FIRST_STEP
        for number in range(1, hp.MAX_GENERATIONS + 1):
            self.beta = beta = sample.next_beta(self.beta, self.n_effective)
            log_z, n_effective = sample.log_constant(beta), effective_sample_size(sample.log_weights(beta))
            self.on_generation(Generation(number, beta, target.n_evaluations, n_effective))
            if beta == 1 and n_effective >= self.n_final:
                return
            rows = self._rows(beta, hp.FINAL_ROWS)
            flows = [self._heavy_tailed(rows, "maf"), self._heavy_tailed(rows, "nsf")]
            share = self._draw_from(*flows)
            if share < hp.GOOD_SHARE:
                chain = CrankNicolson(*flows, self.generator, step)
                moved = chain.run(sample.resample(hp.GENERATION, beta, self.rng), self._tempered(beta))
                sample.add_tempered(moved[0], *moved[2:], beta, log_z)
                step = chain.step
            elif beta == 1:
                missing = (self.n_final - effective_sample_size(sample.log_weights())) / share
                if missing > 0:
                    self._draw_from(*flows, n=int(min(missing, target.left)))

    def _refine(self, flow, sample):
        """Generations from flows that path gradients have carried to where there may be no row yet.

        Rows of chains are left behind: how far they have come can't be known, and the density of flows can.
        """
        rows = self._rows(self.beta, hp.REFINED_ROWS)
        self.target.reserved, self.beta = self.n_evidence, 1.0
        self.sample = PersistentSample(self.sample.reference)
        self.sample.add_draws(sample.x, sample.log_weights + log_prob(flow, sample.x), lambda x: log_prob(flow, x))
        for _ in range(hp.MAX_REFINEMENTS):
            refined = self._proposal(rows, "maf", "normal", hp.REFINED_STEPS)
            self._draw_from(refined.requires_grad_(False))
            refined.bijection.requires_grad_(True)
            most = int(hp.MAX_REVERSE_KL_SHARE * self.target.left) // hp.REVERSE_KL_ROWS
            minimise_reverse_kl(refined, self.target, min(hp.REVERSE_KL_STEPS, most), self.generator)
            share = self._draw_from(refined.requires_grad_(False))
            if share < hp.POOR_SHARE:
                return
            rows = self._rows(1.0, hp.REFINED_ROWS)

    def _rows(self, beta, most):
        """Rows at an inverse temperature, as many as are effective."""
        n = np.clip(effective_sample_size(self.sample.log_weights(beta)), self.n_effective, most)
        return self.sample.resample(int(n), beta, self.rng)

    def _tempered(self, beta):
        def log_densities(x):
            on_reference, on_target = log_prob(self.reference, x), self.target(x)
            return tempered_log_density(on_reference, on_target, beta), on_reference, on_target

        return log_densities

    def _draw_from(self, *flows, n=hp.GENERATION):
        """A generation from a flow, or from the mixture of some; its effective share at the present temperature."""
        n = -(-n // len(flows))
        if n * len(flows) > self.target.left:
            raise BudgetExhausted
        mixture = FlowMixture(flows).requires_grad_(False) if len(flows) > 1 else flows[0]
        x = torch.cat([draw(flow, n, self.generator) for flow in flows])
        on_reference, on_target = self.sample.reference(x), self.target(x)
        self.sample.add_draws(x, on_target, lambda x: log_prob(mixture, x))
        log_weights = tempered_log_density(on_reference, on_target, self.beta) - log_prob(mixture, x)
        return effective_sample_size(log_weights.nan_to_num(nan=-torch.inf, neginf=-torch.inf, posinf=torch.inf)) / len(
            x
        )

    def _heavy_tailed(self, rows, name):
        """A flow fitted to rows in a few steps, with a base whose tails are heavy."""
        flow = self._proposal(rows, name, "mixture", hp.PROPOSAL_STEPS)
        return Flow(flow.bijection, DefensiveMixture(flow.base, hp.MOVE_DF, hp.HEAVY)).requires_grad_(False)

    def _proposal(self, rows, name, base, n_steps):
        """A named flow fitted to rows in so many steps; columns go straight into one of affine layers."""
        like = SimpleNamespace(
            **PROPOSAL, flow=name, base=base, max_iter=max(1, n_steps * PROPOSAL["batch_size"] // len(rows))
        )
        return self._fit(ProposalFitting if name == "maf" else DrawsFitting, like, rows).flow

    def _fit_draws(self):
        """The flow of the estimator, fitted to rows of the lowest temperature that has been reached.

        After an interrupt one pass is all that there is time for.
        """
        interrupted = self.interrupted
        on_iteration = (lambda fit: True) if interrupted else self.on_iteration
        fit = self._fit(DrawsFitting, self.estimator, self._rows(self.beta, hp.FINAL_ROWS), on_iteration)
        if interrupted:
            fit.progress.stopped = "interrupted"
        return fit

    def _fit(self, fitting, like, rows, on_iteration=lambda fit: False):
        seed = self.rng.randint(2**31 - 1)
        fit = fitting(like, rows.numpy(), None, None, seed, self.device, self.bounds, on_iteration).from_scratch()
        if fit.progress.stopped == "interrupted":
            self.interrupted = True
            if like is not self.estimator:
                raise Interrupted
        return fit


def _share(sample):
    """Of draws of a flow, how many are worth one of the target."""
    return effective_sample_size(sample.log_weights) / len(sample.x)
