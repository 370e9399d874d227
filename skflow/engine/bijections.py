"""Bijections over tiles: each writes down what it does to them as calls on a tape.

``record(tape, link, x, context)`` takes the memory of tiles (t, d, m), and of a context (t, n_context, m) or None. It
returns that of the result, that of the log-determinant (t, m), or None where it is zero, and how to record the
derivative: ``back(tape, grad_z, grad_log_abs_det, to_input)`` returns the memory of the gradients with respect to
``x``, or None where it is not wanted, and to the parameters, in the order of ``parameters()``.
``record_inverse(tape, link, z, context)`` returns the first two of these for the other direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..flows.bijections.bijection import Bijection
from ..flows.bijections.chain import Chain
from ..flows.bijections.context_location import ContextLocation
from ..flows.bijections.embedded_context import EmbeddedContext
from ..flows.bijections.inverse import Inverse
from ..flows.bijections.linear import Permutation
from .tape import Graph, Tape
from .threads import on_one_thread
from .tiles import fill_tiles, from_tiles

Mapped = tuple[Tensor, Tensor | None]
Recorded = tuple[Tensor, Tensor | None, Callable | None]


def record(tape: Tape, link: Bijection, x: Tensor, context: Tensor | None) -> Recorded:
    """The form of the class, or torch's operations and differentiation on rows."""
    form = tape.forms.get(type(link))
    if form is None or (tape.keeps and not form.gradients):
        return _record_plain(tape, link, x, context)
    return form.record(tape, link, x, context)


def record_inverse(tape: Tape, link: Bijection, z: Tensor, context: Tensor | None) -> Mapped:
    """The form of the class, or the module's own `inverse` on rows."""
    form = tape.forms.get(type(link))
    if form is None or form.record_inverse is None:
        return record_rows(tape, link.inverse, z, context)
    return form.record_inverse(tape, link, z, context)


def _rows(tiles):
    return None if tiles is None else from_tiles(tiles, len(tiles) * tiles.shape[-1])


def record_rows(tape: Tape, direction: Callable, x: Tensor, context: Tensor | None) -> Mapped:
    """A function of rows, and of a context or None, to rows and log-determinants, as a link of its own."""
    direction = on_one_thread(direction)
    tape.next_link()
    z, log_abs_det = tape.output(*x.shape), tape.keep(len(x), x.shape[2])

    def evaluate():
        for tiles, rows in zip((z, log_abs_det), direction(_rows(x), _rows(context))):
            fill_tiles(tiles, rows)

    tape.add(evaluate)
    return z, log_abs_det


def _record_plain(tape, link, x, context):
    """By torch's operations and differentiation on rows."""
    graph = Graph(tape, lambda rows: link(rows, _rows(context)), link.parameters())

    def back(tape, grad_z, grad_log_abs_det, to_input):
        tape.next_link()
        grad_x = tape.output(*x.shape)
        grads = [torch.empty_like(p, requires_grad=False) if p.requires_grad else None for p in link.parameters()]

        def pull_back():
            grad_rows, *own = graph.gradients(_rows(grad_z), _rows(grad_log_abs_det))
            fill_tiles(grad_x, grad_rows)
            for into, grad in zip(grads, own):
                if into is not None:
                    into.copy_(grad)

        tape.add(on_one_thread(pull_back))
        return grad_x, grads

    return *record_rows(tape, lambda rows, _: graph(rows), x, context), back


class _Total:
    """The memory of a sum of log-determinants, those of None left out."""

    def __init__(self, tape):
        self._tape, self.memory = tape, None

    def add(self, term):
        if term is not None and self.memory is None:
            self.memory = torch.empty_like(term)
            self._tape.add(self.memory.copy_, term)
        elif term is not None:
            self._tape.add(self.memory.add_, term)


def record_chain(tape: Tape, chain: Chain, x: Tensor, context: Tensor | None) -> Recorded:
    """Link by link."""
    total, backs = _Total(tape), []
    for link in chain.links:
        x, term, back = record(tape, link, x, context)
        total.add(term)
        backs.append(back)

    def back(tape, grad_z, grad_log_abs_det, to_input):
        grads = []
        for i in range(len(backs) - 1, -1, -1):
            grad_z, own = backs[i](tape, grad_z, grad_log_abs_det, i > 0 or to_input)
            grads[:0] = own
        return grad_z, grads

    return x, total.memory, back


def record_chain_inverse(tape: Tape, chain: Chain, z: Tensor, context: Tensor | None) -> Mapped:
    """Link by link, from the last one."""
    total = _Total(tape)
    for link in reversed(chain.links):
        z, term = record_inverse(tape, link, z, context)
        total.add(term)
    return z, total.memory


def record_turned(tape: Tape, link: Inverse, x: Tensor, context: Tensor | None) -> Recorded:
    """`Inverse`, without a derivative."""
    return *record_inverse(tape, link.bijection, x, context), None


def record_turned_inverse(tape: Tape, link: Inverse, z: Tensor, context: Tensor | None) -> Mapped:
    """The other direction of `Inverse`."""
    return record(tape, link.bijection, z, context)[:2]


def _record_order(tape, x, order):
    tape.next_link()
    z = tape.output(*x.shape)
    tape.add(torch.index_select, x, 1, order, out=z)
    return z


def record_permutation(tape: Tape, link: Permutation, x: Tensor, context: Tensor | None) -> Recorded:
    """Of log-determinant zero."""

    def back(tape, grad_z, grad_log_abs_det, to_input):
        return _record_order(tape, grad_z, link.undo), []

    return _record_order(tape, x, link.order), None, back


def record_permutation_inverse(tape: Tape, link: Permutation, z: Tensor, context: Tensor | None) -> Mapped:
    """Of log-determinant zero."""
    return _record_order(tape, z, link.undo), None


def record_location(tape: Tape, link: ContextLocation, x: Tensor, context: Tensor) -> Recorded:
    """`ContextLocation`, without a derivative."""
    return _moved(tape, link, torch.sub, x, context)


def record_location_inverse(tape: Tape, link: ContextLocation, z: Tensor, context: Tensor) -> Mapped:
    """The other direction."""
    return _moved(tape, link, torch.add, z, context)[:2]


def _moved(tape, link, move, x, context):
    tape.next_link()
    location, out = tape.scratch(*x.shape), tape.output(*x.shape)
    tape.add(torch.index_select, context, 1, link.columns, out=location)
    tape.add(move, x, location, out=out)
    return out, None, None


def record_embedded(tape: Tape, link: EmbeddedContext, x: Tensor, context: Tensor) -> Recorded:
    """`EmbeddedContext`, without a derivative."""
    return record(tape, link.bijection, *_embedded(tape, link, x, context))


def record_embedded_inverse(tape: Tape, link: EmbeddedContext, z: Tensor, context: Tensor) -> Mapped:
    """The other direction; the embedding is the same."""
    return record_inverse(tape, link.bijection, *_embedded(tape, link, z, context))


def _embedded(tape, link, x, context):
    """Both where the links to come don't write: those of the embedding take over the memory of ``x``."""
    start = _safe(tape, x)
    if link.columns is not None:
        seen = context.new_empty(len(context), len(link.columns), context.shape[2])
        tape.add(torch.index_select, context, 1, link.columns, out=seen)
        context = seen
    return start, _safe(tape, record(tape, link.embedding, context, None)[0])


def _safe(tape, values):
    copy = torch.empty_like(values)
    tape.add(copy.copy_, values)
    return copy
