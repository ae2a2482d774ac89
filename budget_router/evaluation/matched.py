"""Comparisons at matched spend, where every strategy's outcome is known on every task."""

from collections.abc import Sequence

from budget_router.allocation import FloatArray, frontier, solve


def mix_at_spend(accuracy: FloatArray, cost: FloatArray, spend: float) -> float:
    """Accuracy of the best static mix of strategies at a spend: the upper hull of their means on these very tasks.

    The hull is drawn with hindsight, which favours the mix. Below the cheapest strategy it is that strategy's accuracy.

    Args:
        accuracy: (n_tasks, n_strategies).
        cost: (n_tasks, n_strategies).
        spend: mean cost per task to be matched.
    """
    hull = frontier(accuracy.mean(axis=0, keepdims=True), cost.mean(axis=0, keepdims=True))
    return hull.at(max(spend, float(hull.spend[0]))).accuracy


def honest_oracle(solved: Sequence[FloatArray], scored: Sequence[FloatArray], budget: float) -> tuple[float, float]:
    """Spend and accuracy of an oracle that is solved on one half of the samples and scored on the other.

    An oracle solved and scored on the same samples flatters itself: it picks what was lucky.

    Args:
        solved: accuracy and cost, each (n_tasks, n_strategies), from one half of each task's samples.
        scored: the same from the other half.
        budget: mean cost per task.
    """
    known_accuracy, known_cost = solved
    actions = solve(known_accuracy, known_cost, budget).actions  # not the argmax at its price: alike tasks would all stay cheap
    accuracy, cost = scored
    rows = range(len(actions))
    return float(cost[rows, actions].mean()), float(accuracy[rows, actions].mean())
