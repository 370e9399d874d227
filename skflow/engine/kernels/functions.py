"""Exponential, logarithm and softplus of vectors.

The first two are within two units of the last digit. What is not a number stays so.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from llvmlite import ir

from .vectors import Vector


class _Format(NamedTuple):
    """How a type of numbers is laid out, and how far the series must go for it."""

    mantissa: int  # bits
    bias: int  # of the exponent
    ln2_high: float  # log 2, in few enough bits that products with an exponent are exact
    ln2_low: float  # the rest of it
    exp_terms: int
    log_terms: int

    @property
    def rounder(self) -> float:
        """A number next to which others are one apart: what is added to it is rounded, and stands in its last bits."""
        return 1.5 * 2.0**self.mantissa


_FORMATS = {
    4: _Format(23, 127, 0.693359375, -2.12194440054690583e-4, 8, 5),
    8: _Format(52, 1023, 0.693147180369123816490, 1.90821492927058770e-10, 14, 11),
}


class _Bits:
    """The bits of a vector, as integers that are added, subtracted, shifted and masked."""

    def __init__(self, code, value):
        self.code = code
        self.value = value

    @classmethod
    def of(cls, x: Vector) -> _Bits:
        integers = ir.VectorType(ir.IntType(8 * x.code.size), x.value.type.count)
        return cls(x.code, x.code.builder.bitcast(x.value, integers))

    def number(self) -> Vector:
        """The numbers that have these bits."""
        kind = ir.VectorType(self.code.number, self.value.type.count)
        return Vector(self.code, self.code.builder.bitcast(self.value, kind))

    def _combine(self, instruction, other):
        if isinstance(other, int):
            other = ir.Constant(self.value.type, [other] * self.value.type.count)
        else:
            other = other.value
        return _Bits(self.code, getattr(self.code.builder, instruction)(self.value, other))

    def __add__(self, other):
        return self._combine("add", other)

    def __sub__(self, other):
        return self._combine("sub", other)

    def __and__(self, other):
        return self._combine("and_", other)

    def __lshift__(self, other):
        return self._combine("shl", other)

    def __rshift__(self, other):
        return self._combine("lshr", other)


def _polynomial(x, coefficients):
    """From the highest power to the lowest."""
    total = x.code.constant(coefficients[0])
    for c in coefficients[1:]:
        total = total * x + c
    return total


def exp(x: Vector) -> Vector:
    """Of arguments whose exponential is a normal number; of others, that of the nearest such."""
    f = _FORMATS[x.code.size]
    x = x.at_least((1.5 - f.bias) * math.log(2)).at_most((f.bias + 0.5) * math.log(2))
    shifted = x * (1 / math.log(2)) + f.rounder
    n = shifted - f.rounder  # x = n log 2 + r
    r = (x - n * f.ln2_high) - n * f.ln2_low
    exponent = _Bits.of(shifted) - _Bits.of(x.code.constant(f.rounder)) + f.bias
    series = [1 / math.factorial(i) for i in range(f.exp_terms - 1, -1, -1)]
    return _polynomial(r, series) * (exponent << f.mantissa).number()


def log(x: Vector) -> Vector:
    """Of normal numbers; minus infinity below them."""
    f, constant = _FORMATS[x.code.size], x.code.constant
    # x = 2^n m, with m between the square roots of 1 / 2 and of 2
    half = _Bits.of(constant(math.sqrt(0.5)))
    bits = _Bits.of(x) + (_Bits.of(constant(1.0)) - half)
    n = ((bits >> f.mantissa) - f.bias + _Bits.of(constant(f.rounder))).number() - f.rounder
    m = ((bits & ((1 << f.mantissa) - 1)) + half).number()
    s = (m - 1) / (m + 1)  # log m = 2 (s + s^3 / 3 + s^5 / 5 + ...)
    square = s * s
    series = _polynomial(square, [2 / (2 * i + 1) for i in range(f.log_terms - 1, 0, -1)])
    result = n * f.ln2_high + (n * f.ln2_low + ((s * square) * series + s * 2))
    result = constant(-math.inf).where(x < 2.0 ** (1 - f.bias), result)
    return result.where(x < math.inf, x)


def softplus(x: Vector) -> tuple[Vector, Vector]:
    """log(1 + exp(x)) and its derivative."""
    small = exp(-x.at_least(-x))
    total = small + 1
    rounded_off = small - (total - 1)
    value = x.at_least(0) + (log(total) + rounded_off / total)
    return value, small.code.constant(1.0).where(x > 0, small) / total
