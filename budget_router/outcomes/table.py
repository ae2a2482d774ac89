"""The outcome table: what logged decisions tell of every strategy's accuracy and cost on their tasks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.menu import Menu
from budget_router.outcomes.vote_accuracy import vote_accuracy
from budget_router.records import LoggedDecision, Outcome, Settlement


@dataclass(frozen=True)
class OutcomeTable:
    """One row per settled decision, one column per strategy of the menu; NaN where a row tells nothing.

    A graded bundle of k samples fills the cells of all strategies that draw alike and no more of them: it prices every smaller
    vote. So a cell is observed with the summed propensity of all strategies whose bundle would have revealed it.
    """

    menu: Menu
    unit: Unit
    texts: tuple[str, ...] | None
    """(n,) text of each row's task; `None` when one of them was not kept."""
    structure: FloatArray
    """(n, n_structural_features) of each row's task."""
    task_ids: tuple[str, ...]
    """(n,) rows of one id are about one task: they stay on one side of any split."""
    accuracy: FloatArray
    """(n, n_strategies) observed score in [0, 1], NaN where unobserved."""
    standard_error: FloatArray
    """(n, n_strategies) of the score as an estimate of the strategy's expected score on this task; NaN where unobserved."""
    observed_prob: FloatArray
    """(n, n_strategies) probability that the cell was revealed, under the policy that logged it."""
    cost: FloatArray
    """(n, n_strategies) cost in the budget's unit, scaled from what was billed; NaN where unobserved."""
    is_forced: NDArray[np.bool_]
    """(n,) whether the caller chose the strategy: such a row is learned from, and left out of off-policy estimates."""

    @property
    def is_observed(self) -> NDArray[np.bool_]:
        """(n, n_strategies) whether a cell's accuracy is known."""
        return ~np.isnan(self.accuracy)

    @classmethod
    def from_log(cls, logged: Iterable[LoggedDecision], menu: Menu, *, unit: Unit) -> Self:
        """Build the table from settled decisions, forced ones too.

        A decision under an older menu contributes where its strategy still draws like one of today's. Raises NotEnoughEvidence
        when no decision is left.
        """
        rows = [row for entry in logged if (row := _row(entry, menu, unit)) is not None]
        if not rows:
            raise NotEnoughEvidence("the log holds no settled decision with a strategy of this menu: serve and settle some first")
        texts, structure, ids, *cells = zip(*rows, strict=True)
        accuracy, error, prob, cost, is_forced = map(np.array, cells)
        return cls(menu, unit, None if None in texts else texts, np.array(structure), ids, accuracy, error, prob, cost, is_forced)

    def by_task(self) -> Self:
        """One row per task: cells averaged by their precision, costs plainly; `observed_prob` of seeing a cell at least once."""
        _, first, task = np.unique(np.array(self.task_ids), return_index=True, return_inverse=True)
        n_tasks = len(first)

        def total(cells: FloatArray) -> FloatArray:
            sums = np.zeros((n_tasks, len(self.menu)))
            np.add.at(sums, task, np.nan_to_num(cells))
            return sums

        precision = np.where(self.is_observed, 1 / np.square(self.standard_error), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is an unobserved cell: NaN, as it should be
            accuracy = total(precision * np.nan_to_num(self.accuracy)) / total(precision)
            error = np.where(np.isnan(accuracy), np.nan, np.sqrt(1 / total(precision)))
            cost = total(self.cost) / total(np.where(np.isnan(self.cost), 0.0, 1.0))
            unseen = np.exp(total(np.log1p(-np.minimum(self.observed_prob, 1 - 1e-12))))
        return replace(self.rows(first), accuracy=accuracy, standard_error=error, observed_prob=1 - unseen, cost=cost)

    def rows(self, chosen: IntArray) -> Self:
        """The table of some of its rows."""
        return replace(
            self,
            texts=None if self.texts is None else tuple(self.texts[row] for row in chosen),
            structure=self.structure[chosen],
            task_ids=tuple(self.task_ids[row] for row in chosen),
            accuracy=self.accuracy[chosen],
            standard_error=self.standard_error[chosen],
            observed_prob=self.observed_prob[chosen],
            cost=self.cost[chosen],
            is_forced=self.is_forced[chosen],
        )


_Row = tuple[str | None, tuple[float, ...], str, FloatArray, FloatArray, FloatArray, FloatArray, bool]


def _row(entry: LoggedDecision, menu: Menu, unit: Unit) -> _Row | None:
    decision, settlement = entry.decision, entry.settlement
    revealed = menu.priced_by(decision.strategy)
    structure = _structure(entry)
    if settlement is None or not revealed or structure is None:
        return None
    spent = settlement.spend.in_unit(unit)
    n_drawn = decision.strategy.n_samples
    accuracy, error, cost = (np.full(len(menu), np.nan) for _ in range(3))
    for action in revealed:
        n_samples = menu.root[action].n_samples
        # seconds do not add up: samples run side by side
        cost[action] = spent if unit == "seconds" else spent * n_samples / n_drawn
        if entry.outcome is not None and settlement.status == "ok":
            accuracy[action], n_votes = _score(settlement, entry.outcome, n_samples, n_drawn)
            error[action] = _standard_error(accuracy[action], n_votes)
    prob = _observed_prob(entry, menu)
    return entry.task_text, structure, decision.task_id, accuracy, error, prob, cost, decision.reason == "forced"


def _structure(entry: LoggedDecision) -> tuple[float, ...] | None:
    """Of the text where it was kept, else as it was logged; `None` where that was by another version of the features."""
    if entry.task_text is not None:
        return structural_features(entry.task_text)
    known, is_current = entry.decision.features, entry.decision.features_version == STRUCTURE_VERSION
    return known if is_current and len(known) == len(STRUCTURE_NAMES) else None


def _score(settlement: Settlement, outcome: Outcome, n_samples: int, n_drawn: int) -> tuple[float, float]:
    """Score of a vote of `n_samples`, and how many independent votes speak for it."""
    answers = [sample.answer_key for sample in settlement.samples]
    if answers and not any(answers):  # nothing to vote on: the first reply stands, whatever the number of samples
        return outcome.score, 1.0
    if all(answer is None or answer in outcome.answer_scores for answer in answers) and n_samples <= len(answers):
        return vote_accuracy(answers, outcome.answer_scores, n_samples), len(answers) / n_samples
    return (outcome.score, 1.0) if n_samples == n_drawn else (math.nan, math.nan)


def _standard_error(score: float, n_votes: float) -> float:
    """Binomial error of a mean of `n_votes` votes, half a vote of either kind added, so that one vote is never certain."""
    shrunk = (score * n_votes + 0.5) / (n_votes + 1)
    return math.sqrt(shrunk * (1 - shrunk) / n_votes)


def _observed_prob(entry: LoggedDecision, menu: Menu) -> FloatArray:
    prob = np.zeros(len(menu))
    for strategy in entry.menu:
        prob[menu.priced_by(strategy)] += entry.decision.propensities.get(strategy.name, 0.0)
    return np.minimum(prob, 1.0)
