"""The outcome table: what logged decisions tell of every strategy's accuracy and cost on their tasks."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.features.columns import Columns, Facts
from budget_router.features.projection import NgramCounts
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.menu import Escalate, Menu
from budget_router.outcomes.bundle import Bundle
from budget_router.outcomes.stages import Stages, composed, shows_a_stage, stages_row
from budget_router.outcomes.weak_labels import WeakLabels
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
    texts: tuple[str | NgramCounts, ...] | None
    """(n,) text of each row's task, or the counts of its n-grams, none where it was erased; `None` when none was kept."""
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
    metadata: tuple[Facts, ...] | None = None
    """(n,) facts of each row's task to learn from; `None`: none are known."""
    is_weak: NDArray[np.bool_] | None = None
    """(n, n_strategies) whether an accuracy is what agreement makes probable, and not a grade; `None`: none is."""
    weak_doubts: tuple[str, ...] = ()
    """Why weak labels that were asked for were not given."""

    @property
    def is_observed(self) -> NDArray[np.bool_]:
        """(n, n_strategies) whether a cell's accuracy is known, be it by a weak label."""
        return ~np.isnan(self.accuracy)

    @property
    def graded(self) -> FloatArray:
        """(n, n_strategies) accuracy where it was graded, NaN elsewhere: what estimates and gates may rest on."""
        return self.accuracy if self.is_weak is None else np.where(self.is_weak, np.nan, self.accuracy)

    @property
    def cluster(self) -> IntArray:
        """(n,) number of each row's cluster, from 0; of its task where there are too few clusters to part."""
        shared = () if self.cluster_ids is None else self.cluster_ids
        ids = shared if len(set(shared)) >= MIN_CLUSTERS else self.task_ids
        return np.asarray(np.unique(np.array(ids), return_inverse=True)[1])

    @classmethod
    def from_log(
        cls,
        logged: Iterable[LoggedDecision],
        menu: Menu,
        *,
        unit: Unit,
        columns: Collection[str] | None = None,
        weak_labels: bool = False,
    ) -> Self:
        """Build the table from settled decisions, forced ones too.

        A decision under an older menu contributes where its strategy still draws like one of today's; a reconsidered one, made
        because of a task's first answers, does not.

        Args:
            logged: decisions with what came of them.
            menu: strategies to choose from, the columns of the table.
            unit: of the costs.
            columns: names of the metadata to learn from; `None`: all of it.
            weak_labels: fill cells of ungraded votes by how far their samples agree, as graded ones of the same sampling show;
                see `budget_router.outcomes.weak_labels`. Then the log is read into memory.

        Raises:
            NotEnoughEvidence: no decision is left.
        """
        weak = None
        if weak_labels:
            logged = list(logged)
            weak = WeakLabels.fit(
                (entry.decision.task_id, Bundle.of(entry, entry.settlement, unit))
                for entry in logged
                if entry.settlement is not None
            )
        rows = [row for entry in logged if (row := _row(entry, menu, unit, weak)) is not None]
        if not rows:
            raise NotEnoughEvidence("the log holds no settled decision with a strategy of this menu: serve and settle some first")
        texts, metadata, structure, ids, clusters, parts, *cells = zip(*rows, strict=True)
        accuracy, error, prob, cost, is_forced, is_weak = map(np.array, cells)
        stages = Stages.of(parts) if any(isinstance(strategy, Escalate) for strategy in menu) else None
        told = tuple({name: facts[name] for name in facts if columns is None or name in columns} for facts in metadata)
        return cls(
            menu=menu,
            unit=unit,
            texts=None if all(text is None for text in texts) else tuple({} if text is None else text for text in texts),
            structure=np.array(structure),
            task_ids=ids,
            accuracy=accuracy,
            standard_error=error,
            observed_prob=prob,
            cost=cost,
            is_forced=is_forced,
            cluster_ids=clusters,
            stages=stages,
            doubt=None if stages is None else 1 - stages.accepted,
            metadata=told,
            is_weak=is_weak[:, None] & ~np.isnan(accuracy) if weak_labels else None,
            weak_doubts=weak.doubts if weak else (),
        )

    @cached_property
    def pool(self) -> IntArray:
        """(n,) row of `by_task` that each row goes into, from 0: the same task, and the same of all facts that tell tasks apart.

        So a step that an agent takes again after other tools were called is learned from as another one.
        """
        task = np.unique(np.array(self.task_ids), return_inverse=True)[1]
        columns = Columns().fit(self.metadata or ())
        told = columns.transform(self.metadata) if self.metadata and columns.width else np.zeros((len(task), 0))
        both = np.column_stack([task, told])
        return np.asarray(np.unique(both, axis=0, return_inverse=True)[1].reshape(-1))

    def by_task(self) -> Self:
        """One row per task: cells averaged by their precision, costs plainly; `observed_prob` of seeing a cell at least once.

        A task whose facts differ between decisions has a row for each of them, all in one cluster. An escalation that was not
        tried on a task is priced from its two stages where other decisions show both. A grade displaces weak labels of its cell,
        and several weak labels are no surer than one: they guess at the same truth.
        """
        task = self.pool
        first = np.unique(task, return_index=True)[1]
        n_tasks = len(first)

        def total(cells: FloatArray | NDArray[np.bool_]) -> FloatArray:
            sums = np.zeros((n_tasks, len(self.menu)))
            np.add.at(sums, task, np.nan_to_num(cells))
            return sums

        n_graded = total(~np.isnan(self.graded))
        is_weak = (n_graded == 0) & (total(self.is_observed) > 0)
        is_counted = np.where(n_graded[task] > 0, ~np.isnan(self.graded), self.is_observed)
        precision = np.where(is_counted, 1 / np.square(self.standard_error), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is an unobserved cell: NaN, as it should be
            accuracy = total(precision * np.nan_to_num(self.accuracy)) / total(precision)
            n_alike = np.where(is_weak, total(is_counted), 1.0)
            error = np.where(np.isnan(accuracy), np.nan, np.sqrt(n_alike / total(precision)))
            cost = total(self.cost) / total(np.where(np.isnan(self.cost), 0.0, 1.0))
            doubt = None if self.doubt is None else total(self.doubt) / total(np.where(np.isnan(self.doubt), 0.0, 1.0))
            unseen = np.exp(total(np.log1p(-np.minimum(self.observed_prob, 1 - 1e-12))))
        if self.stages is not None:
            other = composed(self.stages, self.observed_prob, task, n_tasks)
            is_open = (np.isnan(accuracy) | is_weak) & ~np.isnan(other.accuracy)
            accuracy, error = np.where(is_open, other.accuracy, accuracy), np.where(is_open, other.standard_error, error)
            cost = np.where(np.isnan(cost), other.cost, cost)
            unseen = np.minimum(unseen, other.unseen_prob)
            is_weak &= ~is_open
        return replace(
            self.rows(first),
            cluster_ids=self._clusters_by_task(first),
            accuracy=accuracy,
            standard_error=error,
            observed_prob=1 - unseen,
            cost=cost,
            stages=None,
            doubt=doubt,
            is_weak=None if self.is_weak is None else is_weak,
        )

    def _clusters_by_task(self, first: IntArray) -> tuple[str, ...] | None:
        """Cluster of each pooled row, by the first row of it; all rows of a task are in one."""
        if self.cluster_ids is None:
            return None
        of_task: dict[str, str] = {}
        for row in first.tolist():
            of_task.setdefault(self.task_ids[row], self.cluster_ids[row])
        return tuple(of_task[self.task_ids[row]] for row in first.tolist())

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
            metadata=None if self.metadata is None else tuple(self.metadata[row] for row in chosen),
            is_weak=None if self.is_weak is None else self.is_weak[chosen],
        )


_Row = tuple[
    str | NgramCounts | None,
    Facts,
    tuple[float, ...],
    str,
    str,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    FloatArray,
    bool,
    bool,
]


def _row(entry: LoggedDecision, menu: Menu, unit: Unit, weak: WeakLabels | None) -> _Row | None:
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
    calibration = weak.of(bundle) if weak else None
    if calibration is not None:
        for action in revealed:
            accuracy[action], error[action] = calibration.cell(bundle, menu.root[action])
    prob = _observed_prob(entry, menu)
    cluster = decision.thread_id or decision.task_id
    text = entry.task_ngrams if entry.task_text is None else entry.task_text
    task = text, entry.metadata, structure, decision.task_id, cluster
    return *task, stages, accuracy, error, prob, cost, decision.reason in {"forced", "capped"}, calibration is not None


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
