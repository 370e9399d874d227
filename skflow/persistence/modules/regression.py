"""Regression models."""

from __future__ import annotations

from torch import nn

from ...flows.regression.boosted_trees import MAX_LEAVES, BoostedTrees
from ...flows.regression.gaussian_process import GaussianProcessRegression
from ...flows.regression.linear import LinearRegression
from ...flows.regression.stacking import StackedRegression
from .node import Rule, require

KINDS = (BoostedTrees, GaussianProcessRegression, LinearRegression)


def _linear(node):
    coefficients = node.tensor("coefficients", None)
    node.sizes.agree(len(coefficients))
    return LinearRegression(coefficients, node.tensor("intercept"))


def _gaussian_process(node):
    m, p = node.tensor("centres", None, None).shape
    node.sizes.agree(p)
    length_scale = node.tensor("length_scale", p)
    require(m and p and (length_scale > 0).all(), "a process has no centre or no length scale")
    return GaussianProcessRegression(
        node.tensor("centres", m, p), node.tensor("alpha", m), length_scale, node.tensor("intercept")
    )


def _boosted_trees(node):
    tree, (n_trees, n_leaves) = node.tensor("tree", None, integer=True), node.tensor("value", None, None).shape
    feature = node.tensor("feature", len(tree), integer=True)
    ruled_out = node.tensor("ruled_out", len(tree), 2, integer=True)
    first, stop = ruled_out.t()
    d = node.sizes.n_features
    require(n_trees and 0 < n_leaves <= MAX_LEAVES, "a tree has no leaf, or too many")
    require(((tree >= 0) & (tree < n_trees)).all(), "a node belongs to no tree")
    require(d is not None and ((feature >= 0) & (feature < d)).all(), "a node tests a feature that is not there")
    # The last leaf is never ruled out: whatever the nodes are, every row ends in a leaf.
    require(((first >= 0) & (first < stop) & (stop < n_leaves)).all(), "a node rules out leaves that are not there")
    threshold = node.tensor("threshold", len(tree))
    return BoostedTrees(
        tree, feature, threshold, ruled_out, node.tensor("value", n_trees, n_leaves), node.tensor("intercept")
    )


def _stacked(node):
    p, models = len(node.tensor("shift", None)), node.children("models", nn.Module)
    scale = node.tensor("scale", p)
    k, n_models = node.tensor("weights", None, None).shape
    node.sizes.agree(p)
    require(p and (scale > 0).all(), "its scale is none")
    require(models and k * n_models == len(models), "its weights are those of other models")
    require(
        all(type(model) in (BoostedTrees, GaussianProcessRegression, LinearRegression) for model in models),
        "its models are none",
    )
    return StackedRegression(node.tensor("shift", p), scale, models, node.tensor("weights", k, n_models))


RULES = {
    BoostedTrees: Rule(_boosted_trees),
    GaussianProcessRegression: Rule(_gaussian_process),
    LinearRegression: Rule(_linear),
    StackedRegression: Rule(_stacked, modules=("models",)),
}
