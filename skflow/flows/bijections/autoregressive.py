"""Masked autoregression: every feature conditions those after it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..networks.masked import MaskedNetwork
from ..univariate.univariate import Univariate
from .conditional import Conditional


class MaskedAutoregressive(Conditional):
    """Every feature conditions the maps of those after it (Papamakarios et al. 2017, eq. 3).

    Scoring takes one pass of the network. The inverse goes feature by feature, in the work of one pass.
    """

    def __init__(
        self, n_features: int, n_context: int, univariate: Univariate, hidden_layer_sizes: Sequence[int] = (64, 64)
    ):
        network = MaskedNetwork(n_features, n_context, univariate.n_params, hidden_layer_sizes)
        super().__init__(univariate, network, 0, n_features)

    def inverse(self, z, context=None):
        evaluation = self.network.feature_by_feature(None if context is None else context.t(), len(z))
        features, log_abs_det = [], z.new_zeros(len(z))
        for i, z_i in enumerate(z.t().contiguous()):
            x_i, log_slope = self.univariate.inverse(z_i, evaluation.params(i))
            evaluation.tell(x_i)
            features.append(x_i)
            log_abs_det = log_abs_det + log_slope
        return torch.stack(features).t(), log_abs_det
