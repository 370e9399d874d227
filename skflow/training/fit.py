"""What every fit goes through, and what comes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..engine import threads_for
from ..flows.bijections.bijection import Bijection
from ..flows.bijections.chain import Chain
from ..flows.bijections.embedded_context import EmbeddedContext
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.order_average import average_over_orderings
from ..flows.flow import Flow
from ..flows.registry import FlowSettings
from .hyperparameters import Plan
from .progress import Progress
from .table import Table


@dataclass
class Fit:
    """A fit under way or done.

    Attributes
    ----------
    preprocessing : Bijection
        From data units to the scale of the network, in float64.
    latent : Distribution
        The trained part, in the precision and on the device of training.
    dtype : torch.dtype
        The precision of the finished flow.
    embedding : Bijection or None
        From the units of the context to the scale of the network.
    columns : Tensor or None
        The columns of the context that the flow sees; None for all.
    fold : ndarray of shape (n,) or None
        Of an ensemble the member that has not seen the row.
    optimizer_state : tuple or None
        To go on from; None while training.
    """

    preprocessing: Bijection
    latent: Distribution
    dtype: torch.dtype
    settings: FlowSettings
    plan: Plan
    embedding: Bijection | None = None
    columns: Tensor | None = None
    fold: np.ndarray | None = None
    progress: Progress = field(default_factory=Progress)
    optimizer_state: tuple | None = None

    @property
    def flow(self) -> Distribution:
        """The whole density, in data units, on the CPU; while training goes on, a copy."""
        flow = self.whole()
        if self.optimizer_state is None:
            flow = copy.deepcopy(flow)
        return flow.to(device="cpu", dtype=self.dtype)

    def whole(self) -> Distribution:
        """The whole density, of modules of several precisions and devices that training may still be at work on."""
        if not hasattr(self.latent, "bijection"):
            return Flow(self.preprocessing, self.latent)
        layers = self.latent.bijection
        if self.embedding is not None:
            layers = EmbeddedContext(layers, self.embedding, self.columns)
        return average_over_orderings(Flow(Chain([self.preprocessing, layers]), self.latent.base))

    def modules(self) -> list[nn.Module]:
        """All that the fit is made of."""
        return [self.whole()]

    def threads(self) -> AbstractContextManager[None]:
        """A block with the threads that a step can feed."""
        return threads_for(self.plan.batch_size * max((p.numel() for p in self.latent.parameters()), default=0))


class Fitting:
    """Fits what ``estimator`` describes; only its parameters are read. Subclasses say what is trained on which rows.

    Parameters
    ----------
    estimator : BaseFlow
    X : ndarray of shape (n, d)
    weight, groups : ndarray of shape (n,) or None
    seed : int
        From which every random choice follows.
    device : torch.device
        Where to train.
    bounds : pair of Tensor of shape (d,), or of None
        Lower and upper ones, infinite where there is none.
    on_iteration : callable
        Told of the `Fit` after every pass; true stops it.
    context : ndarray of shape (n, n_context), optional
    n_categories : ndarray of shape (d,), int, optional
        Of every column; zero for numbers, which all are by default.
    indicator : ndarray of shape (d,), int, optional
        For a number with atoms the column that says whether it is at one; -1 for all others. See `MixedDistribution`.
    """

    dequantised = True  # whether ties are smoothed

    def __init__(
        self,
        estimator,
        X: np.ndarray,
        weight: np.ndarray | None,
        groups: np.ndarray | None,
        seed: int,
        device: torch.device,
        bounds: tuple[Tensor | None, Tensor | None],
        on_iteration: Callable[[Fit], bool] = lambda fit: False,
        context: np.ndarray | None = None,
        n_categories: np.ndarray | None = None,
        indicator: np.ndarray | None = None,
    ):
        self.estimator = estimator
        self.seed = seed
        self.device = device
        self.bounds = bounds
        self.on_iteration = on_iteration
        self.dtype = torch.float32 if X.dtype == np.float32 else torch.float64
        self.rng = np.random.RandomState(seed)
        self.n_categories = n_categories
        self.indicator = indicator
        numbers = None if n_categories is None else n_categories == 0
        self.table = Table(X, weight, groups, context, self.rng, dequantised=self.dequantised, numbers=numbers)

    def from_scratch(self) -> Fit:
        """Fit to the table and nothing else."""
        raise NotImplementedError
