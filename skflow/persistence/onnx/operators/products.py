"""Products with matrices."""

from __future__ import annotations

import torch

from .table import of

aten = torch.ops.aten


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
