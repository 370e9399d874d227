"""Shapes."""

from __future__ import annotations

import torch

from .table import of

aten = torch.ops.aten


@of(aten.view.default, aten._unsafe_view.default, aten.reshape.default)
def _view(t, x, shape, out):
    return t.graph.node("Reshape", t.value(x), t.shape(out.shape, for_reshape=True))


@of(aten.expand.default)
def _expand(t, x, shape, out, implicit=False):
    return t.graph.node("Expand", t.value(x), t.shape(out.shape))


@of(aten.permute.default)
def _permute(t, x, dims, out):
    return t.graph.node("Transpose", t.value(x), perm=[dim % x.dim() for dim in dims])


@of(aten.transpose.int)
def _transpose(t, x, a, b, out):
    perm = list(range(x.dim()))
    perm[a], perm[b] = perm[b], perm[a]
    return t.graph.node("Transpose", t.value(x), perm=perm)


@of(aten.t.default)
def _t(t, x, out):
    return t.graph.node("Transpose", t.value(x), perm=list(range(x.dim()))[::-1])


@of(aten.unsqueeze.default)
def _unsqueeze(t, x, dim, out):
    return t.graph.node("Unsqueeze", t.value(x), t.graph.sizes([dim % out.dim()]))


@of(aten.squeeze.dim)
def _squeeze(t, x, dim, out):
    return t.graph.node("Squeeze", t.value(x), t.graph.sizes([dim % x.dim()]))


@of(aten.slice.Tensor)
def _slice(t, x, dim=0, start=None, end=None, step=1, *, out):
    t.must_not_cut_rows(x, dim, out)
    start, end = start or 0, 2**31 if end is None else end
    sizes = t.graph.sizes
    return t.graph.node("Slice", t.value(x), sizes([start]), sizes([end]), sizes([dim % x.dim()]), sizes([step]))


@of(aten.select.int)
def _select(t, x, dim, index, out):
    return t.graph.node("Gather", t.value(x), t.graph.constant(torch.tensor(index)), axis=dim % x.dim())


@of(aten.unbind.int)
def _unbind(t, x, dim=0, *, out):
    return [_select(t, x, dim, i, None) for i in range(x.shape[dim])]


@of(aten.split_with_sizes.default)
def _split(t, x, sizes, dim=0, *, out):
    split = t.graph.node("Split", t.value(x), t.graph.sizes(sizes), n_outputs=len(sizes), axis=dim % x.dim())
    return split if isinstance(split, list) else [split]


@of(aten.cat.default)
def _cat(t, tensors, dim=0, *, out):
    parts = [t.value(x, out.dtype, like=out) for x in tensors if x.numel()]
    return t.graph.node("Concat", *parts, axis=dim % out.dim())


@of(aten.stack.default)
def _stack(t, tensors, dim=0, *, out):
    axis = t.graph.sizes([dim % out.dim()])
    parts = [t.graph.node("Unsqueeze", t.value(x, out.dtype), axis) for x in tensors]
    return t.graph.node("Concat", *parts, axis=dim % out.dim())


@of(aten.constant_pad_nd.default)
def _pad(t, x, pad, value=0.0, *, out):
    before, after = [0] * x.dim(), [0] * x.dim()
    for i in range(len(pad) // 2):
        before[-1 - i], after[-1 - i] = pad[2 * i : 2 * i + 2]
    return t.graph.node("Pad", t.value(x), t.graph.sizes(before + after), t.value(float(value), out.dtype))
