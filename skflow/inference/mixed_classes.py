"""What a joint density of features and class says of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .observed import Observed


@dataclass(frozen=True)
class MixedClasses:
    """Bayes' theorem for rows with holes, given a density of the features and, as the last column, of the class.

    Parameters
    ----------
    observed : Observed
    n_classes : int
    """

    observed: Observed
    n_classes: int

    def log_prior(self) -> np.ndarray:
        """Log-probability of every class, shape (n_classes,)."""
        n_columns = len(self.observed.evaluator.flow.base.n_categories)
        return self._log_joint(np.full((1, n_columns - 1), np.nan))[0]

    def class_log_density(self, X: np.ndarray) -> np.ndarray:
        """Log-density in nats of what is observed of rows (n, d) in every class, shape (n, n_classes)."""
        return self._log_joint(X) - self.log_prior()

    def _log_joint(self, X):
        rows = np.column_stack([np.repeat(X, self.n_classes, axis=0), np.tile(np.arange(self.n_classes), len(X))])
        return self.observed.log_density(rows)[0].reshape(len(X), self.n_classes)

    def sample(self, label: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """One row for every label, shape (n, d)."""
        n_columns = len(self.observed.evaluator.flow.base.n_categories)
        rows = np.full((len(label), n_columns), np.nan)
        rows[:, -1] = label
        return self.observed.impute(rows, "sample", generator)[:, :-1]
