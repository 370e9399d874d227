"""The abstraction everything else composes: an invertible map that knows its log-determinant."""

from __future__ import annotations

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
