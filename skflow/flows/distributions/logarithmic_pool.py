"""A geometric mean of flows and kernel estimates."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .distribution import LOG_2PI, Distribution
from .flow_mixture import FlowMixture, own_log_prob

PAIRS_PER_CHUNK = 131_072  # of rows and kernel centres, looked at together: about as many as the cache holds


class LogarithmicPool(FlowMixture):
    """A weighted geometric mean of densities (Genest & Zidek 1986, eq. 3.11): flows, small and sharp kernel estimates.

    With ``f_k`` the flows, ``r_j`` kernel estimates of width one, each on a handful of rows, estimate j blind to fold
    ``j mod K``, and ``m_k`` a sharp kernel estimate on the rows that are not in fold k, member k is

        log p_k = [ log f_k + mean_(j = k mod K) log r_j + w log m_k ] / (2 + w)

    and the whole, with means over all k and j,

        log p = [ mean log f_k + mean log r_j + w log mean m_k ] / (2 + w).

    Most of the small estimates have seen no row of a small cluster, and a geometric mean lets none vouch for it alone.
    The weights add up to one, so units shift ``log p`` as they shift a log-density; its integral is at most one.
    `sample` draws from the mean of the flows.

    Parameters
    ----------
    members : iterable of Distribution
    small : Tensor of shape (r, m, d)
        The centres of every small estimate; r is a multiple of K.
    """

    def __init__(self, members: Iterable[Distribution], small: Tensor):
        super().__init__(members)
        self.register_buffer("small", small)
        self.remember(small[0, :0], torch.zeros(0, dtype=torch.long, device=small.device), 1.0, 0.0)

    def remember(self, centres: Tensor, fold: Tensor, width: float, weight: float) -> None:
        """Set the sharp estimate; there is none at first.

        Parameters
        ----------
        centres : Tensor of shape (c, d)
        fold : Tensor of shape (c,), int
            The fold of every centre, from 0 to K - 1.
        width : float
            Standard deviation of the kernels.
        weight : float
            w.
        """
        self.register_buffer("centres", centres)
        self.register_buffer("fold", fold)
        self.width = width
        self.memory = weight if len(centres) else 0.0

    def log_prob(self, x, context=None, *, evaluate=own_log_prob):
        n_folds = len(self.members)
        flows = [super(LogarithmicPool, self)._of_member(k, x, context, evaluate) for k in range(n_folds)]
        total = torch.stack(flows).mean(0) + self._small(x, self.small).mean(1)
        if self.memory:
            sharp = torch.stack([self._sharp(x, k) for k in range(n_folds)])
            total = total + self.memory * (torch.logsumexp(sharp, 0) - math.log(n_folds))
        return total / (2 + self.memory)

    def _of_member(self, k, x, context, evaluate):
        total = super()._of_member(k, x, context, evaluate) + self._small(x, self.small[k :: len(self.members)]).mean(1)
        if self.memory:
            total = total + self.memory * self._sharp(x, k)
        return total / (2 + self.memory)

    def _small(self, z, centres):
        """Log-densities under the small estimates, shape (n, r)."""
        r, m, d = centres.shape
        constant = math.log(m) + 0.5 * d * LOG_2PI
        return self._by_chunks(z, centres.reshape(r * m, d), lambda e: e.view(-1, r, m).logsumexp(2) - constant)

    def _sharp(self, z, k):
        """Log-density under the sharp estimate that has not seen fold k, shape (n,)."""
        centres = self.centres[self.fold != k] / self.width
        constant = math.log(max(1, len(centres))) + z.shape[1] * (0.5 * LOG_2PI + math.log(self.width))
        return self._by_chunks(z / self.width, centres, lambda e: e.logsumexp(1) - constant)

    @staticmethod
    def _by_chunks(z, centres, summed):
        """What ``summed`` makes of the exponents ``-|z - c|^2 / 2`` of rows and centres, shape (n, c)."""
        half = -0.5 * (centres * centres).sum(1)
        parts = []
        for part in z.split(max(1, PAIRS_PER_CHUNK // max(1, len(centres)))):
            exponents = torch.addmm(half, part, centres.t()).sub_(0.5 * (part * part).sum(1, keepdim=True))
            parts.append(summed(exponents.clamp_max_(0)))
        return torch.cat(parts)
