"""What a flow starts from: preprocessing fitted to the training rows, and a base that is a good density already."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import eigvalsh
from threadpoolctl import threadpool_limits
from torch import Tensor

from .flows.base_distribution import BaseDistribution, GaussianMixture, StandardNormal
from .flows.bijection import Bijection, Chain
from .flows.marginal import MarginalGaussianization
from .flows.marginal_fit import MAX_ROWS, MAX_ROWS_TO_COMPARE, far_from_normal, fit_marginals
from .flows.preprocessing import MAX_ROWS_TO_SCALE, Bounded, Standardize, log_tails
from .flows.student_t import StudentT

COMPONENTS = (2, 4, 8, 16, 32)
ROWS_PER_COMPONENT = 10
ROWS_PER_DIAGONAL_COMPONENT = 5
MAX_COVARIANCE_NUMBERS = 300_000  # K d^2: beyond it a mixture costs more than the flow in front of it
MAX_BASE_ROWS = 20_000
MAX_ROWS_FOR_MIXTURES = 50_000  # a flow of a longer table ends higher from a single Gaussian, though it starts lower
TAIL = 5.0  # standard deviations, where the logarithmic tails begin
MIN_ROWS_PER_COLUMN = 20  # from where a covariance may do without being shrunk
REACH = 10.0  # in units of the latent; rows further out have no say in where mixtures start
BROAD_ROWS = 1.0  # what the broad component weighs
BROAD_SHARE = 0.05  # of the least variance in any direction is what the broad component adds to it
BROAD_VARIANCE = 4.0  # times that of the rows, column by column


def fit_preprocessing(x: Tensor, rows: np.ndarray, low: Tensor | None, high: Tensor | None, *, bent: bool) -> Chain:
    """The first link of a flow: bounds, scale, columns far from normal bent towards it, and tails pulled in.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    rows : ndarray of int
        The numbers of those to fit to, in random order: of many, the first ones are enough.
    low, high : Tensor of shape (d,) or None
    bent : bool
        Whether to Gaussianize the columns that gain from it; if not, straight lines between rows stay straight.
    """
    links: list[Bijection] = []
    with torch.no_grad():
        some = x[rows[:MAX_ROWS_TO_SCALE]]
        if low is not None:
            links.append(Bounded.fit(some, low, high))
            some = links[0](some)[0]
        scale = Standardize.fit(some, robust=bent)
        links.append(scale)
        if bent:
            parts = far_from_normal(scale(some[:MAX_ROWS_TO_COMPARE])[0])
            z = Chain(links)(x[rows[:MAX_ROWS]])[0] if parts else None
            links.extend(fit_marginals(z, *part) for part in parts)
    return Chain([*links, log_tails(torch.full_like(some[0], TAIL), low, high)])


def is_bent(preprocessing: Chain) -> bool:
    """Whether any column is Gaussianized."""
    return any(isinstance(link, MarginalGaussianization) for link in preprocessing.links)


def n_base_rows(name: str) -> int:
    """How many latent rows, at most, the bases that ``name`` leaves to try are fitted to."""
    return 0 if name == "normal" else MAX_BASE_ROWS


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
        for k in COMPONENTS:
            rows_needed = k * (ROWS_PER_DIAGONAL_COMPONENT if only_diagonal else max(ROWS_PER_COMPONENT, d))
            if rows_needed > n or k * d * d > MAX_COVARIANCE_NUMBERS or k > 4 * (len(best[1][0].means) - 1):
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
    rows = rows[np.abs(rows).max(1) <= max(REACH, np.median(np.abs(rows).max(1)))]
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
    broad = BROAD_ROWS / (len(z) + BROAD_ROWS)
    if plain is not None and not diagonal:  # of a narrow density's samples too few may come from it to be noticed
        broad = min(broad, BROAD_SHARE / BROAD_VARIANCE * np.linalg.eigvalsh(plain)[0])
    weights = np.append((1 - broad) * weights, broad)
    means = np.vstack([means, rows.mean(0)])
    factors = np.concatenate([factors, np.diag(BROAD_VARIANCE * (rows.var(0) + 1e-6))[None] ** 0.5])
    inverses = np.linalg.inv(factors)
    return GaussianMixture(*(torch.tensor(a) for a in (weights, means, inverses)), diagonal=diagonal).float()


def _where_shrinkage_costs(rows, shrunk):
    """The covariance as it is, where shrinking it costs more nats a row than not shrinking it; else None.

    An estimated covariance costs about ``d (d + 3) / (4 n)`` nats; shrinking must cost twice as much. It costs the
    divergence of two normal distributions, ``(tr R - d - log |R|) / 2`` with R the one covariance over the other. Where
    there are few rows a column, the estimate knows too little of its own smallest eigenvalues to say.
    """
    n, d = rows.shape
    if n < MIN_ROWS_PER_COLUMN * d:
        return None
    covariance = np.cov(rows.T, bias=True).reshape(d, d) + 1e-10 * np.eye(d)
    ratio = eigvalsh(covariance, shrunk)
    cost = 0.5 * (ratio - 1 - np.log(ratio)).sum()
    return covariance if cost > d * (d + 3) / (2 * n) else None
