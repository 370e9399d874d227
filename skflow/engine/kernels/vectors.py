"""A small language for loops over vectors, which the compiler turns into the instructions that the machine has.

A formula in Python's operators on `Vector` writes the instructions of a function that numba compiles. Intermediate
results are then registers, which no loop over arrays in numba's own Python is compiled to. A vector has 64 bytes: the
compiler splits it into the registers that there are.

Addresses and steps are integers; steps count numbers, not bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

VECTOR_BYTES = 64
INT = ir.IntType(64)
_CONTRACT = ("contract",)  # a product and a sum may be rounded once


class Vector:
    """Numbers side by side, as many as 64 bytes hold or half of that."""

    def __init__(self, code: Code, value: ir.Value):
        self.code = code
        self.value = value

    def _vector(self, other):
        return other if isinstance(other, Vector) else self.code.constant(other, self.value.type.count)

    def _combine(self, instruction, other, swapped=False, **flags):
        other = self._vector(other).value
        pair = (other, self.value) if swapped else (self.value, other)
        return Vector(self.code, getattr(self.code.builder, instruction)(*pair, **flags))

    def __add__(self, other):
        return self._combine("fadd", other, flags=_CONTRACT)

    def __sub__(self, other):
        return self._combine("fsub", other, flags=_CONTRACT)

    def __rsub__(self, other):
        return self._combine("fsub", other, swapped=True, flags=_CONTRACT)

    def __mul__(self, other):
        return self._combine("fmul", other, flags=_CONTRACT)

    def __truediv__(self, other):
        return self._combine("fdiv", other)

    def __rtruediv__(self, other):
        return self._combine("fdiv", other, swapped=True)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return Vector(self.code, self.code.builder.fneg(self.value))

    def _compare(self, sign, other):
        return self.code.builder.fcmp_ordered(sign, self.value, self._vector(other).value)

    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def equals(self, other: Vector | float) -> ir.Value:
        """Where both are the same."""
        return self._compare("==", other)

    def where(self, condition: ir.Value, other: Vector | float) -> Vector:
        """These numbers where the condition holds, and the others elsewhere."""
        return Vector(self.code, self.code.builder.select(condition, self.value, self._vector(other).value))

    def at_least(self, low: Vector | float) -> Vector:
        """The greater of both; what is not a number stays so."""
        low = self._vector(low)
        return low.where(self < low, self)

    def at_most(self, high: Vector | float) -> Vector:
        """The smaller of both; what is not a number stays so."""
        high = self._vector(high)
        return high.where(self > high, self)

    def sqrt(self) -> Vector:
        """The square root."""
        kind, module = self.value.type, self.code.builder.module
        name = f"llvm.sqrt.v{kind.count}f{8 * self.code.size}"
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind]), name)
        return Vector(self.code, self.code.builder.call(function, [self.value]))

    def sum(self) -> ir.Value:
        """Of all numbers."""
        builder, total = self.code.builder, self.value
        while total.type.count > 1:
            half = total.type.count // 2
            parts = (
                builder.shuffle_vector(total, total, ir.Constant(ir.VectorType(ir.IntType(32), half), which))
                for which in (list(range(half)), list(range(half, 2 * half)))
            )
            total = builder.fadd(*parts)
        return builder.extract_element(total, self.code.int(0))


class Code:
    """The function that is being written, for numbers of one type."""

    def __init__(self, context, builder, number):
        self.builder = builder
        self.number = context.get_value_type(number)
        self.size = number.bitwidth // 8
        self.length = VECTOR_BYTES // self.size

    def int(self, n: int) -> ir.Value:
        """A constant integer."""
        return ir.Constant(INT, n)

    def constant(self, value: float, length: int | None = None) -> Vector:
        """A constant vector."""
        length = length or self.length
        return Vector(self, ir.Constant(ir.VectorType(self.number, length), [ir.Constant(self.number, value)] * length))

    def place(self, address: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """The address so many numbers further on."""
        for offset in offsets:
            offset = self.int(offset) if isinstance(offset, int) else offset
            address = self.builder.add(address, self.builder.mul(offset, self.int(self.size)))
        return address

    def times(self, step: ir.Value, i: ir.Value | int) -> ir.Value:
        """A product of integers."""
        return self.builder.mul(step, self.int(i) if isinstance(i, int) else i)

    def load_scalar(self, address: ir.Value) -> ir.Value:
        """The number at an address."""
        return self.builder.load(self.builder.inttoptr(address, self.number.as_pointer()))

    def store_scalar(self, value: ir.Value, address: ir.Value) -> None:
        """Put a number at an address."""
        self.builder.store(value, self.builder.inttoptr(address, self.number.as_pointer()))

    def load(self, address: ir.Value, length: int | None = None) -> Vector:
        """The vector at an address."""
        vector = ir.VectorType(self.number, length or self.length)
        return Vector(self, self.builder.load(self.builder.inttoptr(address, vector.as_pointer()), align=self.size))

    def store(self, vector: Vector, address: ir.Value) -> None:
        """Put a vector at an address."""
        value = vector.value
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=self.size)

    def spread(self, scalar: ir.Value) -> Vector:
        """A vector of one number."""
        vector = ir.VectorType(self.number, self.length)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, self.int(0))
        nowhere = ir.Constant(ir.VectorType(ir.IntType(32), self.length), [0] * self.length)
        return Vector(self, self.builder.shuffle_vector(first, first, nowhere))

    def spread_integer(self, n: ir.Value) -> Vector:
        """A vector of an integer, as a number."""
        return self.spread(self.builder.sitofp(n, self.number))

    def loop(self, first, last, totals: list[Vector], body: Callable, step: int = 1) -> list[Vector]:
        """``totals = body(i, totals)`` for i from ``first`` up to ``last``; the totals in the end."""
        builder = self.builder
        first, last = (self.int(n) if isinstance(n, int) else n for n in (first, last))
        before = builder.block
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(INT)
        i.add_incoming(first, before)
        carried = [builder.phi(total.value.type) for total in totals]
        for phi, total in zip(carried, totals):
            phi.add_incoming(total.value, before)
        builder.cbranch(builder.icmp_signed("<", i, last), inside, after)
        builder.position_at_end(inside)
        for phi, total in zip(carried, body(i, [Vector(self, phi) for phi in carried])):
            phi.add_incoming(total.value, builder.block)
        i.add_incoming(builder.add(i, self.int(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return [Vector(self, phi) for phi in carried]


def vector_function(write: Callable[..., None]):
    """Make a function for numba of one that writes instructions.

    ``write(code, ...)`` is called with integers; the function takes the same, and last a number of the type in use.
    """
    names = [*list(inspect.signature(write).parameters)[1:], "number"]

    def generate(context, builder, signature, args):
        write(Code(context, builder, signature.args[-1]), *args[:-1])
        return context.get_dummy_value()

    def typed(typingctx, *arguments):
        return types.void(*[types.intp] * len(arguments[:-1]), arguments[-1]), generate

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typed.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in ["typingctx", *names]])
    typed.__name__, typed.__doc__ = write.__name__, write.__doc__
    return intrinsic(typed)
