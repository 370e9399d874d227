"""The wide density that a sampler starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.bijections.bounded import Bounded
from ..flows.bijections.chain import Chain
from ..flows.bijections.standardize import location_and_spread
from ..flows.distributions.student_t import StudentT
from ..flows.flow import Flow
from . import hyperparameters as hp


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
