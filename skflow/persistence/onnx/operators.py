"""What each of torch's operators is in ONNX: one row an operator.

A function of the table takes the tracer and the operator's own arguments, and returns the name of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

aten = torch.ops.aten
OPERATORS: dict[object, Callable] = {}


def of(*operators):
    """Enter the decorated function for these operators."""

    def enter(function):
        OPERATORS.update(dict.fromkeys(operators, function))
        return function

    return enter


def _unary(name):
    return lambda t, x, out: t.graph.node(name, t.value(x))


OPERATORS |= {
    op: _unary(name)
    for op, name in {
        aten.abs.default: "Abs",
        aten.bitwise_not.default: "Not",
        aten.exp.default: "Exp",
        aten.log.default: "Log",
        aten.logical_not.default: "Not",
        aten.neg.default: "Neg",
        aten.reciprocal.default: "Reciprocal",
        aten.relu.default: "Relu",
        aten.relu_.default: "Relu",
        aten.sigmoid.default: "Sigmoid",
        aten.sign.default: "Sign",
        aten.sqrt.default: "Sqrt",
        aten.tanh.default: "Tanh",
    }.items()
}


def _binary(name):
    def emit(t, a, b, out):
        dtype = torch.result_type(a, b)
        return t.graph.node(name, t.value(a, dtype), t.value(b, dtype))

    return emit


OPERATORS |= {
    op: _binary(name)
    for op, name in {
        aten.bitwise_and.Tensor: "And",
        aten.bitwise_or.Tensor: "Or",
        aten.bitwise_or_.Tensor: "Or",
        aten.clamp_max.default: "Min",
        aten.clamp_max_.default: "Min",
        aten.clamp_min.default: "Max",
        aten.clamp_min_.default: "Max",
        aten.div.Tensor: "Div",
        aten.eq.Scalar: "Equal",
        aten.eq.Tensor: "Equal",
        aten.ge.Scalar: "GreaterOrEqual",
        aten.ge.Tensor: "GreaterOrEqual",
        aten.gt.Scalar: "Greater",
        aten.gt.Tensor: "Greater",
        aten.le.Scalar: "LessOrEqual",
        aten.le.Tensor: "LessOrEqual",
        aten.logical_and.default: "And",
        aten.logical_or.default: "Or",
        aten.lt.Scalar: "Less",
        aten.lt.Tensor: "Less",
        aten.maximum.default: "Max",
        aten.minimum.default: "Min",
        aten.mul.Scalar: "Mul",
        aten.mul.Tensor: "Mul",
        aten.pow.Tensor_Scalar: "Pow",
        aten.pow.Tensor_Tensor: "Pow",
    }.items()
}


@of(aten.ne.Tensor, aten.ne.Scalar)
def _ne(t, a, b, out):
    return t.graph.node("Not", OPERATORS[aten.eq.Tensor](t, a, b, out))


@of(aten.add.Tensor, aten.add_.Tensor)
def _add(t, a, b, out, alpha=1):
    b = t.value(b, out.dtype)
    return t.graph.node("Add", t.value(a, out.dtype), b if alpha == 1 else t.times(b, alpha))


@of(aten.sub.Tensor, aten.sub_.Tensor)
def _sub(t, a, b, out, alpha=1):
    b = t.value(b, out.dtype)
    return t.graph.node("Sub", t.value(a, out.dtype), b if alpha == 1 else t.times(b, alpha))


@of(aten.rsub.Scalar)
def _rsub(t, a, b, out, alpha=1):
    a = t.value(a, out.dtype)
    return t.graph.node("Sub", t.value(b, out.dtype), a if alpha == 1 else t.times(a, alpha))


@of(aten.clamp.default, aten.clamp.Tensor, aten.clamp_.default)
def _clamp(t, x, low=None, high=None, *, out):
    x = t.value(x)
    if low is not None:
        x = t.graph.node("Max", x, t.value(low, out.dtype))
    return x if high is None else t.graph.node("Min", x, t.value(high, out.dtype))


@of(aten.addcmul.default)
def _addcmul(t, x, a, b, out, value=1):
    product = t.graph.node("Mul", t.value(a), t.value(b))
    return t.graph.node("Add", t.value(x), product if value == 1 else t.times(product, value))


@of(aten.lerp.Scalar)
def _lerp(t, a, b, weight, out):
    a = t.value(a)
    return t.graph.node("Add", a, t.times(t.graph.node("Sub", t.value(b), a), weight))


@of(aten.where.self)
def _where(t, condition, a, b, out):
    return t.graph.node("Where", t.value(condition), t.value(a, out.dtype), t.value(b, out.dtype))


@of(aten.clone.default, aten.detach.default, aten.alias.default, aten.lift_fresh.default)
def _same(t, x, out, memory_format=None):
    return t.value(x)


@of(aten._to_copy.default)
def _to_copy(t, x, out, **options):
    return t.value(x, out.dtype)


@of(
    aten.new_zeros.default,
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.new_full.default,
)
def _filled(t, x, *sizes, out, **options):
    return t.filled(out)


# Functions that ONNX lacks, of as many digits as single precision has.
@of(aten.expm1.default)
def _expm1(t, x, out):
    """By its series near zero, where the difference of an exponential and one would cancel."""
    node, x = t.graph.node, t.value(x)
    series = t.number(1 / 120)
    for factor in (1 / 24, 1 / 6, 1 / 2, 1.0):
        series = node("Add", node("Mul", series, x), t.number(factor))
    direct = node("Sub", node("Exp", x), t.number(1.0))
    small = node("Less", node("Abs", x), t.number(0.1))
    return node("Where", small, node("Mul", x, series), direct)


@of(aten.log1p.default)
def _log1p(t, x, out):
    return _log1p_of(t, t.value(x))


def _log1p_of(t, x):
    """What rounding takes from 1 + x is put back (Goldberg 1991, theorem 4)."""
    node, one = t.graph.node, t.number(1.0)
    u = node("Add", x, one)
    ratio = node("Mul", node("Log", u), node("Div", x, node("Sub", u, one)))
    huge = node("Greater", x, t.number(1e30))
    return node("Where", node("Equal", u, one), x, node("Where", huge, node("Log", u), ratio))


@of(aten.hypot.default)
def _hypot(t, a, b, out):
    node = t.graph.node
    a, b = node("Abs", t.value(a, out.dtype)), node("Abs", t.value(b, out.dtype))
    large = node("Max", node("Max", a, b), t.number(1e-37))
    share = node("Div", node("Min", a, b), large)
    return node("Mul", large, node("Sqrt", node("Add", node("Mul", share, share), t.number(1.0))))


@of(aten.log_sigmoid_forward.default)
def _log_sigmoid(t, x, out):
    """One of both results is for the gradient alone."""
    x = t.value(x)
    return [t.graph.node("Sub", t.graph.node("Min", x, t.number(0.0)), _softplus_of_minus_abs(t, x)), None]


@of(aten.softplus.default)
def _softplus(t, x, beta=1, threshold=20, *, out):
    """From operators that onnxruntime vectorises, unlike its own ``Softplus``."""
    x = t.value(x)
    return t.graph.node("Add", t.graph.node("Max", x, t.number(0.0)), _softplus_of_minus_abs(t, x))


def _softplus_of_minus_abs(t, x):
    node = t.graph.node
    return node("Log", node("Add", node("Exp", node("Neg", node("Abs", x))), t.number(1.0)))


# Of log(erfcx(x) (1 + x / 2)) in powers of 1 / (1 + x / 2), from the highest on (Press et al. 2007, section 6.2.2).
ERFC = (0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368)
ERFC_CONSTANT = -1.26551223


def _log_erfcx(t, x):
    """Logarithm of the scaled complementary error function for x >= 0."""
    node = t.graph.node
    share = node("Reciprocal", node("Add", node("Mul", x, t.number(0.5)), t.number(1.0)))
    series = t.number(ERFC[0])
    for factor in ERFC[1:]:
        series = node("Add", node("Mul", series, share), t.number(factor))
    series = node("Add", node("Mul", series, share), t.number(ERFC_CONSTANT))
    return node("Add", series, node("Log", share))


@of(aten.special_erfcx.default)
def _erfcx(t, x, out):
    """Of numbers above zero, which are what is asked for."""
    return t.graph.node("Exp", _log_erfcx(t, t.graph.node("Max", t.value(x), t.number(0.0))))


@of(aten.special_log_ndtr.default)
def _log_ndtr(t, x, out):
    """From the error function's complement of |x|: below zero log(erfc / 2), above log(1 - erfc / 2)."""
    node, x = t.graph.node, t.value(x)
    scaled = t.times(node("Abs", x), math.sqrt(0.5))
    log_tail = node("Add", _log_erfcx(t, scaled), t.number(math.log(0.5)))
    log_tail = node("Sub", log_tail, node("Mul", scaled, scaled))
    above = _log1p_of(t, node("Neg", node("Exp", log_tail)))
    return node("Where", node("Less", x, t.number(0.0)), log_tail, above)


# Products.
@of(aten.mm.default, aten.bmm.default)
def _matmul(t, a, b, out):
    if out.dim() == 3 and len(out) % t.n_rows == 0 and out.shape[-1] == 1:
        # A small matrix and a vector for every row: not worth a call of a library each.
        product = t.graph.node("Mul", t.value(a), t.graph.node("Transpose", t.value(b), perm=[0, 2, 1]))
        return t.graph.node("ReduceSum", product, t.graph.sizes([2]), keepdims=1)
    return t.graph.node("MatMul", t.value(a), t.value(b))


@of(aten.addmm.default, aten.baddbmm.default)
def _addmm(t, x, a, b, out, beta=1, alpha=1):
    product = t.graph.node("MatMul", t.value(a), t.value(b))
    product = product if alpha == 1 else t.times(product, alpha)
    x = t.value(x)
    return t.graph.node("Add", x if beta == 1 else t.times(x, beta), product)


@of(aten.linalg_solve_triangular.default)
def _solve_triangular(t, a, b, out, upper, left=True, unitriangular=False):
    t.must_be_constant(a)
    eye = torch.eye(a.shape[-1], dtype=torch.float64)
    inverse = torch.linalg.solve_triangular(a.double(), eye, upper=upper, unitriangular=unitriangular)
    inverse = t.value(inverse.to(out.dtype))
    return t.graph.node("MatMul", *((inverse, t.value(b)) if left else (t.value(b), inverse)))


# Along an axis.
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


# Shapes.
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


# Picking.
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
    if len(indices) != 1 or indices[0] is None or indices[0].dtype == torch.bool:
        t.refuse("picks numbers by several indices or by a condition, which has no counterpart")
    return t.graph.node("Gather", t.value(x), t.value(indices[0]), axis=0)


@of(aten.index_copy.default)
def _index_copy(t, x, dim, index, source, out):
    """Both one behind the other, and of those the rows that are wanted."""
    t.must_be_constant(index)
    order = torch.arange(x.shape[dim])
    order[index] = x.shape[dim] + torch.arange(len(index))
    both = t.graph.node("Concat", t.value(x), t.value(source), axis=dim % x.dim())
    return t.graph.node("Gather", both, t.value(order), axis=dim % x.dim())
