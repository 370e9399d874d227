"""The abstraction everything else composes: an invertible map that knows its log-determinant."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .tape import Tape
from .tiles import fill_tiles, from_tiles, to_tiles

RecordBack = Callable[[Tape, Tensor, Tensor, bool], tuple[Tensor | None, Tensor | None, list[Tensor]]]


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
    def tiled(self) -> bool:
        """Whether `record` is written out, instead of going through `forward`."""
        return False

    @property
    def differentiated(self) -> bool:
        """Whether the derivative can be recorded, so that `forward` may be a single node of a graph."""
        return False

    def record(
        self, tape: Tape, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, RecordBack | None]:
        """Record `forward` on tiles, without a graph.

        Parameters
        ----------
        tape : Tape
        x : Tensor of shape (t, d, m)
            The memory of the input; see `skflow.flows.tiles`.
        context : Tensor of shape (t, n_context, m), optional

        Returns
        -------
        z : Tensor of shape (t, d, m)
            The memory of the result.
        log_abs_det : Tensor of shape (t, m)
            Or None, where it is zero.
        record_back : callable
            ``record_back(tape, grad_z, grad_log_abs_det, to_input)`` records the derivative on a tape of its own. It
            returns the memory of the gradients with respect to ``x`` (where wanted), to the context (where there is
            one) and to the parameters, in the order of ``parameters()``. None, where this is not `differentiated`.
        """
        tape.next_link()
        n = len(x) * x.shape[2]
        z, log_abs_det = tape.output(*x.shape), tape.keep(len(x), x.shape[2])

        def evaluate():
            rows, terms = self.forward(from_tiles(x, n), None if context is None else from_tiles(context, n))
            fill_tiles(z, rows)
            fill_tiles(log_abs_det, terms)

        tape.add(evaluate)
        return z, log_abs_det, None

    def with_orders(self, choose: Callable[[Tensor], Tensor]) -> Bijection:
        """This bijection with its open column orderings chosen (see `OrderAgnostic`); by default itself.

        ``choose`` maps the orderings that a link keeps, of shape (k, d), to the one to use, of shape (d,).
        """
        return self


def as_one_node(bijection: Bijection, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """`forward` of a differentiated bijection: building a graph of small operations takes longer than they do."""
    if not torch.is_grad_enabled():
        return _evaluate(bijection, x, context, keeps=False)[:2]
    return _OneNode.apply(bijection, x, context, *bijection.parameters())


@torch.no_grad()
def _evaluate(bijection, x, context, keeps):
    """`forward` on rows, and how to record its derivative."""
    n, x, context = len(x), to_tiles(x), None if context is None else to_tiles(context)
    tape = Tape(x, keeps)
    z, log_abs_det, record_back = bijection.record(tape, x, context)
    tape.run()
    return from_tiles(z, n), x.new_zeros(n) if log_abs_det is None else from_tiles(log_abs_det, n), record_back


class _OneNode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, bijection, x, context, *parameters):
        z, log_abs_det, ctx.record_back = _evaluate(bijection, x, context, keeps=True)
        return z, log_abs_det

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z, grad_log_abs_det):
        tape, n = Tape(grad_z), len(grad_z)
        tiles = to_tiles(grad_z), to_tiles(grad_log_abs_det)
        grad_x, grad_context, grads = ctx.record_back(tape, *tiles, ctx.needs_input_grad[1])
        tape.run()
        return None, *(None if grad is None else from_tiles(grad, n) for grad in (grad_x, grad_context)), *grads


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
        if self.differentiated:
            return as_one_node(self, x, context)
        log_abs_det = x.new_zeros(len(x))
        for link in self.links:
            x, term = link(x, context)
            log_abs_det = log_abs_det + term
        return x, log_abs_det

    @property
    def tiled(self):
        return any(link.tiled for link in self.links)

    def record(self, tape, x, context=None):
        if self.links and not self.tiled:
            return super().record(tape, x, context)
        log_abs_det, backs = None, []
        for link in self.links:
            x, term, back = link.record(tape, x, context)
            backs.append(back)
            if term is not None and log_abs_det is None:
                log_abs_det = torch.empty_like(term)
                tape.add(log_abs_det.copy_, term)
            elif term is not None:
                tape.add(log_abs_det.add_, term)
        return x, log_abs_det, functools.partial(_record_chain_back, backs)

    def inverse(self, z, context=None):
        log_abs_det = z.new_zeros(len(z))
        for link in reversed(self.links):
            z, term = link.inverse(z, context)
            log_abs_det = log_abs_det + term
        return z, log_abs_det


def _record_chain_back(backs, tape, grad_z, grad_log_abs_det, to_input):
    grad_context, grads = None, []
    for i in range(len(backs) - 1, -1, -1):
        grad_z, term, own = backs[i](tape, grad_z, grad_log_abs_det, i > 0 or to_input)
        grads[:0] = own
        if term is not None and grad_context is None:
            grad_context = torch.empty_like(term)
            tape.add(grad_context.copy_, term)
        elif term is not None:
            tape.add(grad_context.add_, term)
    return grad_z, grad_context, grads


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
