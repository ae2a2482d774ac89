"""Why a task got its strategy: what was weighed then, what the draw did, what would have changed it, and what came of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.errors import ArtifactError
from budget_router.features import Tasks
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.frames import frame
from budget_router.ledger import Ledger
from budget_router.policies.artifact import policy_from
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Prediction
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.pricing import PriceCurve
from budget_router.records import Decision, LoggedDecision, Spend
from budget_router.reports.weighing import Weighing, Weight, draw_weighing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LATEST = "latest"
"""In place of an id: the decision that was made last."""
_SAME = 1e-6
"""Relative difference up to which a prediction made again is the one that was recorded."""


class Weighed(NamedTuple):
    """A strategy as it was weighed for the task."""

    strategy: str
    propensity: float
    cost: float | None
    """Expected, in the budget's unit; `None` where the record does not tell and no policy could be asked again."""
    accuracy: float | None
    """Expected; `None` likewise, and where the policy had no opinion."""
    score: float | None
    """What the price was weighed against; the policy's expected accuracy, or an imitator's preference."""
    value: float | None
    """`score - shadow_price · cost`: the highest one is what the price picks."""
    is_executed: bool


class Turn(NamedTuple):
    """A price at which another strategy would have been picked for the task."""

    strategy: str
    shadow_price: float
    budget: float | None
    """Average per task at which the policy takes that price; `None` where no budget leads there."""


@dataclass(frozen=True)
class Explanation:
    """One decision, made plain."""

    entry: LoggedDecision
    """All that the ledger knows of it."""
    strategies: tuple[Weighed, ...]
    """In the menu's order."""
    picked: str | None
    """What the price alone picks; `None` where scores are not known."""
    cheaper: Turn | None
    """The next higher price that picks another strategy, a cheaper one; `None` where there is none or scores are not known."""
    dearer: Turn | None
    """The next lower price that picks another strategy, a dearer one."""
    doubt: str
    """Why the policy was not asked again, or what its answer lacks; empty where all is as it was."""

    @property
    def decision(self) -> Decision:
        """The decision itself."""
        return self.entry.decision

    @property
    def sentences(self) -> list[str]:
        """The whole story in plain words."""
        return [*_made(self), *_drawn(self), *_turned(self), *_came_of_it(self)]

    def frame(self) -> "DataFrame":
        """One row per strategy, as it was weighed."""
        return frame({name: [getattr(one, name) for one in self.strategies] for name in Weighed._fields})

    def plot(self) -> "Figure":
        """Draw how likely each strategy was, and what each was worth at the price; see `budget_router.reports.weighing`.

        Raises:
            ImportError: matplotlib is not installed.
        """
        weights = [Weight(one.strategy, one.propensity, one.cost, one.score, one.is_executed) for one in self.strategies]
        return draw_weighing(Weighing(weights, self.decision.shadow_price, self.picked, _unit(self.decision)))


def explain(ledger: Ledger, decision_id: str = LATEST) -> Explanation:
    """Tell why a task got its strategy, by what was recorded and by asking the policy that decided once more.

    Args:
        ledger: that holds the decision, and the policy that made it.
        decision_id: `latest` for the one that was made last.

    Raises:
        UnknownDecision: no decision has this id.
    """
    entry = ledger.latest() if decision_id == LATEST else ledger.decision(decision_id)
    decision = entry.decision
    policy, doubt = _policy(ledger, entry)
    if policy is None:
        return Explanation(entry, tuple(_weighed(entry, None)), None, None, None, doubt)
    prediction, doubt = _predicted(policy, entry)
    strategies = tuple(_weighed(entry, prediction))
    asked = _Asked(entry.menu.names, policy.curve_, prediction.score[0], prediction.cost[0])
    picked = int(np.argmax(asked.score - decision.shadow_price * asked.cost))
    cheaper, dearer = asked.turn(picked, sign=1), asked.turn(picked, sign=-1)
    return Explanation(entry, strategies, entry.menu.names[picked], cheaper, dearer, doubt)


class _Asked(NamedTuple):
    """What the policy answered."""

    names: tuple[str, ...]
    curve: PriceCurve
    score: FloatArray
    """(n_strategies,)"""
    cost: FloatArray
    """(n_strategies,)"""

    def turn(self, picked: int, *, sign: int) -> Turn | None:
        """The nearest price above (`sign` 1) or below (-1) at which another strategy is worth as much as the picked one.

        Two are worth the same at `λ = (score_j - score_k) / (cost_j - cost_k)`; a higher price favours the cheaper one.
        """
        rivals = np.flatnonzero((self.cost - self.cost[picked]) * sign < 0)
        if not rivals.size:
            return None
        prices = (self.score[rivals] - self.score[picked]) / (self.cost[rivals] - self.cost[picked])
        nearest = int((prices * sign).argmin())
        price = float(prices[nearest])
        if price < 0:
            return None
        is_met = self.curve.price[-1] <= price <= self.curve.price[0]
        budget = float(np.interp(price, self.curve.price[::-1], self.curve.spend[::-1])) if is_met else None
        return Turn(self.names[int(rivals[nearest])], price, budget)


def _policy(ledger: Ledger, entry: LoggedDecision) -> tuple[LearnedPolicy | None, str]:
    """The policy that decided, or why it cannot be asked again."""
    version = entry.decision.policy_version
    if version == ColdStart.version:
        return None, ""
    try:
        return policy_from(ledger.registry.load(version), entry.menu, unit=entry.decision.budget.unit), ""
    except ArtifactError as error:
        return None, f"policy {version!r} cannot be asked again: {error}"


def _predicted(policy: LearnedPolicy, entry: LoggedDecision) -> tuple[Prediction, str]:
    """What the policy expects of every strategy on the task, and what stands against it."""
    decision = entry.decision
    structure, text = decision.features, entry.task_text if entry.task_text is not None else entry.task_ngrams
    is_told = decision.features_version == STRUCTURE_VERSION and len(structure) == len(STRUCTURE_NAMES)
    if not is_told:
        structure = structural_features(entry.task_text or "")
    prediction = policy.predict_known(Tasks(np.array([structure]), None if text is None else [text], [entry.metadata]))
    if decision.strategy.name not in entry.menu.names:
        return prediction, ""
    cost = float(prediction.cost[0, entry.menu.action(decision.strategy.name)])
    if abs(cost - decision.expected_cost) <= _SAME * max(cost, decision.expected_cost):
        return prediction, ""
    lost = "" if text is not None else ", for the task's text was not kept, or was erased"
    return prediction, (
        f"asked again, the policy expects {decision.strategy.name} to cost {cost:.4g}, and the record says "
        f"{decision.expected_cost:.4g}{lost}: take the other figures for near ones"
    )


def _weighed(entry: LoggedDecision, prediction: Prediction | None) -> Iterator[Weighed]:
    decision = entry.decision
    for place, strategy in enumerate(entry.menu):
        is_executed = strategy.name == decision.strategy.name
        propensity = decision.propensities.get(strategy.name, 0.0)
        if prediction is None:
            cost, accuracy = (decision.expected_cost, decision.expected_accuracy) if is_executed else (None, None)
            yield Weighed(strategy.name, propensity, cost, accuracy, None, None, is_executed)
            continue
        cost, score = float(prediction.cost[0, place]), float(prediction.score[0, place])
        expected = None if prediction.accuracy is None else float(prediction.accuracy[0, place])
        value = score - decision.shadow_price * cost
        yield Weighed(strategy.name, propensity, cost, expected, score, value, is_executed)


def _made(told: Explanation) -> Iterator[str]:
    decision, name, lam = told.decision, told.decision.strategy.name, told.decision.shadow_price
    unit, each = _unit(decision), _unit(decision, n=1)
    whose = "" if decision.group is None else f" of group {decision.group!r}"
    at = f"{decision.decided_at:%Y-%m-%d at %H:%M:%S} UTC"
    yield f"Task {decision.task_id!r}{whose} got {name} on {at}, under a budget of {decision.budget}."
    if decision.policy_version == ColdStart.version:
        yield (
            "No policy had been learned yet: the cold start tries every strategy, as evenly as the budget allows, so that there "
            f"is something to learn from; {name} was expected to cost {decision.expected_cost:.4g} {unit}."
        )
        return
    price = f"a shadow price of {lam:.3g} accuracy per {each}" if lam else "no price, for the budget was not short"
    if told.picked is None:
        yield f"Policy {decision.policy_version} decided at {price}."
        return
    picked = next(one for one in told.strategies if one.strategy == told.picked)
    sum_up = f"{picked.score:.3f} - {lam:.3g} × {picked.cost:.4g} = {picked.value:.3f}" if lam else f"{picked.score:.3f}"
    yield f"Policy {decision.policy_version} weighed them at {price}; at it {told.picked} is worth most: {sum_up}."


def _drawn(told: Explanation) -> Iterator[str]:
    decision = told.decision
    name, share = decision.strategy.name, f"{100 * decision.propensity:.3g} %"
    favourite = max(decision.propensities, key=lambda one: decision.propensities[one])
    if decision.reason == "forced":
        yield f"The caller named {name}: policy and price had no say."
    elif decision.reason == "capped":
        yield f"What was drawn did not fit under the hard cap: {name} was run in its place, or with shorter answers."
    elif decision.reason == "reconsidered":
        yield f"It is a second decision: the first answers agreed too little to be accepted, so {name} was run after all."
    elif decision.propensity == decision.propensities[favourite]:
        yield f"The draw fell on {name}, which had a probability of {share}."
    else:
        likelier = f"{favourite} one of {100 * decision.propensities[favourite]:.3g} %"
        yield f"The draw explored: {name} had a probability of {share}, {likelier}; evaluation lives on such draws."


def _turned(told: Explanation) -> Iterator[str]:
    decision, unit = told.decision, _unit(told.decision)
    if decision.reason == "reconsidered":  # what the answers showed weighed in as well
        return
    for turn, way, side in ((told.cheaper, "rises", "below"), (told.dearer, "falls", "above")):
        if turn is not None:
            lam = decision.shadow_price
            times = f", {turn.shadow_price / lam:.3g} times what it was" if lam else ""
            budget = "no budget leads there" if turn.budget is None else f"at an average {side} about {turn.budget:.4g} {unit}"
            yield f"The price picks {turn.strategy} once it {way} to {turn.shadow_price:.3g}{times}: {budget}."
    if told.picked is not None and told.cheaper is None and told.dearer is None:
        yield f"No price picks another: {told.picked} is both the cheapest and the best for this task."


def _came_of_it(told: Explanation) -> Iterator[str]:
    decision, settlement, outcome = told.decision, told.entry.settlement, told.entry.outcome
    unit = _unit(decision)
    if settlement is None:
        spent = Spend.of(told.entry.calls).in_unit(decision.budget.unit)
        so_far = f"; its calls billed {spent:.4g} {unit} so far" if told.entry.calls and not math.isnan(spent) else ""
        yield f"It is not settled yet{so_far}."
    else:
        billed, n_calls = settlement.spend.in_unit(decision.budget.unit), settlement.spend.n_calls
        amount = "an unknown amount, for a model has no tariff," if math.isnan(billed) else f"{billed:.4g} {unit}"
        calls = f"{n_calls} call{'' if n_calls == 1 else 's'}"
        is_vote = settlement.agreement is not None and len(settlement.samples) > 1
        agreed = f"; {100 * (settlement.agreement or 0):.3g} % of its samples agreed" if is_vote else ""
        failed = "" if settlement.status == "ok" else ", and no answer came of it"
        yield f"It billed {amount} in {calls}, {decision.expected_cost:.4g} were expected{agreed}{failed}."
    if outcome is None:
        yield "It has not been graded."
    else:
        expected = "" if decision.expected_accuracy is None else f", {decision.expected_accuracy:.3g} was expected"
        yield f"It was graded {outcome.score:g} by {outcome.source!r}{expected}."


def _unit(decision: Decision, *, n: int = 2) -> str:
    if decision.budget.unit == "usd":
        return "USD"
    return decision.budget.unit.replace("_", " ").removesuffix("s" if n == 1 else "")
