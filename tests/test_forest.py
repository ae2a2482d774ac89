"""The forest: scikit-learn's trees, read from plain arrays, and never walked astray."""

import numpy as np
import pytest
from sklearn.tree import ExtraTreeRegressor

from budget_router.policies.forest import MAX_DEPTH, N_TREES, Forest

N_FEATURES, N_STRATEGIES, N_TASKS = 7, 3, 400
MIN_LEAF = 5


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N_TASKS, N_FEATURES))
    return features, np.column_stack([features[:, 0] > 0, features[:, 1] * features[:, 2], rng.random(N_TASKS)]).astype(float)


@pytest.fixture(scope="module")
def forest(rows):
    return Forest().fit(*rows, cluster=np.arange(N_TASKS), min_leaf=MIN_LEAF)


@pytest.fixture(scope="module")
def fresh():
    return np.random.default_rng(1).normal(size=(200, N_FEATURES))


def test_the_arrays_predict_what_scikit_learns_trees_predict(rows, forest, fresh):
    features, target = rows
    common = target.mean(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    total = np.zeros((len(fresh), N_STRATEGIES))
    for number in range(N_TREES):
        drawn = np.bincount(rng.integers(0, N_TASKS, N_TASKS), minlength=N_TASKS)
        tree = ExtraTreeRegressor(max_depth=MAX_DEPTH, min_samples_leaf=MIN_LEAF, max_features=0.8, random_state=number)
        total += tree.fit(features, target - common / 2, sample_weight=drawn).predict(fresh)
    halved = total / N_TREES
    assert forest.predict(fresh) == pytest.approx(halved + halved.mean(axis=1, keepdims=True), abs=1e-5)  # single precision


def test_out_of_bag_predictions_do_not_know_their_cluster():
    cluster = np.arange(N_TASKS) // 8
    rng = np.random.default_rng(2)
    naming = rng.normal(size=(N_TASKS // 8, N_FEATURES))[cluster]  # features that tell one cluster from another
    secret = rng.random(N_TASKS // 8)[cluster]
    target = np.repeat(secret[:, None], N_STRATEGIES, axis=1)

    def told(clusters):
        seen = Forest().fit(naming, target, cluster=clusters, min_leaf=MIN_LEAF).out_of_bag_[:, 0]
        return np.corrcoef(seen, secret)[0, 1]

    assert told(np.arange(N_TASKS)) > 0.9
    assert told(cluster) < 0.5


def test_trees_that_only_judge_change_nothing_of_those_that_serve(rows, forest):
    alone = Forest().fit(*rows, cluster=np.arange(N_TASKS), min_leaf=MIN_LEAF, n_grown=N_TREES)
    assert all((array == forest.arrays()[name]).all() for name, array in alone.arrays().items())


def test_one_row_is_predicted_as_it_is_among_many(forest, fresh):
    many = forest.predict(fresh)
    assert all((forest.predict(fresh[row : row + 1])[0] == many[row]).all() for row in range(50))


def test_out_of_bag_predictions_do_not_see_the_noise_that_they_predict(rows, forest):
    features, target = rows
    noise = target[:, 2] - target[:, 2].mean()
    error = np.sqrt((forest.out_of_bag_[:, 2] - target[:, 2].mean()) ** 2 @ noise**2)
    assert forest.predict(features)[:, 2] @ noise > 4 * error
    assert forest.out_of_bag_[:, 2] @ noise < 4 * error


def test_a_forest_comes_back_from_its_arrays(forest, fresh):
    again = Forest.from_arrays(forest.arrays(), n_features=N_FEATURES, n_strategies=N_STRATEGIES)
    assert (again.predict(fresh) == forest.predict(fresh)).all()


@pytest.mark.parametrize(("name", "number"), [("root", -1), ("root", 10**6), ("feature", 7), ("feature", -1), ("left", 10**6)])
def test_a_node_that_points_outside_of_the_forest_is_refused(forest, name, number):
    arrays = {key: array.copy() for key, array in forest.arrays().items()}
    arrays[name][0] = number
    with pytest.raises(ValueError, match=f"forest.{name} points outside"):
        Forest.from_arrays(arrays, n_features=N_FEATURES, n_strategies=N_STRATEGIES)


def test_a_sister_that_stands_after_the_last_node_is_refused(forest):
    arrays = {key: array.copy() for key, array in forest.arrays().items()}
    arrays["left"][0] = arrays["left"].size - 1
    with pytest.raises(ValueError, match=r"forest\.left points outside"):
        Forest.from_arrays(arrays, n_features=N_FEATURES, n_strategies=N_STRATEGIES)


def test_a_forest_of_other_features_or_strategies_is_refused(forest):
    for expected in ({"n_features": 2, "n_strategies": N_STRATEGIES}, {"n_features": N_FEATURES, "n_strategies": 2}):
        with pytest.raises(ValueError, match="forest"):
            Forest.from_arrays(forest.arrays(), **expected)


def test_even_a_circle_of_nodes_is_left_after_as_many_steps_as_a_tree_is_deep(forest, fresh):
    arrays = {key: array.copy() for key, array in forest.arrays().items()}
    arrays["left"][:] = 0
    astray = Forest.from_arrays(arrays, n_features=N_FEATURES, n_strategies=N_STRATEGIES)
    assert np.isfinite(astray.predict(fresh)).all()
