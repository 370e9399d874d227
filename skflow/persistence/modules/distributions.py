"""Distributions."""

from __future__ import annotations

import torch

from ...flows.bijections.bijection import Bijection
from ...flows.bijections.order_agnostic import OrderAgnostic
from ...flows.distributions.class_kernels import ClassKernels
from ...flows.distributions.class_mixture import ClassMixture
from ...flows.distributions.distribution import Distribution
from ...flows.distributions.flow_mixture import FlowMixture
from ...flows.distributions.gaussian_mixture import GaussianMixture
from ...flows.distributions.latent_tree import LatentTree
from ...flows.distributions.logarithmic_pool import LogarithmicPool
from ...flows.distributions.mixed_distribution import MixedDistribution
from ...flows.distributions.normal import StandardNormal
from ...flows.distributions.order_average import OrderAverage
from ...flows.distributions.student_t import StudentT
from ...flows.flow import Flow
from .node import Rule, require


def _standard_normal(node):
    d = len(node.tensor("mean", None))
    node.sizes.agree(d)
    return StandardNormal(d)


def _gaussian_mixture(node):
    k, d = node.tensor("means", None, None).shape
    node.sizes.agree(d)
    node.tensor("logits", k), node.tensor("log_diagonal", k, d), node.tensor("lower", k, d, d)
    diagonal = node.config["diagonal"]
    require(k and d and type(diagonal) is bool, "a mixture has no components")
    return GaussianMixture(torch.ones(k), torch.zeros(k, d), torch.eye(d).expand(k, d, d), diagonal=diagonal)


def _student_t(node):
    d = len(node.tensor("raw_df", None))
    node.sizes.agree(d)
    node.tensor("loc", d), node.tensor("log_scale", d)
    return StudentT(torch.full((d,), 5.0), torch.zeros(d), torch.ones(d))


def _order_average(node):
    flow = node.child("flow", Flow)
    require(any(isinstance(m, OrderAgnostic) for m in flow.modules()), "there are no orderings to average over")
    return OrderAverage(flow)


def _members(node):
    members = node.children("members", Distribution)
    require(members, "a mixture has no members")
    return members


def _flow_mixture(node):
    members = _members(node)
    require((node.tensor("weights", len(members)) >= 0).all(), "a member has a weight below zero")
    return FlowMixture(members)


def _class_kernels(node):
    centres = node.tensor("centres", None, None)
    label, weights, width = (
        node.tensor("label", len(centres), integer=True),
        node.tensor("weights", len(centres)),
        node.number("width"),
    )
    require(len(centres) and width > 0 and (weights > 0).all(), "a kernel has no width or weight")
    classes = label.unique()
    require(torch.equal(classes, torch.arange(len(classes))), "a class has no centre")
    node.sizes.agree(centres.shape[1], len(classes))
    return ClassKernels(centres, weights, label, width)


def _class_mixture(node):
    conditional, priors = node.child("conditional", FlowMixture), node.tensor("priors", None)
    node.sizes.agree(n_context=len(priors))
    temperature = node.number("temperature")
    require(len(priors) and (priors >= 0).all() and temperature > 0, "its priors or its temperature are none")
    return ClassMixture(conditional, priors, temperature)


def _logarithmic_pool(node):
    members = _members(node)
    small = node.tensor("small", None, None, None)
    d = small.shape[2]
    node.sizes.agree(d)
    centres, fold = node.tensor("centres", None, d), node.tensor("fold", None, integer=True)
    require(small.numel() and len(small) % len(members) == 0, "its small estimates are not one or more a member")
    require(len(fold) == len(centres) and ((fold >= 0) & (fold < len(members))).all(), "a fold has no member")
    width, memory = node.number("width"), node.number("memory")
    require(width > 0 and memory >= 0 and (memory == 0 or len(centres)), "its memory is none")
    pool = LogarithmicPool(members, small)
    pool.remember(centres, fold, width, memory)
    return pool


def _latent_tree(node):
    parent, n_categories = node.tensor("parent", None, integer=True), node.tensor("n_categories", None, integer=True)
    d, p, k = len(parent), int((n_categories == 0).sum()), len(node.tensor("root_logits", None))
    node.sizes.agree(d)
    require(d and k and len(n_categories) == d and (n_categories >= 0).all(), "a tree has no columns or states")
    _require_tree(parent.tolist())
    n_all = int(n_categories.sum())
    require(n_all == len(node.tensor("category_logits", None, k)), "a category has no probability")
    unseen = node.tensor("unseen", d - p)
    require(((unseen > 0) & (unseen < 1)).all(), "an unknown category has no probability")
    tensors = (
        *(node.tensor("root_logits", k), node.tensor("transition_logits", d, k, k)),
        *(node.tensor("means", p, k), node.tensor("log_deviations", p, k), node.tensor("category_logits", n_all, k)),
    )
    return LatentTree(parent, n_categories, *tensors, unseen)


def _require_tree(parent):
    """Refuse what is no tree: every column leads to the one root, which is its own parent's none."""
    require(parent.count(-1) == 1 and all(-1 <= p < len(parent) for p in parent), "a tree has no root, or several")
    reached = [parent.index(-1)]
    for i in reached:
        reached.extend(j for j, p in enumerate(parent) if p == i)
    require(len(reached) == len(parent), "a column does not lead to the root of its tree")


def _mixed_distribution(node):
    trees, flow = node.child("trees", FlowMixture), node.modules.get("flow")
    n_categories = node.tensor("n_categories", None, integer=True)
    weight = node.tensor("weight")
    node.sizes.agree(len(n_categories))
    require(all(isinstance(tree, LatentTree) for tree in trees.members), "one of its trees is none")
    require(all(torch.equal(tree.n_categories, n_categories) for tree in trees.members), "its trees differ in columns")
    require(0 <= weight <= 1 and (flow is not None or weight == 0), "its weight is none")
    if flow is not None:
        require(isinstance(flow, Distribution), "its flow is none")
        own, n_context = node.own["flow"][0], int(n_categories.sum())
        require(own.n_features == int((n_categories == 0).sum()), "its flow is of other columns")
        require((own.n_context or 0) == n_context, "its flow is given other categories")
    return MixedDistribution(trees, flow, weight, n_categories)


RULES = {
    ClassKernels: Rule(_class_kernels, lambda module: {"width": float(module.width)}),
    ClassMixture: Rule(
        _class_mixture, lambda module: {"temperature": float(module.temperature)}, modules=("conditional",)
    ),
    Flow: Rule(
        lambda node: Flow(node.child("bijection", Bijection), node.child("base", Distribution)),
        modules=("bijection", "base"),
    ),
    FlowMixture: Rule(_flow_mixture, modules=("members",)),
    GaussianMixture: Rule(_gaussian_mixture, lambda module: {"diagonal": module.diagonal}),
    LatentTree: Rule(_latent_tree),
    LogarithmicPool: Rule(
        _logarithmic_pool,
        lambda module: {"width": float(module.width), "memory": float(module.memory)},
        modules=("members",),
    ),
    MixedDistribution: Rule(_mixed_distribution, modules=("trees", "flow"), own=("flow",)),
    OrderAverage: Rule(_order_average, modules=("flow",)),
    StandardNormal: Rule(_standard_normal),
    StudentT: Rule(_student_t),
}
