"""The outcome table: what logged decisions tell of every strategy's accuracy and cost on their tasks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.menu import Escalate, Menu
from budget_router.outcomes.bundle import Bundle
from budget_router.outcomes.stages import Stages, composed, shows_a_stage, stages_row
from budget_router.records import LoggedDecision

MIN_CLUSTERS = 10
"""Clusters below which rows are split by task: there is nothing to learn from one thread and test on another."""


@dataclass(frozen=True)
class OutcomeTable:
    """One row per settled decision, one column per strategy of the menu; NaN where a row tells nothing.

    A graded bundle of k samples fills the cells of all strategies that draw alike and no more of them: it prices every smaller
    vote, stopped early or not. An early stop or an escalation fills its own cell by what it scored, and what its guaranteed
    samples price. So a cell is observed with the summed propensity of all strategies whose bundle would have revealed it.
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
    cluster_ids: tuple[str, ...] | None = None
    """(n,) what rows share beyond their task, a thread or a passage: they stay on one side of any split; `None`: nothing."""
    stages: Stages | None = None
    """What the rows tell of the stages of escalations, for `by_task`; `None` when the menu has none."""
    doubt: FloatArray | None = None
    """(n, n_strategies) share of first votes that an escalation would not accept, whatever was executed; NaN where unknown."""

    @property
    def is_observed(self) -> NDArray[np.bool_]:
        """(n, n_strategies) whether a cell's accuracy is known."""
        return ~np.isnan(self.accuracy)

    @property
    def cluster(self) -> IntArray:
        """(n,) number of each row's cluster, from 0; of its task where there are too few clusters to part."""
        shared = () if self.cluster_ids is None else self.cluster_ids
        ids = shared if len(set(shared)) >= MIN_CLUSTERS else self.task_ids
        return np.asarray(np.unique(np.array(ids), return_inverse=True)[1])

    @classmethod
    def from_log(cls, logged: Iterable[LoggedDecision], menu: Menu, *, unit: Unit) -> Self:
        """Build the table from settled decisions, forced ones too.

        A decision under an older menu contributes where its strategy still draws like one of today's; a reconsidered one, made
        because of a task's first answers, does not. Raises NotEnoughEvidence when no decision is left.
        """
        rows = [row for entry in logged if (row := _row(entry, menu, unit)) is not None]
        if not rows:
            raise NotEnoughEvidence("the log holds no settled decision with a strategy of this menu: serve and settle some first")
        texts, structure, ids, clusters, parts, *cells = zip(*rows, strict=True)
        accuracy, error, prob, cost, is_forced = map(np.array, cells)
        kept = None if None in texts else texts
        stages = Stages.of(parts) if any(isinstance(strategy, Escalate) for strategy in menu) else None
        doubt = None if stages is None else 1 - stages.accepted
        return cls(menu, unit, kept, np.array(structure), ids, accuracy, error, prob, cost, is_forced, clusters, stages, doubt)

    def by_task(self) -> Self:
        """One row per task: cells averaged by their precision, costs plainly; `observed_prob` of seeing a cell at least once.

        An escalation that was not tried on a task is priced from its two stages where other decisions show both.
        """
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
            doubt = None if self.doubt is None else total(self.doubt) / total(np.where(np.isnan(self.doubt), 0.0, 1.0))
            unseen = np.exp(total(np.log1p(-np.minimum(self.observed_prob, 1 - 1e-12))))
        if self.stages is not None:
            other = composed(self.stages, self.observed_prob, task, n_tasks)
            is_open = np.isnan(accuracy) & ~np.isnan(other.accuracy)
            accuracy, error = np.where(is_open, other.accuracy, accuracy), np.where(is_open, other.standard_error, error)
            cost = np.where(np.isnan(cost), other.cost, cost)
            unseen = np.minimum(unseen, other.unseen_prob)
        pooled = self.rows(first)
        pooled = replace(pooled, accuracy=accuracy, standard_error=error, observed_prob=1 - unseen)
        return replace(pooled, cost=cost, doubt=doubt, stages=None)

    def rows(self, chosen: IntArray) -> Self:
        """The table of some of its rows."""
        return replace(
            self,
            texts=None if self.texts is None else tuple(self.texts[row] for row in chosen),
            structure=self.structure[chosen],
            task_ids=tuple(self.task_ids[row] for row in chosen),
            cluster_ids=None if self.cluster_ids is None else tuple(self.cluster_ids[row] for row in chosen),
            accuracy=self.accuracy[chosen],
            standard_error=self.standard_error[chosen],
            observed_prob=self.observed_prob[chosen],
            cost=self.cost[chosen],
            is_forced=self.is_forced[chosen],
            stages=None if self.stages is None else self.stages.rows(chosen),
            doubt=None if self.doubt is None else self.doubt[chosen],
        )


_Row = tuple[str | None, tuple[float, ...], str, str, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, bool]


def _row(entry: LoggedDecision, menu: Menu, unit: Unit) -> _Row | None:
    decision, settlement = entry.decision, entry.settlement
    revealed = menu.priced_by(decision.strategy)
    structure = _structure(entry)
    if settlement is None or structure is None or decision.reason == "reconsidered":
        return None
    bundle = Bundle.of(entry, settlement, unit)
    stages = stages_row(entry, menu, bundle)
    if not revealed and not shows_a_stage(stages):
        return None
    accuracy, error, cost = (np.full(len(menu), np.nan) for _ in range(3))
    for action in revealed:
        cell = bundle.cell(menu.root[action])
        accuracy[action], error[action], cost[action] = cell.accuracy, cell.standard_error, cell.cost
    prob = _observed_prob(entry, menu)
    cluster = decision.thread_id or decision.task_id
    return entry.task_text, structure, decision.task_id, cluster, stages, accuracy, error, prob, cost, decision.reason == "forced"


def _structure(entry: LoggedDecision) -> tuple[float, ...] | None:
    """Of the text where it was kept, else as it was logged; `None` where that was by another version of the features."""
    if entry.task_text is not None:
        return structural_features(entry.task_text)
    known, is_current = entry.decision.features, entry.decision.features_version == STRUCTURE_VERSION
    return known if is_current and len(known) == len(STRUCTURE_NAMES) else None


def _observed_prob(entry: LoggedDecision, menu: Menu) -> FloatArray:
    prob = np.zeros(len(menu))
    for strategy in entry.menu:
        prob[menu.priced_by(strategy)] += entry.decision.propensities.get(strategy.name, 0.0)
    return np.minimum(prob, 1.0)
