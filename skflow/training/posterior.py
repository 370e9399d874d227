"""Fits a flow to a density known up to a constant: tempered importance sampling first, then maximum likelihood."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..flows.bijections.autoregressive import MaskedAutoregressive
from ..flows.bijections.chain import Chain
from ..flows.bijections.linear import LU
from ..flows.distributions.defensive import DefensiveMixture
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.flow import Flow
from ..flows.univariate.affine import Affine
from . import hyperparameters as hp
from .crank_nicolson import CrankNicolson
from .density import DensityFitting
from .fit import Fit
from .hamiltonian import hamiltonian_monte_carlo
from .importance_sample import ImportanceSample, draw, importance_sample, log_prob
from .importance_weights import TRUSTED_K, effective_sample_size, log_mean, shape_by_target_rows, tail_shape
from .interrupt import keeps_the_fit
from .path_gradient import minimise_reverse_kl
from .persistent_sampling import Generation, PersistentSample, systematic_resampling, tempered_log_density
from .reference import wide_reference
from .target import BudgetExhausted, Target

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
class PosteriorFit:
    """A fit, draws of its flow that have had no say in it, and the shape of the tail of their weights."""

    fit: Fit
    sample: ImportanceSample
    pareto_k: float = math.inf

    @property
    def share(self) -> float:
        """Of the draws, how many are worth one of the target."""
        return effective_sample_size(self.sample.log_weights) / len(self.sample.x)


class PosteriorFitting:
    """Fits what ``estimator`` describes to a target; only its parameters are read.

    Rows are drawn at a falling temperature, each time from flows that have been fitted to the weighted rows so far;
    where their draws are not good enough, there are also rows of Markov chains that the flows precondition. The flow
    that the estimator describes is fitted to the rows of the target's own temperature. Where its draws are poor and the
    target can be differentiated, path gradients of the reverse KL divergence carry another flow to where no row has
    been, and it is fitted once more to draws of that one. Rows of the samplers, and of Hamiltonian chains in the end,
    say what the flow's own draws can't: where it has none.

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
        on_chains = int(hp.CHAINS_SHARE * target.max_evaluations)
        self.n_chains = int(np.clip(on_chains // hp.SHORT_CHAIN, *hp.CHAINS))
        self.n_per_chain = on_chains // self.n_chains
        self.rows_of_target: list[tuple[Tensor, Tensor]] = []  # and the target's log-densities there
        self.beta, self.interrupted = 0.0, False

    def from_scratch(self) -> PosteriorFit:
        """The fit, and what it is worth."""
        target = self.target
        target.reserved = self.n_evidence + self.n_chains * self.n_per_chain
        self._begin()
        self._sample(self._temper)
        best = self._fit_and_weigh()
        enough = target.differentiable and target.left > 4 * self.n_evidence
        if not self._ended(best) and enough and best.share < hp.FINAL_SHARE:
            self._sample(self._refine, best)
            again = best if self.interrupted else self._fit_and_weigh()
            # It may know of more than the first, and so be the better one though fewer of its draws are effective; but
            # it may also have lost a place.
            limit = max(TRUSTED_K, self._shape(best))
            if again.share >= min(hp.POOR_SHARE, best.share) and self._shape(again) <= limit:
                best = again
        target.reserved = 0
        if not self._ended(best):
            self._sample(self._walk, best)
        if self.interrupted:
            best.fit.progress.stopped = "interrupted"
        best.pareto_k = self._shape(best)
        return best

    def _ended(self, posterior):
        return self.interrupted or posterior.fit.progress.stopped in ("interrupted", "callback")

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
        """The flow of the estimator, and draws from it. Some of the rows that it is fitted to are kept."""
        weights = self.sample.log_weights()
        n = int(min(hp.CHAINS[1], effective_sample_size(weights)))
        index = systematic_resampling(weights, n, self.rng)
        self.rows_of_target.append((self.sample.x[index], self.sample.on_target[index]))
        fit, target = self._fit_draws(), self.target
        target.reserved = self.n_chains * self.n_per_chain
        n = min(self.n_evidence, target.left)
        return PosteriorFit(fit, importance_sample(fit.flow, target, n, self.generator))

    def _walk(self, posterior):
        """Keep the rows where Hamiltonian chains end that start at the draws of a flow, weighted."""
        sample = posterior.sample
        x = sample.x[systematic_resampling(sample.log_weights, self.n_chains, self.rng)]
        unbounded = self.reference.bijection

        def log_density(y):
            x, log_abs_det = unbounded.inverse(y)
            return log_abs_det + (self.target.with_gradient(x) if self.target.differentiable else self.target(x))

        n_leaps = hp.LEAPS if self.target.differentiable else 1
        # No more than the fit has cost so far.
        n_moves = (min(self.n_per_chain, self.target.n_evaluations // self.n_chains) - 2) // n_leaps
        y = hamiltonian_monte_carlo(unbounded(x)[0], log_density, n_moves, n_leaps, self.generator)
        x = unbounded.inverse(y)[0]
        self.rows_of_target.append((x, self.target(x)))

    def _shape(self, posterior):
        """Of the weights' tail, as the flow's draws show it and as rows do that come from elsewhere."""
        flow = posterior.fit.flow
        shapes = [shape_by_target_rows(on_target - log_prob(flow, x)) for x, on_target in self.rows_of_target]
        return max(tail_shape(posterior.sample.log_weights), *shapes)

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

    def _refine(self, posterior):
        """Generations from flows that path gradients have carried to where there may be no row yet.

        Rows of chains are left behind: how far they have come can't be known, and the density of flows can.
        """
        flow, sample = posterior.fit.flow, posterior.sample
        rows = self._rows(self.beta, hp.REFINED_ROWS)
        self.target.reserved += self.n_evidence
        self.beta = 1.0
        self.sample = PersistentSample(self.sample.reference)
        self.sample.add_draws(sample.x, sample.log_weights + log_prob(flow, sample.x), lambda x: log_prob(flow, x))
        refined = self._proposal(rows, _linear_and_autoregressive, "normal", hp.REFINED_STEPS)
        self._draw_from(copy.deepcopy(refined).requires_grad_(False))  # whose density must stay what it is
        for _ in range(hp.REFINEMENTS):
            refined.bijection.requires_grad_(True)
            most = int(hp.MAX_REVERSE_KL_SHARE * self.target.left) // hp.REVERSE_KL_ROWS
            minimise_reverse_kl(refined, self.target, min(hp.REVERSE_KL_STEPS, most), self.generator)
            share = self._draw_from(copy.deepcopy(refined).requires_grad_(False))
            if share < hp.POOR_SHARE:
                return
        self._draw_from(refined.requires_grad_(False), n=min(self.n_final, self.target.left))

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
        return self._fit(DrawsFitting if name == "nsf" else ProposalFitting, like, rows).flow

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


def _linear_and_autoregressive(n_features, n_context):
    """Affine autoregressive layers behind linear ones, which turn what the columns have in common into one of them."""
    sizes = 2 * (hp.REFINED_WIDTH,)
    pairs = (
        (LU(n_features), MaskedAutoregressive(n_features, n_context, Affine(), sizes)) for _ in range(hp.REFINED_DEPTH)
    )
    return Chain([link for pair in pairs for link in pair])
