"""Where a policy stands among its baselines: frontier, regret, estimates and importance, of one judged log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, nan

import numpy as np

from budget_router.allocation import FloatArray, Frontier, IntArray, frontier, solve
from budget_router.budget import Budget
from budget_router.evaluation import Estimate, OffPolicyEstimate, Revealed, dr, imitation_regret, ips, snips
from budget_router.features import STRUCTURE_NAMES, Facts
from budget_router.placing.judging import Judged, fitted
from budget_router.policies import Mixture
from budget_router.policies.completion import completed
from budget_router.policies.learned import LearnedPolicy
from budget_router.reports import (
    Estimated,
    EstimatesResult,
    FrontierResult,
    ImportanceResult,
    Point,
    RegretPoint,
    RegretResult,
)
from budget_router.reports.importance import ALL_INPUTS
from budget_router.task import Task

N_BUDGETS = 6
"""Budgets at which the frontier is measured, besides the budget itself."""
SPAN = (0.4, 6.0)
"""Multiples of the budget between which they lie."""
MOST_COLUMNS = 12
"""Columns of metadata whose importance is asked for."""
_APART = 0.1
"""Relative distance from the budget below which another is the same."""
_N_ORACLE = 40
"""Points of the oracle's line."""


@dataclass(frozen=True)
class Placed:
    """A judged policy at a budget, beside all baselines on the same decisions."""

    judged: Judged
    budget: float
    unit: str
    """As in FrontierResult."""

    @cached_property
    def chosen(self) -> FloatArray:
        """Probabilities of the policy at the budget, of each row of `by_task`."""
        return self.judged.chosen(self.budget)[0]

    @cached_property
    def accuracy(self) -> OffPolicyEstimate:
        """Of the policy at the budget."""
        return self.judged.accuracy(self.chosen)

    @cached_property
    def spend(self) -> OffPolicyEstimate:
        """Of the policy at the budget."""
        return self.judged.spend(self.chosen)

    @cached_property
    def fixed(self) -> tuple[tuple[OffPolicyEstimate, OffPolicyEstimate], ...]:
        """Accuracy and spend of every strategy, used for all tasks."""
        each = map(self.judged.always, range(len(self.judged.by_task.menu)))
        return tuple((self.judged.accuracy(always), self.judged.spend(always)) for always in each)

    @cached_property
    def mix(self) -> FloatArray | None:
        """Probabilities, (n_strategies,), of the best static mix at the policy's spend; `None` where no strategy is placed.

        Its corners are the estimates of the fixed strategies: chosen with hindsight, which favours the mix.
        """
        known = [place for place, (accuracy, spend) in enumerate(self.fixed) if accuracy.is_conclusive and spend.is_conclusive]
        if not known or not isfinite(self.spend.value):
            return None
        accuracy = np.clip([self.fixed[place][0].value for place in known], 0.0, 1.0)
        mixture = Mixture(accuracy, np.maximum([self.fixed[place][1].value for place in known], 0.0))
        probabilities = np.zeros(len(self.fixed))
        (probabilities[known],) = mixture.choose(mixture.predict([Task("any")]), max(self.spend.value, 0.0)).probabilities
        return probabilities

    @cached_property
    def gain(self) -> OffPolicyEstimate | None:
        """Over the best static mix at the same spend."""
        if self.mix is None:
            return None
        return self.judged.accuracy(self.chosen, np.tile(self.mix, (len(self.chosen), 1)))

    @cached_property
    def completed(self) -> tuple[FloatArray, FloatArray]:
        """Accuracy and cost of every strategy on every task, as far as the log tells."""
        prediction = self.judged.prediction
        return completed(self.judged.by_task, np.asarray(prediction.accuracy), prediction.cost)

    @cached_property
    def oracle(self) -> Frontier:
        """The best that could have been done, in hindsight."""
        return frontier(*self.completed)

    @property
    def gap_closed(self) -> float:
        """Share of the way from the best static mix to the oracle in hindsight; NaN where it is not known."""
        if self.gain is None or not self.gain.is_conclusive or self.spend.value < self.oracle.spend[0]:
            return nan
        mix = self.accuracy.value - self.gain.value
        room = self.oracle.at(self.spend.value).accuracy - mix
        return self.gain.value / room if room > 0 else nan

    @cached_property
    def budgets(self) -> list[float]:
        """At which the policy is measured, rising; between what the cheapest choices cost and what the best ones do."""
        curves = [policy.curve_.spend for policy, _ in self.judged.folds]
        low = max(SPAN[0] * self.budget, *(float(curve[0]) for curve in curves))
        high = min(SPAN[1] * self.budget, *(float(curve[-1]) for curve in curves))
        steps = np.geomspace(low, high, N_BUDGETS) if high > low > 0 else np.zeros(0)
        apart = steps[np.abs(np.log(steps / self.budget)) > _APART]
        return sorted([self.budget, *apart.tolist()])

    def frontier(self, served: Point | None = None) -> FrontierResult:
        """The policy at several budgets beside every baseline; a strategy that nothing is concluded of is left out."""
        points = [
            Point(f"budget {budget:.3g}", self.judged.spend(chosen).value, self.judged.accuracy(chosen).interval)
            for budget in self.budgets
            for chosen in [self.judged.chosen(budget)[0]]
        ]
        known = [
            Point(name, spend.value, accuracy.interval)
            for name, (accuracy, spend) in zip(self.judged.by_task.menu.names, self.fixed, strict=True)
            if accuracy.is_conclusive and spend.is_conclusive
        ]
        corners: tuple[tuple[float, float], ...] = ()
        if known:
            hull = frontier(
                np.clip([[point.accuracy.value for point in known]], 0.0, 1.0),
                np.maximum([[point.spend for point in known]], 0.0),
            )
            corners = tuple(zip(hull.spend.tolist(), hull.accuracy.tolist(), strict=True))
        is_placed = self.accuracy.is_conclusive and isfinite(self.spend.value)
        here = Point("learned policy", self.spend.value, self.accuracy.interval) if is_placed else None
        return FrontierResult(
            unit=self.unit,
            budget=self.budget,
            policy=tuple(sorted((p for p in points if isfinite(p.spend) and isfinite(p.accuracy.low)), key=lambda p: p.spend)),
            operating_point=here,
            fixed=tuple(known),
            mix=corners,
            oracle=self._oracle_line([point.spend for point in (*points, *known) if isfinite(point.spend)]),
            gain=self.gain.interval if self.gain is not None and here is not None else None,
            served=served,
            is_honest=False,
        )

    def _oracle_line(self, spends: list[float]) -> tuple[tuple[float, float], ...]:
        curve = self.oracle
        low, high = max(float(curve.spend[0]), 1e-12), min(float(curve.spend[-1]), max([*spends, self.budget]))
        if not high > low:
            return ((float(curve.spend[0]), float(curve.accuracy[0])),)
        at = np.geomspace(low, high, _N_ORACLE)
        return tuple(zip(at.tolist(), np.interp(at, curve.spend, curve.accuracy).tolist(), strict=True))

    def regret(self) -> RegretResult:
        """The policy beside the oracle of the completed table, at several budgets."""
        accuracy, cost = self.completed
        points = []
        for budget in self.budgets:
            allowed = max(budget, float(cost.min(axis=1).mean()))
            best = solve(accuracy, cost, allowed)
            chosen = self.judged.chosen(budget)[0]
            one = imitation_regret(chosen, accuracy, cost, lam=best.lam, budget=allowed, oracle=best.actions)
            points.append(RegretPoint(budget, one.regret, one.regret_bound, one.imitation_accuracy, one.value_weighted_accuracy))
        return RegretResult(self.unit, self.budget, tuple(points))

    def estimates(self) -> EstimatesResult:
        """The policy by three estimators, the mix and every strategy by the doubly robust one."""
        judged = self.judged
        target, billed = (judged.of_rows(log, self.chosen) for log in (judged.scores, judged.spends))
        ours = [Estimated("learned policy", "DR", self.accuracy, self.spend, is_ours=True)]
        ours += [
            Estimated(
                "learned policy",
                name,
                estimate(judged.scores, target_prob=target),
                estimate(judged.spends, target_prob=billed),
                is_ours=True,
            )
            for name, estimate in (("SNIPS", snips), ("IPS", ips))
        ]
        if self.mix is not None:
            mix = np.tile(self.mix, (len(self.chosen), 1))
            ours.append(Estimated("best static mix", "DR", judged.accuracy(mix), judged.spend(mix)))
        fixed = zip(judged.by_task.menu.names, self.fixed, strict=True)
        return EstimatesResult(self.unit, (*ours, *(Estimated(name, "DR", *pair) for name, pair in fixed)))

    def importance(self, rng: np.random.Generator) -> ImportanceResult:
        """Shuffle each input of the policy among tasks; what is lost of accuracy less price times spend, doubly robust."""
        judged = self.judged
        chosen, price = judged.chosen(self.budget)
        prediction = judged.prediction
        net = _net(judged, price)
        predicted = judged.of_rows(net, np.asarray(prediction.accuracy) - price * prediction.cost)
        target = judged.of_rows(net, chosen)
        found = []
        for name, features in _shuffled(judged, rng):
            other, _ = judged.chosen(self.budget, judged.predicted(features))
            lost = dr(net, target_prob=target, predicted=predicted, against=judged.of_rows(net, other))
            found.append((name, lost.interval if lost.is_conclusive else Estimate(lost.value, nan, nan)))
        return ImportanceResult(tuple(sorted(found, key=lambda pair: (pair[0] != ALL_INPUTS, -pair[1].value))))


def frontier_of(policy: LearnedPolicy, budget: Budget) -> FrontierResult:
    """The frontier of a policy just fitted, each task judged by a twin that had not seen it, beside every baseline.

    Args:
        policy: fitted in this process.
        budget: that it is to serve.
    """
    unit = "USD" if budget.unit == "usd" else budget.unit.replace("_", " ")
    return Placed(fitted(policy), budget.per_task, f"{unit} per task").frontier()


def _net(judged: Judged, price: float) -> Revealed:
    """Scores less price times spend, where both are known."""
    scores = judged.scores
    return replace(scores, value=scores.value - price * judged.table.cost[scores.rows])


def _shuffled(judged: Judged, rng: np.random.Generator) -> Iterator[tuple[str, list[FloatArray]]]:
    """Features of each fold with one input shuffled among its tasks, by the input's name."""
    orders = [rng.permutation(len(rows)) for _, rows in judged.folds]
    n_structural = len(STRUCTURE_NAMES)
    yield ALL_INPUTS, _mixed_up(judged, orders, [slice(None)] * len(orders))
    words = [
        known.shape[1] - n_structural - (0 if policy.featuriser_.columns_ is None else policy.featuriser_.columns_.width)
        for (policy, _), known in zip(judged.folds, judged.features, strict=True)
    ]
    yield "form of the task", _mixed_up(judged, orders, [slice(0, n_structural)] * len(orders))
    if any(words):
        yield "words of the task", _mixed_up(judged, orders, [slice(n_structural, n_structural + width) for width in words])
    told = judged.by_task.metadata or ()
    if not any(policy.featuriser_.columns_ is not None for policy, _ in judged.folds):
        return
    n_known = Counter(name for facts in told for name in facts)
    for name, _ in n_known.most_common(MOST_COLUMNS):
        features = [
            _without(policy, known, [told[row] for row in rows], name, order)
            for (policy, rows), known, order in zip(judged.folds, judged.features, orders, strict=True)
        ]
        if any(not np.array_equal(one, known) for one, known in zip(features, judged.features, strict=True)):
            yield name, features


def _mixed_up(judged: Judged, orders: Sequence[IntArray], columns: Sequence[slice]) -> list[FloatArray]:
    found = []
    for known, order, part in zip(judged.features, orders, columns, strict=True):
        mixed = known.copy()
        mixed[:, part] = known[order, part]
        found.append(mixed)
    return found


def _without(policy: LearnedPolicy, known: FloatArray, told: Sequence[Facts], name: str, order: IntArray) -> FloatArray:
    """Features in which one column of metadata is another task's."""
    columns = policy.featuriser_.columns_
    if columns is None:
        return known
    others = [told[row] for row in order]
    facts = [
        {**{key: fact for key, fact in own.items() if key != name}, **({name: other[name]} if name in other else {})}
        for own, other in zip(told, others, strict=True)
    ]
    mixed = known.copy()
    mixed[:, -columns.width :] = columns.transform(facts)
    return mixed
