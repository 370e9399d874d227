"""Functions that ONNX lacks, of as many digits as single precision has."""

from __future__ import annotations

import math

import torch

from .table import of

aten = torch.ops.aten


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
