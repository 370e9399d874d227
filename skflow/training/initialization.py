"""What a flow starts from: layers of a seed, and a base that is a good density already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ..engine.threads import fork_safe_lock
from ..flows.bijections.bijection import Bijection
from ..flows.distributions.distribution import BaseDistribution
from ..flows.distributions.gaussian_mixture import GaussianMixture
from ..flows.distributions.normal import StandardNormal
from ..flows.distributions.student_t import StudentT
from ..flows.registry import FlowSettings, build_flow
from . import hyperparameters as hp
from .mixtures import MixtureFitting

_BUILD_LOCK = fork_safe_lock()


def build_layers(
    flow: str | Callable, settings: FlowSettings, seed: int, z: Tensor, context: Tensor | None = None
) -> Bijection:
    """Build the trainable part of a flow with weights from ``seed``; torch's own generator is left as it was.

    Parameters
    ----------
    flow : str or callable
    settings : FlowSettings
    seed : int
    z : Tensor of shape (n, d)
        Rows in random order on the scale of the network, from which some layers read how to start.
    context : Tensor of shape (n, n_context), optional
    """
    shape = z.shape[1], 0 if context is None else context.shape[1]
    with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = build_flow(flow, *shape, settings) if isinstance(flow, str) else flow(*shape)
    if not isinstance(layers, Bijection):
        raise TypeError(
            f"flow={flow!r} returned {type(layers).__name__}; a callable flow takes (n_features, n_context) and "
            "returns a skflow.flows.Bijection."
        )
    layers = layers.float()  # whatever the caller's default dtype is
    with torch.no_grad():
        layers.initialise(z, context)
    return layers


@threadpool_limits.wrap(limits=1)
def fit_bases(
    name: str,
    z: Sequence[Tensor],
    held_out: Sequence[Tensor | None],
    rng: np.random.RandomState,
    *,
    diagonal: bool = True,
) -> list[list[BaseDistribution]]:
    """The base distributions that ``name`` leaves to try, each fitted to the latent rows of every fold.

    Parameters
    ----------
    name : {"auto", "normal", "student-t", "mixture"}
    z : sequence of Tensor of shape (n, d)
        Training rows of each fold.
    held_out : sequence of Tensor of shape (m, d) or None
        Rows by which the size of a mixture is chosen; without them it is a single Gaussian.
    rng : RandomState
    diagonal : bool, default=True
        Whether to try diagonal covariances as well.

    Returns
    -------
    list of list of BaseDistribution
        For each choice, the base of each fold.
    """
    if name in ("normal", "student-t"):
        return [[_fit_other(name, rows) for rows in z]]
    fittings = [MixtureFitting(rows) for rows in z]
    single = [fitting.fit(1, rng) for fitting in fittings]
    if held_out[0] is None:
        return [single]
    choices = [(_mean_score(single, held_out), single)]
    n, d = min(len(rows) for rows in z), z[0].shape[1]
    for only_diagonal in (False, True) if diagonal else (False,):
        best = (-np.inf, single) if only_diagonal else choices[0]
        for k in hp.COMPONENTS:
            rows_needed = k * (hp.ROWS_PER_DIAGONAL_COMPONENT if only_diagonal else max(hp.ROWS_PER_COMPONENT, d))
            most = max(hp.MIN_COMPONENTS_TO_TRY, 2 * (len(best[1][0].means) - 1))
            if rows_needed > n or k * d * d > hp.MAX_COVARIANCE_NUMBERS or k > most:
                break
            mixtures = [fitting.fit(k, rng, diagonal=only_diagonal) for fitting in fittings]
            best = max(best, (_mean_score(mixtures, held_out), mixtures), key=lambda choice: choice[0])
        choices.append(best)
    best = max(choices, key=lambda choice: choice[0])[1]
    if name == "mixture" or best is single:
        return [best]
    return [single, best]


@threadpool_limits.wrap(limits=1)
def refit_base(base: BaseDistribution, z: Tensor, rng: np.random.RandomState) -> BaseDistribution:
    """A base of the same kind and size as ``base``, fitted to other rows."""
    if isinstance(base, GaussianMixture):
        return MixtureFitting(z).fit(len(base.means) - 1, rng, diagonal=base.diagonal)
    return _fit_other("student-t" if isinstance(base, StudentT) else "normal", z)


def _fit_other(name, z):
    return StandardNormal(z.shape[1]) if name == "normal" else StudentT.fit(z).float()


@torch.no_grad()
def _mean_score(bases, held_out):
    return float(np.mean([float(base.log_prob(rows).mean()) for base, rows in zip(bases, held_out)]))
