"""Fits classes to a table with categories or holes: the density of features and class together."""

from __future__ import annotations

import numpy as np
import torch

from .mixed import MixedFitting


class MixedClassificationFitting(MixedFitting):
    """Fits the joint density of features and class, the class a category and the last column: see `Fitting`.

    The context is one-hot; a row without a class is one of which it has not been observed.
    """

    def __init__(
        self, estimator, X, weight, groups, seed, device, bounds, on_iteration, context, n_categories, indicator
    ):
        label = np.where(context.any(1), context.argmax(1), np.nan)
        bounds = tuple(
            None if bound is None else torch.cat([bound, bound.new_tensor([end])])
            for bound, end in zip(bounds, (-np.inf, np.inf))
        )
        kinds = np.append(n_categories, context.shape[1]), np.append(indicator, -1)
        X = np.column_stack([X, label])
        super().__init__(estimator, X, weight, groups, seed, device, bounds, on_iteration, None, *kinds)
