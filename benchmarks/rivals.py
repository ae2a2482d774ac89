"""What learned policies are held against: static mixes, labels, prompt length, and routers as others train them.

Each takes train and test tasks and budgets, and says for each budget how often it picks each strategy, (n_tasks, n_strategies).
`knn`, `svm` and `mlp` are trained as the LLMRouter project trains them: a classifier of the strategy that did best, whatever it
costs. The `_priced` ones predict accuracy and cost of every strategy and price them, as RouterBench's do (arXiv 2403.12031, 4).
All of them see this project's features, so that learners are compared and not featurisers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from benchmarks.recorded import Recorded
from budget_router import Task
from budget_router.allocation import FloatArray, frontier
from budget_router.features import Featuriser
from budget_router.policies.contract import Prediction
from budget_router.policies.pricing import PriceCurve
from budget_router.policies.static import Mixture

Chosen = dict[float, FloatArray]
Router = Callable[[Recorded, Recorded, Sequence[float]], Chosen]

N_COMPONENTS = 24
N_NEIGHBOURS = 30


def static_mix(train: Recorded, test: Recorded, budgets: Sequence[float]) -> Chosen:
    """The best mixture of strategies by their training means."""
    mixture = Mixture(train.accuracy.mean(axis=0), train.cost.mean(axis=0))
    tasks = [Task(text) for text in test.texts]
    return {budget: mixture.choose(mixture.predict(tasks), budget).probabilities for budget in budgets}


def group_label(train: Recorded, test: Recorded, budgets: Sequence[float]) -> Chosen:
    """The policy that is told each task's category, and knows the training means of every strategy there."""
    of_train, of_test = np.array(train.labels or ()), np.array(test.labels or ())
    means = {label: (train.accuracy[of_train == label].mean(0), train.cost[of_train == label].mean(0)) for label in set(of_train)}
    overall = train.accuracy.mean(0), train.cost.mean(0)
    accuracy = np.array([means.get(label, overall)[0] for label in of_test])
    cost = np.array([means.get(label, overall)[1] for label in of_test])
    known = np.array([means[label][0] for label in of_train]), np.array([means[label][1] for label in of_train])
    chosen = {}
    for budget in budgets:
        lam, share = frontier(*known).price(budget)
        value = accuracy - lam * cost
        ties = value >= value.max(axis=1, keepdims=True) - 1e-9
        probabilities = np.zeros(value.shape)
        rows = np.arange(len(value))
        probabilities[rows, np.where(ties, cost, np.inf).argmin(1)] += 1 - share
        probabilities[rows, np.where(ties, cost, -np.inf).argmax(1)] += share
        chosen[budget] = probabilities
    return chosen


def length_heuristic(train: Recorded, test: Recorded, budgets: Sequence[float]) -> Chosen:
    """The static mix with its dearer strategy given to the longest prompts: the paper's heuristic, at any budget."""
    of_train, of_test = (np.array([len(text) for text in one.texts]) for one in (train, test))
    cost = train.cost.mean(axis=0)
    chosen = {}
    for budget, mixed in static_mix(train, test, budgets).items():
        cheap, dear = sorted(mixed[0].argsort()[-2:], key=lambda column: float(cost[column]))
        is_long = of_test > np.quantile(of_train, 1 - mixed[0, dear])
        chosen[budget] = np.eye(len(cost))[np.where(is_long, dear, cheap)]
    return chosen


def classified(model: Any) -> Router:  # Any: sklearn ships no types
    """Train a classifier of the strategy that did best; of equals the cheapest. It spends what it spends."""

    def route(train: Recorded, test: Recorded, budgets: Sequence[float]) -> Chosen:
        known, unseen = _features(train, test)
        cheapest_first = train.cost.mean(axis=0).argsort()
        best = cheapest_first[train.accuracy[:, cheapest_first].argmax(axis=1)]
        if len(set(best)) == 1:
            picked = np.full(len(unseen), best[0])
        else:
            picked = make_pipeline(StandardScaler(), model()).fit(known, best).predict(unseen)
        return dict.fromkeys(budgets, np.eye(len(train.menu))[picked])

    return route


def priced(model: Any, *, is_scalar: bool = False) -> Router:  # Any: sklearn ships no types
    """Train regressions of accuracy and cost, and price them so that the predictions on the training tasks meet the budget."""

    def route(train: Recorded, test: Recorded, budgets: Sequence[float]) -> Chosen:
        known, unseen = _features(train, test)
        scale = train.cost.mean()

        def fit(cells: FloatArray) -> Callable[[FloatArray], FloatArray]:
            columns = np.split(cells, cells.shape[1], axis=1) if is_scalar else [cells]
            fitted = [make_pipeline(StandardScaler(), model()).fit(known, one.ravel() if is_scalar else one) for one in columns]
            return lambda features: np.column_stack([one.predict(features) for one in fitted])

        accuracy, cost = fit(train.accuracy), fit(train.cost / scale)
        predictions = [Prediction(np.maximum(cost(one), 1e-9) * scale, accuracy(one)) for one in (known, unseen)]
        curve = PriceCurve.of(predictions[0])
        return {budget: curve.choose(predictions[1], budget, floor=0.0).probabilities for budget in budgets}

    return route


ROUTERS: dict[str, Router] = {
    "static_mix": static_mix,
    "group_label": group_label,
    "length_heuristic": length_heuristic,
    "knn": classified(lambda: KNeighborsClassifier(N_NEIGHBOURS)),
    "svm": classified(SVC),
    "mlp": classified(lambda: MLPClassifier(max_iter=2000, early_stopping=True, random_state=0)),
    "knn_priced": priced(lambda: KNeighborsRegressor(N_NEIGHBOURS)),
    "svm_priced": priced(SVR, is_scalar=True),
    "mlp_priced": priced(lambda: MLPRegressor(max_iter=2000, early_stopping=True, random_state=0)),
}
"""By name; `group_label` is for sets that know a category, those after `length_heuristic` need every strategy's outcome."""


def _features(train: Recorded, test: Recorded) -> tuple[FloatArray, FloatArray]:
    table = train.full()
    featuriser = Featuriser(N_COMPONENTS).fit(table.structure, table.texts)
    return featuriser.transform_known(table.structure, table.texts), featuriser.transform(list(test.texts))
