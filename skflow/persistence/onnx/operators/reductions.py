"""Along an axis."""

from __future__ import annotations

import torch

from .table import of

aten = torch.ops.aten


@of(aten.sum.dim_IntList)
def _sum(t, x, dims, keepdim=False, *, out, dtype=None):
    axes = t.graph.sizes([dim % x.dim() for dim in dims or range(x.dim())])
    return t.graph.node("ReduceSum", t.value(x, out.dtype), axes, keepdims=int(keepdim))


@of(aten.mean.dim)
def _mean(t, x, dims, keepdim=False, *, out, dtype=None):
    return t.graph.node("ReduceMean", t.value(x), axes=[dim % x.dim() for dim in dims], keepdims=int(keepdim))


@of(aten.amax.default)
def _amax(t, x, dims, keepdim=False, *, out):
    return t.graph.node("ReduceMax", t.value(x), axes=[dim % x.dim() for dim in dims], keepdims=int(keepdim))


@of(aten.amin.default)
def _amin(t, x, dims, keepdim=False, *, out):
    return t.graph.node("ReduceMin", t.value(x), axes=[dim % x.dim() for dim in dims], keepdims=int(keepdim))


@of(aten.argmax.default)
def _argmax(t, x, dim, keepdim=False, *, out):
    return t.graph.node("ArgMax", t.value(x), axis=dim % x.dim(), keepdims=int(keepdim))


@of(aten.any.dim)
def _any(t, x, dim, keepdim=False, *, out):
    some = t.graph.node("ReduceMax", t.value(x, torch.int32), axes=[dim % x.dim()], keepdims=int(keepdim))
    return t.graph.cast(some, torch.bool)


@of(aten.logsumexp.default)
def _logsumexp(t, x, dims, keepdim=False, *, out):
    node, axes = t.graph.node, [dim % x.dim() for dim in dims]
    largest, _, total = _exponentials(t, t.value(x), axes)
    result = node("Add", node("Log", total), largest)
    return result if keepdim else node("Squeeze", result, t.graph.sizes(axes))


def _exponentials(t, x, axes):
    """The largest along the axes, exponentials of what all fall short of it, and their sum."""
    node = t.graph.node
    largest = node("Max", node("ReduceMax", x, axes=axes, keepdims=1), t.number(-1e38))  # of none but minus infinity
    exponentials = node("Exp", node("Sub", x, largest))
    return largest, exponentials, node("ReduceSum", exponentials, t.graph.sizes(axes), keepdims=1)


@of(aten._softmax.default)
def _softmax(t, x, dim, half_to_float, out):
    """Not onnxruntime's own, which is for the last axis and transposes others."""
    _, exponentials, total = _exponentials(t, t.value(x), [dim % x.dim()])
    return t.graph.node("Div", exponentials, total)


@of(aten._log_softmax.default)
def _log_softmax(t, x, dim, half_to_float, out):
    largest, _, total = _exponentials(t, t.value(x), [dim % x.dim()])
    node = t.graph.node
    return node("Sub", node("Sub", t.value(x), largest), node("Log", total))


@of(aten.cumsum.default)
def _cumsum(t, x, dim, out, dtype=None):
    return t.graph.node("CumSum", t.value(x), t.graph.constant(torch.tensor(dim % x.dim())))


@of(aten.searchsorted.Tensor)
def _searchsorted(t, knots, x, out, out_int32=False, right=False, side=None, sorter=None):
    """How many knots lie below each number, or on it."""
    reached = "GreaterOrEqual" if right or side == "right" else "Greater"
    knots = t.graph.node("Unsqueeze", t.value(knots), t.graph.sizes([-2]))
    x = t.graph.node("Unsqueeze", t.value(x), t.graph.sizes([-1]))
    below = t.graph.cast(t.graph.node(reached, x, knots), torch.float32)  # whose sums are faster than whole numbers'
    return t.graph.cast(t.graph.node("ReduceSum", below, t.graph.sizes([-1]), keepdims=0), out.dtype)
