"""Several flows and a kernel estimate as one density, each member blind to one fold of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from .base_distribution import LOG_2PI, BaseDistribution
from .flow import Flow

Evaluate = Callable[[Flow, Tensor], Tensor]
PAIRS_PER_CHUNK = 2_000_000  # of rows and kernel centres, looked at together


class SmoothedEnsemble(BaseDistribution):
    """The mean of K member densities, each half a flow, half kernels around rows of the other K - 1 folds.

    With ``F(i)`` the fold of centre ``c_i``, member k is

        p_k(z) = (1 - s) p_flow_k(z) + s sum_{F(i) != k} w_i g(z - c_i) / sum_{F(i) != k} w_i,

    where the kernel g is the mean of normal densities of several widths: sharp on top, with wide flanks. So what member
    k says of a row of fold k is a forecast. Without centres the members are the flows alone.

    Parameters
    ----------
    members : iterable of Flow
    centres : Tensor of shape (m, d)
    fold : Tensor of shape (m,), int
        The fold of every centre, from 0 to K - 1.
    weight : Tensor of shape (m,)
        Positive weights of the centres.
    widths : sequence of float
        Standard deviations of the kernel's parts.
    share : float, default=0.5
        s, the share of the kernels.
    """

    def __init__(
        self,
        members: Iterable[Flow],
        centres: Tensor,
        fold: Tensor,
        weight: Tensor,
        widths: Sequence[float],
        share: float = 0.5,
    ):
        super().__init__()
        self.members = nn.ModuleList(members)
        order = torch.argsort(fold, stable=True)
        self.sizes = torch.bincount(fold, minlength=len(self.members)).tolist()
        self.register_buffer("centres", centres[order])
        self.register_buffer("log_weight", weight[order].log())
        self.widths = tuple(widths)
        self.share = share

    def log_prob(self, z: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of rows ``z`` (n, d), where ``log_prob`` gives that of a flow; shape (n,)."""
        return torch.logsumexp(self.member_log_prob(z, log_prob), 1) - math.log(len(self.members))

    def member_log_prob(self, z: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of rows ``z`` (n, d) under every member, shape (n, K)."""
        flows = torch.stack([log_prob(member, z) for member in self.members], 1)
        if not len(self.centres):
            return flows
        size = max(1, PAIRS_PER_CHUNK // len(self.centres))
        kernels = torch.cat([self._kernels(part) for part in z.split(size)])
        return torch.logaddexp(flows + math.log1p(-self.share), kernels + math.log(self.share))

    def blind_log_prob(self, z: Tensor, fold: Tensor, log_prob: Evaluate = Flow.log_prob) -> Tensor:
        """Log-density in nats of each row under the one member that leaves out the row's fold, shape (n,)."""
        out = z.new_empty(len(z))
        for k in range(len(self.members)):
            rows = (fold == k).nonzero()[:, 0]
            if len(rows):
                out[rows] = self._of_member(k, z[rows], log_prob)
        return out

    def _of_member(self, k, z, log_prob):
        flow = log_prob(self.members[k], z)
        if not len(self.centres):
            return flow
        size = max(1, PAIRS_PER_CHUNK // len(self.centres))
        kernels = torch.cat([self._kernels(part)[:, k] for part in z.split(size)])
        return torch.logaddexp(flow + math.log1p(-self.share), kernels + math.log(self.share))

    def _kernels(self, z):
        """The kernel part of every member, from the kernels' sums fold by fold."""
        k, d = len(self.members), z.shape[1]
        square = torch.addmm((self.centres * self.centres).sum(1), z, self.centres.t(), alpha=-2)
        square = square.add_((z * z).sum(1, keepdim=True)).clamp_min_(0)
        blocks = zip(square.split(self.sizes, 1), self.log_weight.split(self.sizes))
        folds = torch.stack([self._log_sum(block, log_weight, d) for block, log_weight in blocks], 1)
        masses = torch.stack([torch.logsumexp(w, 0) for w in self.log_weight.split(self.sizes)])
        others = ~torch.eye(k, dtype=torch.bool, device=z.device)
        norm = 0.5 * d * LOG_2PI + math.log(len(self.widths))
        sums = [torch.logsumexp(folds[:, seen], 1) - torch.logsumexp(masses[seen], 0) for seen in others]
        return torch.stack(sums, 1) - norm

    def _log_sum(self, square, log_weight, d):
        """Log of the weighted sum of kernels at squared distances (n, m), but for a constant factor."""
        if not square.shape[1]:
            return square.new_full((len(square),), -math.inf)
        least = square.amin(1, keepdim=True)
        beyond, weight = least - square, log_weight.exp()
        sums = [
            ((beyond / (2 * b * b)).exp_() @ weight).log() - least[:, 0] / (2 * b * b) - d * math.log(b)
            for b in self.widths
        ]
        return torch.logsumexp(torch.stack(sums), 0)

    def sample(self, n, generator=None):
        d, like = self.centres.shape[1], self.centres
        member = torch.randint(len(self.members), (n,), generator=generator)
        kernel = torch.rand(n, generator=generator) < (self.share if len(self.centres) else 0.0)
        z = like.new_empty(n, d)
        fold = torch.repeat_interleave(torch.arange(len(self.members)), torch.tensor(self.sizes))
        for k, flow in enumerate(self.members):
            rows = ((member == k) & ~kernel).nonzero()[:, 0]
            if len(rows):
                z[rows] = flow.sample(len(rows), generator=generator)
            rows = ((member == k) & kernel).nonzero()[:, 0]
            if len(rows):
                weight = self.log_weight.cpu().exp() * (fold != k)
                chosen = torch.multinomial(weight, len(rows), replacement=True, generator=generator)
                noise = torch.randn(len(rows), d, generator=generator, dtype=like.dtype)
                width = torch.tensor(self.widths, dtype=like.dtype)[
                    torch.randint(len(self.widths), (len(rows), 1), generator=generator)
                ]
                z[rows] = like[chosen.to(like.device)] + (width * noise).to(like.device)
        return z
