"""XGBoost's JSON format of models (its documentation: "Model IO")."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def trees_of(document: dict[str, Any]) -> dict[str, Any]:
    """The trees in XGBoost's JSON format of models (its documentation: "Model IO")."""
    return document["learner"]["gradient_booster"]["model"]


def parameters_of(document: dict[str, Any]) -> dict[str, Any]:
    """What it says of features, and of the prediction before any tree."""
    return document["learner"]["learner_model_param"]


MOST_FEATURES = 1 << 16


def checked_trees(document: dict[str, Any]) -> dict[str, Any]:
    """A model in XGBoost's format, so that its reader, which is in C++, may rely on every number.

    Nodes are kept in the order in which XGBoost makes them, parents before children: there is no
    way round in a circle, and none out of a tree.

    Raises:
        ValueError: what is no model of trees as `XGBModel` saves it.
    """
    try:
        model, parameters = trees_of(document), parameters_of(document)
        n_features = int(parameters["num_feature"])
        (base,) = json.loads(parameters["base_score"])
        trees, objective = model["trees"], document["learner"]["objective"]["name"]
        if not 1 <= n_features <= MOST_FEATURES or not math.isfinite(base) or not trees:
            raise ValueError("parameters out of range")
        if objective != "reg:squarederror" or document["learner"]["gradient_booster"]["name"] != (
            "gbtree"
        ):
            raise ValueError("another kind of model")
        clean = [_checked_tree(tree, number, n_features) for number, tree in enumerate(trees)]
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"no model of boosted trees: {error!r}") from error
    n = len(clean)
    gradient_booster = {
        "name": "gbtree",
        "model": {
            "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
            "gbtree_model_param": {"num_trees": str(n), "num_parallel_tree": "1"},
            "iteration_indptr": list(range(n + 1)),
            "tree_info": [0] * n,
            "trees": clean,
        },
    }
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": gradient_booster,
        "learner_model_param": {
            "base_score": json.dumps([float(base)]),
            "boost_from_average": "1",
            "num_class": "0",
            "num_feature": str(n_features),
            "num_target": "1",
        },
        "objective": {"name": objective, "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    return {"learner": learner, "version": [3, 2, 0]}


_NODE_NUMBERS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")


def _checked_tree(tree: dict[str, Any], number: int, n_features: int) -> dict[str, Any]:
    """A tree whose children come after their parents, once each."""
    left, right = (np.array(tree[f"{side}_children"]) for side in ("left", "right"))
    n = len(left)
    nodes = np.arange(n)
    split = np.array(tree["split_indices"])
    values = {name: np.array(tree[name], dtype=np.float64) for name in _NODE_NUMBERS}
    if any(array.dtype.kind != "i" or array.shape != (n,) for array in (left, right, split)):
        raise ValueError("nodes without children or a feature")
    if any(array.shape != (n,) or not np.isfinite(array).all() for array in values.values()):
        raise ValueError("numbers of nodes are missing or not finite")
    leaf = left == -1
    children = np.concatenate([left[~leaf], right[~leaf]])
    if (right[leaf] != -1).any() or not np.array_equal(np.sort(children), nodes[1:]):
        raise ValueError("nodes that are no tree")
    if (left[~leaf] <= nodes[~leaf]).any() or (right[~leaf] <= nodes[~leaf]).any():
        raise ValueError("nodes that are no tree")
    if not ((split >= 0) & (split < n_features)).all():
        raise ValueError("splits of no feature")
    parents = np.full(n, 2**31 - 1)
    parents[left[~leaf]] = parents[right[~leaf]] = nodes[~leaf]
    return {
        **{name: array.tolist() for name, array in values.items()},
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [0] * n,
        "id": number,
        "left_children": left.tolist(),
        "right_children": right.tolist(),
        "parents": parents.tolist(),
        "split_indices": split.tolist(),
        "split_type": [0] * n,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(n_features),
            "num_nodes": str(n),
            "size_leaf_vector": "1",
        },
    }
