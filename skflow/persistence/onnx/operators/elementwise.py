"""Number by number, by operators that ONNX has too."""

from __future__ import annotations

import torch

from .table import OPERATORS, of

aten = torch.ops.aten


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
