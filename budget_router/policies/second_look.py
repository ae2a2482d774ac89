"""Decide again once the first answers are in: accept their vote, or run the dear strategy after all, under the same price.

An escalation accepts a first vote from a threshold of agreement on. Two escalations that differ in it alone, `low` and `high`,
part ways only where the agreement falls between their thresholds: so their accuracies differ by the probability of that times
what the second stage is then worth over the first vote, and their costs by the same probability times the second stage's cost.
The probability cancels out, and the predictions made before the first answer tell what to do after it.
"""

from collections import defaultdict
from typing import NamedTuple

from budget_router.allocation import FloatArray
from budget_router.menu import Escalate, Menu, Strategy


class SecondLook(NamedTuple):
    """What is to be run after a first vote."""

    then: Strategy
    cost: float
    """Expected, in the budget's unit."""
    gain: float
    """Expected accuracy over that of the first vote, given how far it agrees."""


def second_look(
    menu: Menu, first: Strategy, agreement: float, *, accuracy: FloatArray, cost: FloatArray, lam: float
) -> SecondLook | None:
    """Weigh the second stages of the menu's escalations that begin with `first`; `None` where its vote is to be accepted.

    Args:
        menu: holds `first`, escalations that begin with it, and their second stages; the more thresholds, the sharper.
        first: the vote that was drawn.
        agreement: share of all its samples that gave the winning answer; 0 where none gave one.
        accuracy: (n_strategies,) expected before the first answer.
        cost: (n_strategies,) expected before the first answer, in the budget's unit.
        lam: shadow price, accuracy per unit of cost.
    """
    column = {strategy.settings_key: place for place, strategy in reversed(list(enumerate(menu)))}
    ladders: dict[int, list[tuple[float, int]]] = defaultdict(lambda: [(0.0, column[first.settings_key])])
    for place, strategy in enumerate(menu):
        if isinstance(strategy, Escalate) and strategy.first.settings_key == first.settings_key:
            then = column.get(strategy.then.settings_key)
            if then is not None:
                ladders[then].append((strategy.agreement, place))
    looks = []
    for then, rungs in ladders.items():
        low, high = _around(sorted(rungs), agreement)
        step = float(cost[high] - cost[low])
        if step > 0:  # at the top of the ladder, where every threshold accepts, both are one
            prob = min(step / float(cost[then]), 1.0)
            looks.append(SecondLook(menu.root[then], float(cost[then]), float(accuracy[high] - accuracy[low]) / prob))
    best = max(looks, key=lambda look: look.gain - lam * look.cost, default=None)
    return best if best is not None and best.gain > lam * best.cost else None


def _around(rungs: list[tuple[float, int]], agreement: float) -> tuple[int, int]:
    """Columns of the last rung that accepts this agreement, and of the next one, which does not; the last twice if all do."""
    n_accepting = sum(threshold <= agreement for threshold, _ in rungs)
    return rungs[n_accepting - 1][1], rungs[min(n_accepting, len(rungs) - 1)][1]
