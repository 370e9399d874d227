"""The abstraction everything else composes: an invertible map that knows its log-determinant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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

    @property
    def differentiated(self) -> bool:
        """Whether `evaluate` and `pull_back` are written out, so that `forward` may be a single node of a graph."""
        return False

    def evaluate(
        self, x: Tensor, context: Tensor | None = None, memory: object = None
    ) -> tuple[Tensor, Tensor | float, object]:
        """`forward` without a graph, and the memory that `pull_back` reads; a log-determinant of zero is a number.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        context : Tensor of shape (n, n_context), optional
        memory : optional
            What an earlier call with as many rows returned, to be written over. In between, parameters may only have
            moved along their gradients.
        """
        raise NotImplementedError

    def pull_back(
        self, memory: object, grad_z: Tensor, grad_log_abs_det: Tensor, to_input: bool = True
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """Gradients from those with respect to ``z`` (n, d) and the log-determinant (n,).

        Of ``x`` (where wanted), of the context (where there is one) and of the parameters, in the order of
        ``parameters()``.

        They may lie in the memory of the evaluation, so that the next one writes over them.
        """
        raise NotImplementedError

    def with_orders(self, choose: Callable[[Tensor], Tensor]) -> Bijection:
        """This bijection with its open column orderings chosen (see `OrderAgnostic`); by default itself.

        ``choose`` maps the orderings that a link keeps, of shape (k, d), to the one to use, of shape (d,).
        """
        return self


def as_one_node(bijection: Bijection, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """`forward` of a differentiated bijection: building a graph of small operations takes longer than they do."""
    if not torch.is_grad_enabled():
        z, log_abs_det, _ = bijection.evaluate(x, context)
        return z, log_abs_det if isinstance(log_abs_det, Tensor) else x.new_full((len(x),), log_abs_det)
    return _OneNode.apply(bijection, x, context, *bijection.parameters())


class _OneNode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, bijection, x, context, *parameters):
        z, log_abs_det, memory = bijection.evaluate(x, context)
        if any(ctx.needs_input_grad):
            ctx.bijection, ctx.memory = bijection, memory
        return z, log_abs_det if isinstance(log_abs_det, Tensor) else x.new_full((len(x),), log_abs_det)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log_abs_det):
        grad_x, grad_context, grads = ctx.bijection.pull_back(
            ctx.memory, grad_z, grad_log_abs_det, ctx.needs_input_grad[1]
        )
        # Copies: a second derivative of the same evaluation writes over the memory.
        grads = (None if grad is None else grad.clone() for grad in (grad_x, grad_context, *grads))
        return None, *grads


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

    @property
    def differentiated(self):
        return all(link.differentiated for link in self.links)

    def forward(self, x, context=None):
        if torch.is_grad_enabled() and self.differentiated:
            return as_one_node(self, x, context)
        log_abs_det = x.new_zeros(len(x))
        for link in self.links:
            x, term = link(x, context)
            log_abs_det = log_abs_det + term
        return x, log_abs_det

    def evaluate(self, x, context=None, memory=None):
        log_abs_det, kept = 0.0, []
        for i, link in enumerate(self.links):
            x, term, own = link.evaluate(x, context, memory[i] if memory else None)
            log_abs_det = log_abs_det + term
            kept.append(own)
        return x, log_abs_det, kept

    def pull_back(self, memory, grad_z, grad_log_abs_det, to_input=True):
        grad_context, grads = None, []
        for i in range(len(self.links) - 1, -1, -1):
            grad_z, term, own = self.links[i].pull_back(memory[i], grad_z, grad_log_abs_det, i > 0 or to_input)
            grads[:0] = own
            if term is not None:
                grad_context = term if grad_context is None else grad_context + term
        return grad_z, grad_context, grads

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
