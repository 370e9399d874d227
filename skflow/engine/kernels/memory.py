"""Single numbers in memory, by address and position."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import INT, Code


@intrinsic
def address_of(typingctx, pointer):
    """A pointer as an integer."""
    return types.intp(pointer), lambda context, builder, signature, args: builder.ptrtoint(args[0], INT)


@intrinsic
def zero_of(typingctx, pointer):
    """Zero, of the type of number that a pointer points to."""

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(signature.return_type), 0.0)

    return pointer.dtype(pointer), generate


@intrinsic
def integer_at(typingctx, address, i):
    """Integer i of those at an address."""

    def generate(context, builder, signature, args):
        return builder.load(builder.gep(builder.inttoptr(args[0], INT.as_pointer()), [args[1]]))

    return types.intp(types.intp, types.intp), generate


@intrinsic
def number_at(typingctx, address, i, number):
    """Number i of those at an address, of the type of ``number``."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args[-1])
        return code.load_scalar(code.place(args[0], args[1]))

    return number(types.intp, types.intp, number), generate


@intrinsic
def put_number(typingctx, address, i, number):
    """Store ``number`` as number i of those at an address."""

    def generate(context, builder, signature, args):
        code = Code(context, builder, signature.args[-1])
        code.store_scalar(args[2], code.place(args[0], args[1]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, number), generate


@intrinsic
def size_of(typingctx, number):
    """Bytes of a number."""
    return types.intp(number), lambda context, builder, signature, args: ir.Constant(INT, number.bitwidth // 8)


@intrinsic
def take_next(typingctx, counter):
    """Add one to the integer at an address, undisturbed by other threads; what it was before."""

    def generate(context, builder, signature, args):
        counter = builder.inttoptr(args[0], INT.as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(INT, 1), "monotonic")

    return types.intp(types.intp), generate


@intrinsic
def call(typingctx, function):
    """What the C function ``int function(void)`` at an address returns."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), ()).as_pointer()
        return builder.sext(builder.call(builder.inttoptr(args[0], kind), ()), INT)

    return types.intp(types.intp), generate
