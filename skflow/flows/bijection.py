"""The abstraction everything else composes: an invertible map that knows its log-determinant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Bijection(nn.Module):
    """An invertible, differentiable map from data ``x`` to latent ``z``, both of shape (n, d).

    Subclasses implement both directions; neither takes a flag. Each returns the mapped rows and the
    log-determinant of the map it has just applied, so that the two log-determinants of a round trip cancel.
    ``context`` of shape (n, n_context) conditions the map on other variables; a map without parameters
    that depend on it ignores it.

    Notes
    -----
    Rows come first in the interface, but a tensor may be laid out with the batch contiguous (a transposed
    view): the conditional maps compute that way, and keep it from one link of a chain to the next.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        context : Tensor of shape (n, n_context), optional

        Returns
        -------
        z : Tensor of shape (n, d)
        log_abs_det : Tensor of shape (n,)
            Natural log of the absolute determinant of dz/dx.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data: the inverse of `forward`, with the log-determinant of dx/dz."""
        raise NotImplementedError

    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set from rows ``x`` what is better read off data than learned; called once, before training.

        The default leaves everything as it is.
        """

    @property
    def reads_rows(self) -> bool:
        """Whether `initialise` does anything."""
        return type(self).initialise is not Bijection.initialise

    def with_orders(self, choose: Callable[[Tensor], Tensor]) -> Bijection:
        """This bijection with its open column orderings chosen (see `OrderAgnostic`); by default itself.

        ``choose`` maps the orderings that a link keeps, of shape (k, d), to the one to use, of shape (d,).
        """
        return self


class Chain(Bijection):
    """Bijections applied one after the other, from data to latent."""

    def __init__(self, links: Iterable[Bijection] = ()):
        super().__init__()
        self.links = nn.ModuleList(links)

    @torch.no_grad()
    def initialise(self, x, context=None):
        readers = [i for i, link in enumerate(self.links) if link.reads_rows]
        for link in self.links[: readers[-1] + 1] if readers else ():
            link.initialise(x, context)
            x, _ = link(x, context)

    @property
    def reads_rows(self):
        return any(link.reads_rows for link in self.links)

    def with_orders(self, choose):
        return Chain(link.with_orders(choose) for link in self.links)

    def forward(self, x, context=None):
        log_abs_det = x.new_zeros(len(x))
        for link in self.links:
            x, term = link(x, context)
            log_abs_det = log_abs_det + term
        return x, log_abs_det

    def inverse(self, z, context=None):
        log_abs_det = z.new_zeros(len(z))
        for link in reversed(self.links):
            z, term = link.inverse(z, context)
            log_abs_det = log_abs_det + term
        return z, log_abs_det


class Inverse(Bijection):
    """A bijection run the other way: its `inverse` maps data to latent."""

    def __init__(self, bijection: Bijection):
        super().__init__()
        self.bijection = bijection

    def with_orders(self, choose):
        return Inverse(self.bijection.with_orders(choose))

    def forward(self, x, context=None):
        return self.bijection.inverse(x, context)

    def inverse(self, z, context=None):
        return self.bijection(z, context)
