"""Boosted trees, which ONNX has as one operator of its standard for machine learning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ....flows.regression.boosted_trees import BoostedTrees
from ..graph import ML_DOMAIN
from .table import of


@torch.library.custom_op("skflow::boosted_trees", mutates_args=())
def boosted_trees(
    x: Tensor, tree: Tensor, feature: Tensor, threshold: Tensor, ruled_out: Tensor, value: Tensor
) -> Tensor:
    """What `BoostedTrees` add to their intercept, as one operator of torch's, for the tracer to see."""
    return BoostedTrees(tree, feature, threshold, ruled_out, value, value.new_zeros(()))(x)


@of(torch.ops.skflow.boosted_trees.default)
def _boosted_trees(t, x, tree, feature, threshold, ruled_out, value, out):
    """Trees by their nodes, the root first; thresholds of double precision, for a row to take the same branch."""
    from onnx import numpy_helper

    nodes, leaves = [], []  # (tree, node, feature, threshold, left, right) and (tree, node, value)
    for number in range(len(value)):
        own = (tree == number).numpy()
        rows = zip(feature[own].tolist(), threshold[own].tolist(), *ruled_out[own].t().tolist())
        _add_tree(number, list(rows), value[number].tolist(), nodes, leaves)
    tree_ids, node_ids, features, thresholds, left, right = zip(*nodes)
    leaf_trees, leaf_ids, values = zip(*leaves)
    sums = t.graph.node(
        "TreeEnsembleRegressor",
        t.value(x),
        domain=ML_DOMAIN,
        n_targets=1,
        nodes_treeids=tree_ids,
        nodes_nodeids=node_ids,
        nodes_featureids=features,
        nodes_modes=["LEAF" if child < 0 else "BRANCH_LEQ" for child in left],
        nodes_values_as_tensor=numpy_helper.from_array(np.array(thresholds, dtype=float)),
        nodes_truenodeids=[max(child, 0) for child in left],
        nodes_falsenodeids=[max(child, 0) for child in right],
        target_treeids=leaf_trees,
        target_nodeids=leaf_ids,
        target_ids=[0] * len(values),
        target_weights_as_tensor=numpy_helper.from_array(np.array(values, dtype=float)),
    )
    return t.graph.cast(t.graph.node("Squeeze", sums, t.graph.sizes([1])), out.dtype)


def _add_tree(number, tests, value, nodes, leaves):
    """Undo the numbering of leaves: of the tests on an interval of leaves the one that splits it is the root.

    The tests of the left edge rule out intervals that start with the whole, and the root's is the longest of them.
    """
    n_nodes = 0

    def add(first, stop):
        nonlocal n_nodes
        node, n_nodes = n_nodes, n_nodes + 1
        inside = [test for test in tests if test[2] == first and test[3] < stop]
        if not inside:
            nodes.append((number, node, 0, 0.0, -1, -1))
            leaves.append((number, node, value[first]))
            return node
        feature, threshold, _, middle = max(inside, key=lambda test: test[3])
        place = len(nodes)
        nodes.append(None)
        left = add(first, middle)
        nodes[place] = number, node, feature, threshold, left, add(middle, stop)
        return node

    add(0, len(tests) + 1)
