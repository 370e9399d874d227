"""Several flows as one density, each blind to one fold of the rows: their mean, or pooled with kernel estimates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .base_distribution import LOG_2PI, BaseDistribution
from .flow import Flow

Evaluate = Callable[[Flow, Tensor], Tensor]
PAIRS_PER_CHUNK = 131_072  # of rows and kernel centres, looked at together: about as many as the cache holds


class FlowMixture(BaseDistribution):
    """The mean of K flows' densities; what member k says of a row of the fold that it has not seen is a forecast.

    Parameters
    ----------
    members : iterable of Flow
    """

    def __init__(self, members: Iterable[Flow]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def log_prob(self, z: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of rows ``z`` (n, d), where ``log_prob`` gives that of a flow; shape (n,)."""
        return torch.logsumexp(self.member_log_prob(z, log_prob), 1) - math.log(len(self.members))

    def member_log_prob(self, z: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of rows ``z`` (n, d) under every member, shape (n, K)."""
        return torch.stack([log_prob(member, z) for member in self.members], 1)

    def blind_log_prob(self, z: Tensor, fold: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of each row under the one member that leaves out the row's fold, shape (n,)."""
        out = z.new_empty(len(z))
        for k in range(len(self.members)):
            rows = (fold == k).nonzero()[:, 0]
            if len(rows):
                out[rows] = self._of_member(k, z[rows], log_prob)
        return out

    def _of_member(self, k, z, log_prob):
        return log_prob(self.members[k], z)

    def sample(self, n, generator=None):
        member = torch.randint(len(self.members), (n,), generator=generator)
        parts = [flow.sample(int((member == k).sum()), generator=generator) for k, flow in enumerate(self.members)]
        order = torch.randperm(n, generator=generator)
        return torch.cat(parts)[order.to(parts[0].device)]


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
    members : iterable of Flow
    small : Tensor of shape (r, m, d)
        The centres of every small estimate; r is a multiple of K.
    """

    def __init__(self, members: Iterable[Flow], small: Tensor):
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

    def log_prob(self, z, log_prob=Flow.log_prob):
        flows, small = super().member_log_prob(z, log_prob).mean(1), self._small(z, self.small).mean(1)
        if not self.memory:
            return 0.5 * (flows + small)
        n_folds = len(self.members)
        sharp = torch.stack([self._sharp(z, k) for k in range(n_folds)], 1)
        return (flows + small + self.memory * (torch.logsumexp(sharp, 1) - math.log(n_folds))) / (2 + self.memory)

    def member_log_prob(self, z, log_prob=Flow.log_prob):
        return torch.stack([self._of_member(k, z, log_prob) for k in range(len(self.members))], 1)

    def _of_member(self, k, z, log_prob):
        total = super()._of_member(k, z, log_prob) + self._small(z, self.small[k :: len(self.members)]).mean(1)
        if self.memory:
            total = total + self.memory * self._sharp(z, k)
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
