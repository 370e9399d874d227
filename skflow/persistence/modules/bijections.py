"""Bijections without a network."""

from __future__ import annotations

import torch
from torch import Tensor

from ...flows.bijections.bijection import Bijection
from ...flows.bijections.bounded import Bounded
from ...flows.bijections.chain import Chain
from ...flows.bijections.class_whitening import ClassWhitening
from ...flows.bijections.columnwise import Columnwise
from ...flows.bijections.context_location import ContextLocation
from ...flows.bijections.embedded_context import EmbeddedContext
from ...flows.bijections.inverse import Inverse
from ...flows.bijections.linear import LU, ActNorm, Permutation, Rotation
from ...flows.bijections.log_tails import LogTails
from ...flows.bijections.marginal_gaussianization import MarginalGaussianization
from ...flows.bijections.standardize import Standardize
from .node import Rule, require


def require_permutation(order: Tensor) -> None:
    """Refuse an order that does not have every feature once."""
    same = torch.equal(order.sort().values, torch.arange(len(order)))
    require(len(order) and same, "an order of the features is none")


def _permutation(node):
    order = node.tensor("order", None, integer=True)
    node.sizes.agree(len(order))
    require_permutation(order)
    return Permutation(order)


def _square(cls, name, *more):
    def build(node):
        matrix = node.tensor(name, None, None)
        d = len(matrix)
        node.sizes.agree(d)
        for one in more:
            node.tensor(one, *((d, d) if one == "upper" else (d,)))
        require(d and matrix.shape[1] == d, f"{name!r} is not square")
        return cls(d)

    return build


def _act_norm(node):
    d = len(node.tensor("log_scale", None))
    node.tensor("shift", d)
    node.sizes.agree(d)
    return ActNorm(d)


def _column_wise(cls, *names, infinite=()):
    def build(node):
        d = len(node.tensor(names[0], None, infinite=names[0] in infinite))
        node.sizes.agree(d)
        require(d, "there is no column")
        return cls(*(node.tensor(name, d, infinite=name in infinite) for name in names))

    return build


def _marginal_gaussianization(node):
    columns = node.tensor("columns", None, integer=True)
    c = len(columns)
    knots = len(node.tensor("knots_z", None))
    parts = node.tensor("knots_x", c, knots), node.tensor("knots_z", knots), node.tensor("slopes", c, knots)
    d = node.sizes.n_features
    require(c and knots > 1, "a curve has no knots")
    require(d is not None and columns.min() >= 0 and columns.max() < d, "a column lies outside the table")
    require(len(columns.unique()) == c, "a column is mapped twice")
    return MarginalGaussianization(columns, *parts, node.tensor("tail_index", c, 2))


def _class_whitening(node):
    c, d = node.tensor("means", None, None).shape
    factors = node.tensor("precision_factors", None, d, d)
    require(c and d and len(factors) in (1, c), "a class has no matrix")
    require((factors.diagonal(dim1=1, dim2=2) > 0).all() and not factors.triu(1).any(), "a matrix is not triangular")
    node.sizes.agree(d, c)
    return ClassWhitening(node.tensor("means", c, d), factors)


def _columns(node, *shape):
    """Numbers of columns of the context."""
    columns = node.tensor("columns", *shape, integer=True)
    require(len(columns) and (columns >= 0).all(), "it sees no column of the context")
    return columns


def _context_location(node):
    columns = _columns(node, None)
    node.sizes.agree(len(columns))
    return ContextLocation(columns)


def _embedded_context(node):
    columns = _columns(node, node.within.n_context) if "columns" in node.tensors else None
    node.sizes.agree(node.within.n_features, node.within.n_context if columns is None else None)
    return EmbeddedContext(node.child("bijection", Bijection), node.child("embedding", Bijection), columns)


def _columnwise(node):
    columns, maps = node.tensor("columns", None, integer=True), node.children("maps", Bijection)
    require(len(columns) == len(maps) == len(columns.unique()), "there is not one map for every column")
    require((columns >= 0).all(), "a column lies outside the table")
    require(
        all(sizes.n_features == 1 and not sizes.n_context for sizes in node.own["maps"]), "a map is of more columns"
    )
    return Columnwise(columns, maps)


RULES = {
    ActNorm: Rule(_act_norm),
    Bounded: Rule(_column_wise(Bounded, "low", "high", "unit", infinite=("low", "high"))),
    Chain: Rule(lambda node: Chain(node.children("links", Bijection)), modules=("links",)),
    ClassWhitening: Rule(_class_whitening),
    Columnwise: Rule(_columnwise, modules=("maps",), own=("maps",)),
    ContextLocation: Rule(_context_location),
    EmbeddedContext: Rule(_embedded_context, modules=("bijection", "embedding")),
    Inverse: Rule(lambda node: Inverse(node.child("bijection", Bijection)), modules=("bijection",)),
    LU: Rule(_square(LU, "lower", "upper", "log_diagonal", "bias")),
    LogTails: Rule(_column_wise(LogTails, "low", "high", infinite=("low", "high"))),
    MarginalGaussianization: Rule(_marginal_gaussianization),
    Permutation: Rule(_permutation, derived=("undo",)),
    Rotation: Rule(_square(Rotation, "raw")),
    Standardize: Rule(_column_wise(Standardize, "shift", "scale")),
}
