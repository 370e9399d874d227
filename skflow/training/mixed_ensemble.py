"""Fits an ensemble for outlier detection to a table of categories and holes: latent trees for every fold left out."""

from __future__ import annotations

import numpy as np

from ..flows.distributions.flow_mixture import FlowMixture
from .fit import Fit
from .hyperparameters import resolve_flow, resolve_plan
from .mixed import MixedFitting
from .table import Fold


class MixedEnsembleFitting(MixedFitting):
    """Fits what a `FlowOutlierDetector` is of such a table: see `Fitting`.

    Every member is a mixture of latent trees that has not seen one fold of the rows: it knows the density of whatever
    is observed of a row, exactly.
    """

    def from_scratch(self) -> Fit:
        """Fit the marginals, and the trees of every fold."""
        table, n = self.table, len(self.table)
        # Where there is one group, there is nothing to leave out but rows.
        group = table.group if table.group.any() else np.arange(n)
        n_groups = int(group.max()) + 1
        n_members = min(self.estimator.n_estimators, n_groups)
        own = (self.rng.permutation(n_groups) % n_members)[group]
        order = self.rng.permutation(n)
        self.folds = [Fold(order[own[order] != k], order[own[order] == k]) for k in range(n_members)]
        columnwise, _ = self._normal_scores()
        members, _ = self._fit_trees()
        fold = np.full(len(table.present), -1)
        fold[table.present] = own
        plan = resolve_flow(self.estimator, n), resolve_plan(self.estimator, n, len(self.n_categories))
        return Fit(columnwise, FlowMixture(members), self.dtype, *plan, fold=fold, optimizer_state=())
