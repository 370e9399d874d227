"""Numbers picked out of others by an index."""

from __future__ import annotations

import torch

from .table import of

aten = torch.ops.aten


@of(aten.gather.default)
def _gather(t, x, dim, index, out, sparse_grad=False):
    if not t.is_traced(x) and x.dim() == 2 and dim == 1:
        # Every row of the index has its own row of the constant: one number tells both.
        first = t.graph.constant(torch.arange(x.shape[0])[:, None] * x.shape[1])
        flat = t.graph.node("Add", t.value(index), first)
        return t.graph.node("Gather", t.value(x.reshape(-1)), flat, axis=0)
    return t.graph.node("GatherElements", t.value(x), t.value(index), axis=dim % x.dim())


@of(aten.index_select.default)
def _index_select(t, x, dim, index, out):
    return t.graph.node("Gather", t.value(x), t.value(index), axis=dim % x.dim())


@of(aten.index.Tensor)
def _index(t, x, indices, out):
    *before, index = indices
    if any(other is not None for other in before) or index.dtype == torch.bool:
        t.refuse("picks numbers by several indices or by a condition, which has no counterpart")
    return t.graph.node("Gather", t.value(x), t.value(index), axis=len(before))


@of(aten.index_copy.default)
def _index_copy(t, x, dim, index, source, out):
    """Both one behind the other, and of those the rows that are wanted."""
    t.must_be_constant(index)
    order = torch.arange(x.shape[dim])
    order[index] = x.shape[dim] + torch.arange(len(index))
    both = t.graph.node("Concat", t.value(x), t.value(source), axis=dim % x.dim())
    return t.graph.node("Gather", both, t.value(order), axis=dim % x.dim())
