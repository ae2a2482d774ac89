"""A forest of regression trees as plain arrays: fitted by scikit-learn, read by numpy, nothing executed on load."""

import math
import threading
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray

N_TREES = 100
"""Trees that serve."""
N_JUDGED = 270
"""Trees to grow where a forest is to be judged: each leaves out 37 % of the tasks, so about `N_TREES` have not seen one task."""
MAX_DRAWN = 3_000
"""Tasks that one tree is grown on: a hundred trees see many more, and neither time nor size grows with the log.

Trees that draw fewer than there are differ more, and fewer of them are needed for as many that have not seen a task (Bühlmann and
Yu 2002, Analyzing Bagging, Annals of Statistics 30(4)).
"""
MAX_DEPTH = 14
"""Steps from root to leaf: what a decision takes is this many looks at each tree."""
_MIN_NUMBERS = 50_000
"""Tasks times features below which trees are grown one after the other: threads would wait for each other most of the time."""
_FEATURE_SHARE = 0.8
"""Of the features that a split may choose from."""
_AT_ONCE = 2**12
"""Tasks that are predicted at once."""
_MANY = 2**8
"""Tasks from which on they walk down one tree after the other."""
_COMMON = 0.5
"""Weight of what a task's strategies have in common: a split is to part tasks on which different strategies pay."""


class Forest:
    """Extremely randomised trees (Geurts, Ernst and Wehenkel 2006, Machine Learning 63), one forest for all strategies.

    Trees find what a line cannot: that a long sum is dear and a long story is not. All trees stand in one set of arrays, node
    after node; a left child stands before its sister, and a leaf is its own child, so walking down is the same step for all.
    """

    def fit(
        self,
        features: FloatArray,
        target: FloatArray,
        *,
        cluster: IntArray,
        min_leaf: int,
        n_grown: int = N_JUDGED,
        seed: int = 0,
    ) -> Self:
        """Learn from rows; `out_of_bag_` predicts each of them by as many trees that saw none of its cluster as will serve.

        So these predictions err and scatter as those of fresh tasks will.

        Args:
            features: (n_tasks, n_features).
            target: (n_tasks, n_strategies), without NaN.
            cluster: (n_tasks,) numbers from 0 without a gap; each tree draws clusters whole.
            min_leaf: tasks in the smallest leaf.
            n_grown: trees, of which the first `N_TREES` serve; `N_TREES` of them do where `out_of_bag_` is not asked for, and
                fewer than this many where each leaves out more than 37 %.
            seed: of the trees.
        """
        from joblib import Parallel, delayed

        rng = np.random.default_rng(seed)
        n_clusters = int(cluster.max()) + 1
        n_drawn = math.ceil(n_clusters * min(MAX_DRAWN / len(features), 1.0))
        if n_drawn < n_clusters:
            n_grown = min(n_grown, math.ceil(N_TREES * math.exp(n_drawn / n_clusters)))
        seen = [np.bincount(rng.integers(0, n_clusters, n_drawn), minlength=n_clusters).astype(np.int32) for _ in range(n_grown)]
        single = features.astype(np.float32)
        wanted = np.ascontiguousarray(target - (1 - _COMMON) * target.mean(axis=1, keepdims=True))
        grow = delayed(_grown)
        trees = Parallel(n_jobs=-1 if single.size >= _MIN_NUMBERS else 1, prefer="threads")(
            grow(single, wanted, weight[cluster], min_leaf, number) for number, weight in enumerate(seen)
        )
        self._take(trees)
        self.out_of_bag_ = self._out_of_bag(features, np.array([weight == 0 for weight in seen]).T, cluster)
        self._keep(N_TREES)
        return self

    def predict(self, features: FloatArray) -> FloatArray:
        """(n_tasks, n_strategies), the mean over all trees."""
        if len(features) < _MANY:
            return np.asarray(self.value_[self._leaves(features)].sum(axis=1) / len(self.root_))
        predicted = np.empty((len(features), self.value_.shape[1]))
        for rows in _stretches(len(features)):
            total = np.zeros(predicted[rows].shape, dtype=np.float32)
            for leaf in self._leaves_by_tree(features[rows]):
                total += self.value_.take(leaf, axis=0)
            predicted[rows] = total / np.float32(len(self.root_))
        return predicted

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What was learned, as arrays."""
        return {name: getattr(self, f"{name}_") for name in ("root", "feature", "threshold", "left", "value")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], *, n_features: int, n_strategies: int) -> Self:
        """The forest that `arrays` was taken from; raises ValueError where walking it would lead astray."""
        forest = cls()
        for name in ("root", "feature", "threshold", "left", "value"):
            setattr(forest, f"{name}_", arrays[name])
        forest._check(n_features, n_strategies)
        return forest

    def _check(self, n_features: int, n_strategies: int) -> None:
        n_nodes = self.feature_.size
        shapes = {"root": (N_TREES,), "value": (n_nodes, n_strategies)} | dict.fromkeys(
            ("feature", "threshold", "left"), (n_nodes,)
        )
        for name, shape in shapes.items():
            if (found := getattr(self, f"{name}_").shape) != shape:
                raise ValueError(f"forest.{name} has shape {found}, not {shape}")
        for name, highest in (("root", n_nodes - 1), ("feature", n_features - 1), ("left", n_nodes - 1)):
            nodes = getattr(self, f"{name}_")
            if nodes.dtype.kind != "i" or nodes.min() < 0 or nodes.max() > highest:
                raise ValueError(f"forest.{name} points outside of the forest")
        is_split = self.left_ != np.arange(n_nodes)
        if (self.left_[is_split] == n_nodes - 1).any():
            raise ValueError("forest.left points outside of the forest")

    def _leaves(self, features: FloatArray) -> IntArray:
        """(n_tasks, n_trees) node that each task ends at in each tree."""
        seen = np.asarray(features, dtype=np.float32)  # scikit-learn compares single-precision features
        rows = np.arange(len(seen))[:, None]
        node = np.broadcast_to(self.root_, (len(seen), len(self.root_)))
        for _ in range(MAX_DEPTH):
            node = self.left_[node] + (seen[rows, self.feature_[node]] > self.threshold_[node])
        return node

    def _leaves_by_tree(self, features: FloatArray) -> Iterator[IntArray]:
        """(n_tasks,) node that each task ends at, tree after tree: one tree stays within a processor's own cache."""
        seen = np.asarray(features, dtype=np.float32)
        begin, numbers = np.arange(len(seen)) * seen.shape[1], seen.ravel()
        for root in self.root_:
            node = np.full(len(seen), root, dtype=np.intp)
            for _ in range(MAX_DEPTH):
                node = self.left_.take(node) + (numbers.take(begin + self.feature_.take(node)) > self.threshold_.take(node))
            yield node

    def _out_of_bag(self, features: FloatArray, is_unseen: NDArray[np.bool_], cluster: IntArray) -> FloatArray:
        found = []
        for rows in _stretches(len(features)):
            unseen = is_unseen[cluster[rows]].astype(np.float64)
            unseen[~unseen.any(axis=1)] = 1.0  # one that every tree has seen: the chance is 1e-54 per cluster
            leaves = np.column_stack(list(self._leaves_by_tree(features[rows])))
            total = np.einsum("nt,ntk->nk", unseen, self.value_[leaves])
            found.append(total / unseen.sum(axis=1, keepdims=True))
        return np.concatenate(found)

    def _take(self, trees: list[object]) -> None:
        """Lay scikit-learn's trees out in one set of arrays, sisters side by side."""

        def joined(name: str) -> NDArray[Any]:  # Any: numbers of nodes, or what they hold
            return np.concatenate([getattr(tree, name) for tree in trees])

        size = np.array([len(tree.feature) for tree in trees])  # type: ignore[attr-defined]  # ships no types
        root = np.cumsum(size) - size
        order, left = _sisters(joined("children_left"), joined("children_right"), root, size)
        is_leaf = left == np.arange(len(left))
        self.root_: IntArray = root.astype(np.int32)
        self.feature_: IntArray = np.where(is_leaf, 0, joined("feature")[order]).astype(np.int32)
        # a leaf is never left: its threshold is finite, for an artifact holds no infinities, and above every feature
        self.threshold_: FloatArray = np.where(is_leaf, float(np.finfo(np.float32).max), joined("threshold")[order])
        self.left_: IntArray = left.astype(np.int32)
        value = np.where(is_leaf[:, None], joined("value")[order, :, 0], 0.0).astype(np.float32)
        self.value_ = value + np.float32(1 / _COMMON - 1) * value.mean(axis=1, keepdims=True)

    def _keep(self, n_trees: int) -> None:
        """Fell all trees but the first ones."""
        n_nodes = int(np.append(self.root_, len(self.left_))[n_trees])
        self.root_ = self.root_[:n_trees]
        for name in ("feature", "threshold", "left", "value"):
            setattr(self, f"{name}_", getattr(self, f"{name}_")[:n_nodes].copy())


def _stretches(n_tasks: int) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, max(n_tasks, 1), _AT_ONCE)]


class _Lots(threading.local):
    """A thread's random numbers, of which each tree sets its own seed: making them anew takes a third of a small tree's time."""

    def __init__(self) -> None:
        self.drawn = np.random.RandomState()


_LOTS = _Lots()


def _grown(features: NDArray[np.float32], target: FloatArray, weight: FloatArray, min_leaf: int, seed: int) -> object:
    from sklearn import config_context
    from sklearn.tree import ExtraTreeRegressor

    lots = _LOTS.drawn
    lots.seed(seed)
    tree = ExtraTreeRegressor(max_depth=MAX_DEPTH, min_samples_leaf=min_leaf, max_features=_FEATURE_SHARE, random_state=lots)
    with config_context(skip_parameter_validation=True, assume_finite=True):  # which took a third of a small tree's time
        return tree.fit(features, target, sample_weight=weight, check_input=False).tree_


def _sisters(left: IntArray, right: IntArray, root: IntArray, size: IntArray) -> tuple[IntArray, IntArray]:
    """Order in which a right child follows its sister, tree after tree, root first, and each node's left child there.

    Args:
        left: (n_nodes,) of all trees, one after the other, counted within its own tree; a leaf's children are alike.
        right: the same of right children.
        root: (n_trees,) where each tree begins.
        size: (n_trees,) its nodes.

    Returns:
        (n_nodes,) the nodes in their order, and (n_nodes,) the place there of each one's left child; a leaf's is its own.
    """
    begin = np.repeat(root, size)
    is_split = left != right
    levels = [root]
    while len(levels[-1]):
        parents = levels[-1][is_split[levels[-1]]]
        levels.append((np.column_stack([left[parents], right[parents]]) + begin[parents, None]).ravel())
    order = np.concatenate(levels)
    order = order[np.argsort(begin[order], kind="stable")]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return order, np.where(is_split[order], place[np.where(is_split, left + begin, 0)[order]], np.arange(len(order)))
