"""A mixture of several densities, each blind to one fold of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .distribution import Distribution

Evaluate = Callable[..., Tensor]  # of a distribution, rows and, where there is one, their context


def own_log_prob(distribution: Distribution, *rows: Tensor) -> Tensor:
    """Its own."""
    return distribution.log_prob(*rows)


class FlowMixture(Distribution):
    """A mixture of K densities; what member k says of a row of the fold that it has not seen is a forecast.

    Its methods take, as ``evaluate``, another way to the log-density of a member.

    Parameters
    ----------
    members : iterable of Distribution
    weights : Tensor of shape (K,), optional
        Of the members; all alike by default.
    """

    def __init__(self, members: Iterable[Distribution], weights: Tensor | None = None):
        super().__init__()
        self.members = nn.ModuleList(members)
        if weights is None:
            weights = torch.full((len(self.members),), 1 / len(self.members), dtype=torch.float64)
        self.register_buffer("weights", weights)

    def log_prob(self, x, context=None, *, evaluate: Evaluate = own_log_prob):
        return torch.logsumexp(self.member_log_prob(x, context, evaluate=evaluate) + self.weights.log().to(x), 1)

    def member_log_prob(self, x: Tensor, context: Tensor | None = None, *, evaluate: Evaluate = own_log_prob) -> Tensor:
        """Log-density in nats of rows ``x`` (n, d) under every member, shape (n, K)."""
        return torch.stack([self._of_member(k, x, context, evaluate) for k in range(len(self.members))], 1)

    def blind_log_prob(
        self, x: Tensor, fold: Tensor, context: Tensor | None = None, *, evaluate: Evaluate = own_log_prob
    ) -> Tensor:
        """Log-density in nats of each row under the one member that leaves out the row's fold, shape (n,)."""
        out = x.new_empty(len(x))
        for k in range(len(self.members)):
            rows = (fold == k).nonzero()[:, 0]
            if len(rows):
                out[rows] = self._of_member(k, x[rows], None if context is None else context[rows], evaluate)
        return out

    def _of_member(self, k, x, context, evaluate):
        return evaluate(self.members[k], x, *([] if context is None else [context]))

    def sample(self, n, context=None, generator=None):
        member = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        drawn = member.unique().tolist()
        rows = [(member == k).nonzero()[:, 0] for k in drawn]
        parts = [
            self.members[k].sample(len(some), None if context is None else context[some.to(context.device)], generator)
            for k, some in zip(drawn, rows)
        ]
        return torch.cat(parts)[torch.argsort(torch.cat(rows)).to(parts[0].device)]

    @torch.no_grad()
    def fill(self, x: Tensor, noise: Tensor, row: Tensor | None = None) -> Tensor:
        """Draw what is NaN in rows from its distribution given the rest of the row; the members have to know how.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        noise : Tensor of shape (m, d + 1, 2)
            Uniform numbers: what a member asks for, and the first of the last two chooses the member.
        row : Tensor of shape (m,), int, optional
            Which row each of the m draws completes; by default one each.

        Returns
        -------
        Tensor of shape (m, d)
        """
        row = torch.arange(len(x), device=x.device) if row is None else row
        share = torch.softmax(self.member_log_prob(x) + self.weights.log().to(x), 1).cumsum(1)[row]
        member = (noise[:, -1, :1] * share[:, -1:] > share).sum(1).clamp_max(len(self.members) - 1)
        filled = x.new_empty(len(row), x.shape[1])
        for k in member.unique().tolist():
            chosen = (member == k).nonzero()[:, 0]
            needed, place = row[chosen].unique(return_inverse=True)
            filled[chosen] = self.members[k].fill(x[needed], noise[chosen, :-1], place)
        return filled
