"""What a flow starts from: layers of a seed, and a base that is a good density already."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import eigvalsh
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
    single = [fit_mixture(rows, 1, rng) for rows in z]
    if held_out[0] is None:
        return [single]
    choices = [(_mean_score(single, held_out), single)]
    n, d = min(len(rows) for rows in z), z[0].shape[1]
    for only_diagonal in (False, True) if diagonal else (False,):
        best = (-np.inf, single) if only_diagonal else choices[0]
        for k in hp.COMPONENTS:
            rows_needed = k * (hp.ROWS_PER_DIAGONAL_COMPONENT if only_diagonal else max(hp.ROWS_PER_COMPONENT, d))
            if rows_needed > n or k * d * d > hp.MAX_COVARIANCE_NUMBERS or k > 4 * (len(best[1][0].means) - 1):
                break
            mixtures = [fit_mixture(rows, k, rng, diagonal=only_diagonal) for rows in z]
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
        return fit_mixture(z, len(base.means) - 1, rng, diagonal=base.diagonal)
    return _fit_other("student-t" if isinstance(base, StudentT) else "normal", z)


def _fit_other(name, z):
    return StandardNormal(z.shape[1]) if name == "normal" else StudentT.fit(z).float()


@torch.no_grad()
def _mean_score(bases, held_out):
    return float(np.mean([float(base.log_prob(rows).mean()) for base, rows in zip(bases, held_out)]))


def fit_mixture(z: Tensor, n_components: int, rng: np.random.RandomState, *, diagonal: bool = False) -> GaussianMixture:
    """A mixture by expectation-maximisation; a single Gaussian is shrunk (Ledoit & Wolf 2004) where that does not cost.

    One more component, broad and of the weight of one row, is always there: where columns are nearly dependent the
    others are so narrow that a single odd row would cost thousands of nats.
    """
    from sklearn.covariance import LedoitWolf
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as EM

    rows = z.double().numpy()
    rows = rows[np.abs(rows).max(1) <= max(hp.REACH, np.median(np.abs(rows).max(1)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        shrunk = LedoitWolf().fit(rows)
        mean, covariance = shrunk.location_, shrunk.covariance_ + 1e-6 * np.eye(rows.shape[1])
        plain = _where_shrinkage_costs(rows, covariance)
        if n_components == 1:
            weights, means = np.ones(1), mean[None]
            factors = np.linalg.cholesky(covariance if plain is None else plain)[None]
        else:
            # Among nearly dependent columns distances mean something only where the rows are white.
            whiten = plain is not None and not diagonal
            white = np.linalg.cholesky(plain) if whiten else np.eye(rows.shape[1])
            kind = "diag" if diagonal else "full"
            em = EM(n_components, covariance_type=kind, reg_covar=1e-4, max_iter=60, random_state=rng.randint(2**31))
            em.fit(np.linalg.solve(white, (rows - mean).T).T if whiten else rows)
            weights, means, covariances = em.weights_, em.means_, em.covariances_
            if diagonal:
                covariances = covariances[:, :, None] * np.eye(rows.shape[1])
            factors = white @ np.linalg.cholesky(covariances)
            if whiten:
                means = means @ white.T + mean
    broad = hp.BROAD_ROWS / (len(z) + hp.BROAD_ROWS)
    if plain is not None and not diagonal:  # of a narrow density's samples too few may come from it to be noticed
        broad = min(broad, hp.BROAD_SHARE / hp.BROAD_VARIANCE * np.linalg.eigvalsh(plain)[0])
    weights = np.append((1 - broad) * weights, broad)
    means = np.vstack([means, rows.mean(0)])
    factors = np.concatenate([factors, np.diag(hp.BROAD_VARIANCE * (rows.var(0) + 1e-6))[None] ** 0.5])
    inverses = np.linalg.inv(factors)
    return GaussianMixture(*(torch.tensor(a) for a in (weights, means, inverses)), diagonal=diagonal).float()


def _where_shrinkage_costs(rows, shrunk):
    """The covariance as it is, where shrinking it costs more nats a row than not shrinking it; else None.

    An estimated covariance costs about ``d (d + 3) / (4 n)`` nats; shrinking must cost twice as much. It costs the
    divergence of two normal distributions, ``(tr R - d - log |R|) / 2`` with R the one covariance over the other. Where
    there are few rows a column, the estimate knows too little of its own smallest eigenvalues to say.
    """
    n, d = rows.shape
    if n < hp.MIN_ROWS_PER_COLUMN * d:
        return None
    covariance = np.cov(rows.T, bias=True).reshape(d, d) + 1e-10 * np.eye(d)
    ratio = eigvalsh(covariance, shrunk)
    cost = 0.5 * (ratio - 1 - np.log(ratio)).sum()
    return covariance if cost > d * (d + 3) / (2 * n) else None
