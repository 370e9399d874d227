"""The classics of classification by densities: Gaussians and kernel estimates, with shared and shrunk covariances."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from ..flows.bijections.class_whitening import ClassWhitening
from ..flows.distributions.class_kernels import ClassKernels
from ..flows.distributions.distribution import Distribution
from ..flows.distributions.normal import StandardNormal
from ..flows.flow import Flow
from . import hyperparameters as hp

LEAST_VARIANCE = 1e-6  # on the scale of the network
MAX_NUMBERS = 4_000_000  # of all classes' covariances together: beyond it they share one


class LabelledRows:
    """Rows on the scale of the network with their classes and weights: what the classics are fitted to.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    label : Tensor of shape (n,), int
        From 0 to C - 1, every class with one row at least.
    weight : Tensor of shape (n,)
    n_classes : int
    """

    def __init__(self, z: Tensor, label: Tensor, weight: Tensor, n_classes: int):
        self.z, self.label, self.weight = z, label, weight
        self.one_hot = F.one_hot(label, n_classes).to(z.dtype)
        share = self.one_hot * weight[:, None]
        self.mass = share.sum(0)
        self.means = (share.t() @ z) / self.mass[:, None]
        self.scatter = self._scatter() if n_classes * z.shape[1] ** 2 <= MAX_NUMBERS else None
        self.pooled = self._pooled()

    def _scatter(self):
        rest = (self.z - self.means[self.label]) * self.weight.sqrt()[:, None]
        return torch.stack([rest[self.label == c].t() @ rest[self.label == c] for c in range(len(self.mass))])

    def _pooled(self):
        """The covariance within classes; where no class has two rows, that of all rows."""
        n, mean = float(self.mass.sum()), self.means[self.label]
        if len(self.z) == len(self.mass):
            mean, n = (self.weight / n) @ self.z, n + len(self.mass) - 1
        rest = (self.z - mean) * self.weight.sqrt()[:, None]
        return rest.t() @ rest / max(n - len(self.mass), 1.0)

    def gaussians(self, pseudo_rows: float, diagonal: float) -> Flow:
        """A Gaussian for every class.

        Parameters
        ----------
        pseudo_rows : float
            How many rows the covariance within all classes counts for in that of each class, as the conjugate prior
            has it; infinity for one covariance.
        diagonal : float
            The share of the covariance that is replaced by its diagonal.
        """
        if self.scatter is None or np.isinf(pseudo_rows):
            covariances = self.pooled[None]
        else:
            freedom = (self.mass - 1).clamp_min(0) + pseudo_rows
            covariances = (self.scatter + pseudo_rows * self.pooled) / freedom[:, None, None]
        whitening = ClassWhitening(self.means, _precision_factors(covariances, diagonal))
        return Flow(whitening, StandardNormal(self.z.shape[1]).double())

    def kernels(self, width: float, diagonal: float) -> Flow:
        """A kernel estimate for every class; of many rows the first ones are enough, and one of each class.

        Parameters
        ----------
        width : float
            Of the kernels, whose covariance is that within classes times its square.
        diagonal : float
            As in `gaussians`.
        """
        first = torch.arange(min(len(self.z), hp.MAX_CENTRES))
        keep = torch.unique(torch.cat([first, self._first_of_each_class()]))
        whitening = ClassWhitening(torch.zeros_like(self.means), _precision_factors(self.pooled[None], diagonal))
        centres = whitening(self.z[keep], self.one_hot[keep])[0]
        return Flow(whitening, ClassKernels(centres, self.weight[keep], self.label[keep], width))

    def _first_of_each_class(self):
        return torch.from_numpy(np.unique(self.label.numpy(), return_index=True)[1])


def _precision_factors(covariances, diagonal):
    d = covariances.shape[-1]
    only_diagonal = torch.diag_embed(covariances.diagonal(dim1=1, dim2=2))
    shrunk = (1 - diagonal) * covariances + diagonal * only_diagonal
    shrunk = shrunk + LEAST_VARIANCE * torch.eye(d, dtype=shrunk.dtype)
    factors = torch.linalg.cholesky(shrunk)
    return torch.linalg.solve_triangular(factors, torch.eye(d, dtype=shrunk.dtype).expand_as(factors), upper=False)


@torch.no_grad()
def class_log_prob(density: Distribution, z: Tensor, n_classes: int) -> Tensor:
    """Log-density of every row in every class, shape (n, C)."""
    one_hot = torch.eye(n_classes, dtype=z.dtype)
    return torch.stack([density.log_prob(z, row.expand(len(z), -1)) for row in one_hot], 1)


def mixture_weights(log_prob: np.ndarray, weight: np.ndarray, n_iter: int = 300) -> np.ndarray:
    """Weights of K densities by the likelihood of rows that they have not seen: expectation-maximisation.

    Parameters
    ----------
    log_prob : ndarray of shape (n, K)
    weight : ndarray of shape (n,)

    Returns
    -------
    weights : ndarray of shape (K,)
    """
    share = weight / weight.sum()
    relative = np.exp(log_prob - log_prob.max(1, keepdims=True))
    weights = np.full(log_prob.shape[1], 1 / log_prob.shape[1])
    for _ in range(n_iter):
        joint = relative * weights
        weights = share @ (joint / joint.sum(1, keepdims=True))
    return weights / weights.sum()


def log_losses(log_prob: Tensor, label: Tensor, log_prior: Tensor, temperature: float) -> Tensor:
    """Minus the log-probability of the class of every row, shape (n,)."""
    posterior = torch.log_softmax(log_prob / temperature + log_prior, 1)
    return -posterior.gather(1, label[:, None])[:, 0]


def best_temperature(log_prob: Tensor, label: Tensor, log_prior: Tensor, weight: Tensor) -> float:
    """What to divide log-densities by, so that rows which they have not seen have the least log-loss; one at least.

    A temperature below one would sharpen what few rows happen to be sorted well by.
    """

    def loss(log_temperature):
        return float(weight @ log_losses(log_prob, label, log_prior, float(np.exp(log_temperature))))

    found = float(minimize_scalar(loss, bounds=(0.0, np.log(hp.MAX_TEMPERATURE)), method="bounded").x)
    return float(np.exp(found)) if loss(found) < loss(0.0) else 1.0
