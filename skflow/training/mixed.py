"""Fits the density of a table of numbers and categories, whatever is missing from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..flows.bijections.chain import Chain
from ..flows.distributions.flow_mixture import FlowMixture
from ..flows.distributions.mixed_distribution import MixedDistribution
from ..flows.flow import Flow
from ..preprocessing.fit import fit_columnwise
from . import hyperparameters as hp
from .density import DensityFitting
from .fit import Fit, Fitting
from .hyperparameters import resolve_flow, resolve_plan
from .latent_tree import TreeFitting
from .table import Fold


class IndicatorFitting(DensityFitting):
    """Fits a flow of numbers given indicators of categories, and keeps what is blind to each fold: see `Fitting`."""

    dequantised = False

    def __init__(self, *args, folds: list[Fold], **kwargs):
        self._folds = folds
        super().__init__(*args, **kwargs)

    def _split(self):
        return self._folds

    def _embedding(self, rows):
        """Indicators are zero or one already."""
        return None if self.table.context is None else Chain()

    def _finished(self, winner):
        self.blind = [fit.flow for fit in winner.fits]


class MixedFitting(Fitting):
    """Fits latent trees to all columns, and in front of them a flow of the numbers given the categories.

    Columns of numbers are Gaussianized one by one. Trees of several sizes are fitted to what is observed, by
    expectation-maximisation, and weighted by the likelihood of rows that they have not seen. The flow learns from rows
    whose holes the trees have filled by draws; its weight beside the trees, too, comes from rows held out.
    """

    def from_scratch(self) -> Fit:
        """Fit the marginals, the trees, the flow, and the flow's weight."""
        columnwise, log_abs_det, blind_trees, trees = self._fit_closed_form()

        def assembled(fit, flow, weight):
            latent = MixedDistribution(
                trees, flow, torch.tensor(weight, dtype=torch.float64), torch.from_numpy(self.n_categories)
            )
            shifted = fit.progress.shifted(shift)
            return replace(fit, preprocessing=columnwise, latent=latent, embedding=None, progress=shifted)

        shift = float(log_abs_det.mean())
        if not self.numbers.any():
            n, d = self.z.shape
            plan = resolve_flow(self.estimator, n), resolve_plan(self.estimator, n, d)
            return assembled(Fit(columnwise, trees, self.dtype, *plan, optimizer_state=()), None, 0.0)
        categories = trees.log_prob(torch.where(self.numbers, torch.nan, self.z[: hp.TREE_ROWS_TO_COMPARE]))
        shift += float(categories.mean())
        fitting = self._flow_fitting(trees, lambda fit: self.on_iteration(assembled(fit, fit.flow, 0.5)))
        fit = fitting.from_scratch()
        flow = fit.flow
        weight = self._weight_of_flow(blind_trees, getattr(fitting, "blind", []))
        # Nothing goes on from here: a fit to such a table begins anew.
        return replace(assembled(fit, flow if weight else None, weight), optimizer_state=())

    def closed_form(self) -> Flow:
        """The marginals and the trees alone: a density that knows its own marginals and conditionals."""
        columnwise, _, _, trees = self._fit_closed_form()
        return Flow(columnwise, trees)

    def _fit_closed_form(self):
        table, estimator = self.table, self.estimator
        self.numbers = torch.from_numpy(self.n_categories == 0)
        columnwise = fit_columnwise(table.x, self.numbers, table.typical(table.everything.train), *self.bounds)
        self.z, log_abs_det = columnwise(table.x)
        self.folds = table.split(estimator.validation_fraction if estimator.early_stopping else 0.0)
        return columnwise, log_abs_det, *self._fit_trees()

    def _fit_trees(self):
        """Mixtures of trees: one for every fold, blind to it, and one of all rows."""
        weight = None if self.table.weight is None else torch.from_numpy(self.table.weight)
        parts = [*self.folds, self.table.everything]
        fittings = []
        for part in parts:
            rows = torch.from_numpy(part.train[: hp.TREE_ROWS])
            some = None if weight is None else weight[rows]
            fittings.append(TreeFitting(self.z[rows], self.n_categories, some, self.rng))
        held_out = [self.z[torch.from_numpy(fold.held_out)] for fold in self.folds]
        if not len(held_out[0]):
            n_states = min(hp.TREE_STATES, key=lambda k: abs(k - len(self.z) ** 0.5 / hp.ROWS_PER_STATE))
            return [], FlowMixture([fittings[-1].fit(n_states, "classes", hp.TREE_PATIENCE)])
        found = []  # kind, number of states, steps, trees of the folds, log-densities of rows that they have not seen
        for kind in ("classes", "values"):
            best = -np.inf
            for k in hp.TREE_STATES:
                if k > hp.TREE_STATES[0] and k * hp.ROWS_PER_STATE > len(self.z):
                    break
                trees, n_iter = zip(*(f.fit_until_best(k, kind, rows) for f, rows in zip(fittings, held_out)))
                blind = torch.cat([tree.log_prob(rows) for tree, rows in zip(trees, held_out)]).numpy()
                found.append((kind, k, round(float(np.mean(n_iter))), trees, blind))
                if blind.mean() < best - hp.LOSS_TO_STOP:
                    break
                best = max(best, blind.mean())
        share = stacking_weights(np.stack([blind for *_, blind in found], 1))
        kept = [(row, w) for row, w in zip(found, share) if w >= hp.LEAST_TREE_WEIGHT]
        share = torch.tensor([w for _, w in kept])
        share = share / share.sum()
        blind_trees = [FlowMixture([row[3][i] for row, _ in kept], share) for i in range(len(self.folds))]
        members = [fittings[-1].fit(k, kind, n_iter) for (kind, k, n_iter, *_), _ in kept]
        return blind_trees, FlowMixture(members, share)

    def _flow_fitting(self, trees, on_iteration):
        complete = self._drawn(trees, self.z)
        mixed = MixedDistribution(trees, None, torch.zeros(()), torch.from_numpy(self.n_categories))
        indicators = mixed.indicators(complete)
        rows = complete[:, self.numbers].numpy(), self.table.weight, self.table.group
        where = int(self.rng.randint(2**31 - 1)), self.device, (None, None), on_iteration
        context = None if indicators is None else indicators.numpy()
        return IndicatorFitting(self.estimator, *rows, *where, context, folds=self.folds)

    def _drawn(self, trees, z):
        generator = torch.Generator().manual_seed(int(self.rng.randint(2**31 - 1)))
        noise = torch.rand(len(z), z.shape[1] + 1, 2, generator=generator, dtype=z.dtype)
        return trees.fill(z, noise)

    @torch.no_grad()
    def _weight_of_flow(self, blind_trees, blind_flows):
        """The share w of the flow, of highest likelihood on the rows held out, and zero where it is of no use."""
        ratios: list[Tensor] = []
        for trees, flow, fold in zip(blind_trees, blind_flows, self.folds):
            z = self.z[torch.from_numpy(fold.held_out)]
            mixed = MixedDistribution(trees, flow, torch.ones(()), torch.from_numpy(self.n_categories))
            holes = bool(z.isnan().any())
            draws = []
            for _ in range(hp.DRAWS_TO_WEIGH if holes else 1):
                complete = self._drawn(trees, z) if holes else z
                draws.append(mixed.log_ratio(complete))
            ratios.append(torch.logsumexp(torch.stack(draws), 0) - np.log(len(draws)))
        if not ratios:
            return 0.5
        log_ratio = torch.cat(ratios).numpy()
        weight = stacking_weights(np.stack([np.zeros_like(log_ratio), log_ratio], 1))[1]
        return float(weight) if weight >= hp.LEAST_TREE_WEIGHT else 0.0


def stacking_weights(log_density: np.ndarray) -> np.ndarray:
    """Weights of a mixture of densities by their likelihood of rows that they have not seen.

    Expectation-maximisation (Yao, Vehtari, Simpson & Gelman 2018, eq. 4) with a Dirichlet prior, which keeps the
    weights of few rows near each other.

    Parameters
    ----------
    log_density : ndarray of shape (n, K)
    """
    n, k = log_density.shape
    weights = np.full(k, 1 / k)
    for _ in range(hp.STACKING_STEPS):
        share = special.softmax(log_density + np.log(weights), axis=1).sum(0)
        weights = (share + hp.STACKING_PSEUDO_ROWS / k) / (n + hp.STACKING_PSEUDO_ROWS)
    return weights
