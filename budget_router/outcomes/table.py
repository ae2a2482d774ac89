"""The outcome table: what logged decisions tell of every strategy's accuracy and cost on their tasks."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, repeat
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Unit
from budget_router.errors import NotEnoughEvidence
from budget_router.evidence import Evidence
from budget_router.features.columns import Columns, Facts
from budget_router.features.structure import Structure
from budget_router.features.tasks import Tasks
from budget_router.features.texts import Said, Texts, chosen_texts
from budget_router.menu import Escalate, Menu
from budget_router.outcomes.bundle import Bundle
from budget_router.outcomes.pooling import Unpooled, pooled, spread
from budget_router.outcomes.rows import BundleCells, Chances, Rows, numbered
from budget_router.outcomes.stages import Stages
from budget_router.outcomes.weak_labels import WeakLabels
from budget_router.records import LoggedDecision

MIN_CLUSTERS = 10
"""Clusters below which rows are split by task: there is nothing to learn from one thread and test on another."""
NOTHING_TOLD = "the log holds no settled decision with a strategy of this menu: serve and settle some first"
_LISTED = {"task_ids", "cluster_ids", "metadata", "groups"}


@dataclass(frozen=True)
class OutcomeTable:
    """One row per settled decision, one column per strategy of the menu; NaN where a row tells nothing.

    A graded bundle of k samples fills the cells of all strategies that draw alike and no more of them: it prices every smaller
    vote, stopped early or not. An early stop or an escalation fills its own cell by what it scored, and what its guaranteed
    samples price. So a cell is observed with the summed propensity of all strategies whose bundle would have revealed it.
    """

    menu: Menu
    unit: Unit
    texts: Sequence[Said] | None
    """(n,) text of each row's task, or the counts of its n-grams, none where it was erased; `None` when none was kept."""
    structure: Structure
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
    groups: tuple[str | None, ...] | None = None
    """(n,) group whose budget each row was decided under, `None` for the budget of all; `None`: not known of any."""
    decided_at: NDArray[np.datetime64] | None = None
    """(n,) when, UTC, to the microsecond; `None`: not known of any."""
    weak_doubts: tuple[str, ...] = ()
    """Why weak labels that were asked for were not given."""

    def __len__(self) -> int:
        return len(self.task_ids)

    @property
    def last_decided_at(self) -> datetime | None:
        """When the last decision was made; `None` where that is not known of any."""
        if self.decided_at is None or not len(self.decided_at):
            return None
        last: datetime = self.decided_at.max().item()
        return last.replace(tzinfo=UTC)

    @property
    def tasks(self) -> Tasks:
        """(n,) what is known of each row's task before any answer."""
        return Tasks(self.structure, self.texts, self.metadata)

    @property
    def is_observed(self) -> NDArray[np.bool_]:
        """(n, n_strategies) whether a cell's accuracy is known, be it by a weak label."""
        return ~np.isnan(self.accuracy)

    @property
    def graded(self) -> FloatArray:
        """(n, n_strategies) accuracy where it was graded, NaN elsewhere: what estimates and gates may rest on."""
        return self.accuracy if self.is_weak is None else np.where(self.is_weak, np.nan, self.accuracy)

    @cached_property
    def cluster(self) -> IntArray:
        """(n,) number of each row's cluster, from 0; of its task where there are too few clusters to part."""
        shared = () if self.cluster_ids is None else self.cluster_ids
        return numbered(shared) if len(set(shared)) >= MIN_CLUSTERS else self.task

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
        """Build the table from records, settled or not: see `from_evidence`."""
        settled = (one for entry in logged if (one := Evidence.of(entry)) is not None)
        return cls.from_evidence(settled, menu, unit=unit, columns=columns, weak_labels=weak_labels)

    @classmethod
    def from_evidence(
        cls,
        evidence: Iterable[Evidence],
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
            evidence: decisions with what came of them.
            menu: strategies to choose from, the columns of the table.
            unit: of the costs.
            columns: names of the metadata to learn from; `None`: all of it.
            weak_labels: fill cells of ungraded votes by how far their samples agree, as graded ones of the same sampling show;
                see `budget_router.outcomes.weak_labels`.

        Raises:
            NotEnoughEvidence: no decision is left.
        """
        rows = Rows.of(evidence, unit, columns)
        return cls.from_rows(rows, menu, weak=WeakLabels.fit(rows.told) if weak_labels else None)

    @classmethod
    def from_rows(cls, rows: Rows, menu: Menu, *, weak: WeakLabels | None = None) -> Self:
        """Build the table from decisions that were gathered by columns: see `from_evidence`.

        Args:
            rows: gathered decisions.
            menu: strategies to choose from.
            weak: what fills cells of ungraded votes; nothing does when not given.
        """
        cells, is_weak = _cells(rows.bundles, menu, weak)
        stages = Stages.of(rows, menu) if any(isinstance(strategy, Escalate) for strategy in menu) else None
        tells = np.array([bool(menu.priced_by(bundle.executed)) for bundle in rows.bundles], dtype=np.bool_)[rows.bundle]
        if stages is not None:
            tells |= stages.is_shown
        if not tells.any():
            raise NotEnoughEvidence(NOTHING_TOLD)
        accuracy = cells.accuracy[rows.bundle]
        table = cls(
            menu=menu,
            unit=rows.unit,
            texts=rows.texts.gathered(),
            structure=rows.structure,
            task_ids=tuple(rows.task_ids),
            accuracy=accuracy,
            standard_error=cells.standard_error[rows.bundle],
            observed_prob=np.array([_observed_prob(chances, menu) for chances in rows.chances])[rows.chance],
            cost=cells.costs(rows),
            is_forced=rows.is_forced,
            cluster_ids=tuple(rows.cluster_ids),
            stages=stages,
            doubt=None if stages is None else spread(1 - stages.accepted, stages.actions, len(menu)),
            metadata=tuple(rows.metadata),
            is_weak=None if weak is None else is_weak[rows.bundle][:, None] & ~np.isnan(accuracy),
            groups=tuple(rows.groups),
            decided_at=rows.decided_at,
            weak_doubts=weak.doubts if weak else (),
        )
        return table if tells.all() else table.rows(np.flatnonzero(tells))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of several tables of one log, one table after the other."""
        texts = Texts()
        for part in parts:
            for said in repeat(None, len(part)) if part.texts is None else part.texts:
                texts.append(said)
        first, whole = parts[0], dict[str, Any]()
        for name in (one.name for one in fields(cls)):
            columns = [getattr(part, name) for part in parts]
            if isinstance(columns[0], np.ndarray):
                whole[name] = np.concatenate(columns)
            elif name in _LISTED and columns[0] is not None:
                whole[name] = tuple(chain.from_iterable(columns))
            elif name == "stages" and columns[0] is not None:
                whole[name] = Stages.joined(columns)
        return replace(first, **whole, texts=texts.gathered())

    @cached_property
    def task(self) -> IntArray:
        """(n,) number of each row's task, from 0."""
        return numbered(self.task_ids)

    def without_stages(self) -> Self:
        """The table without what `by_task` alone asks for."""
        bare = replace(self, stages=None, doubt=None)
        vars(bare).update({name: vars(self)[name] for name in ("cluster", "task", "pool") if name in vars(self)})
        return bare

    @cached_property
    def pool(self) -> IntArray:
        """(n,) row of `by_task` that each row goes into, from 0: the same task, and the same of all facts that tell tasks apart.

        So a step that an agent takes again after other tools were called is learned from as another one.
        """
        if self.metadata is None or not len(self.told_apart):
            return self.task
        return self.pool_by(Columns().fit(self.metadata))

    @cached_property
    def told_apart(self) -> IntArray:
        """Rows of tasks whose facts are not the same in all their rows."""
        if self.metadata is None:
            return np.zeros(0, dtype=np.intp)
        first = np.unique(self.task, return_index=True)[1][self.task].tolist()
        alike = ((self.metadata[one], facts) for one, facts in zip(first, self.metadata, strict=True))
        differs = np.fromiter((one is not other and one != other for one, other in alike), np.bool_, len(first))
        return np.flatnonzero((np.bincount(self.task, weights=differs) > 0)[self.task])

    def pool_by(self, columns: Columns) -> IntArray:
        """`pool`, where it is known which facts tell tasks apart."""
        task, apart = self.task, self.told_apart
        if self.metadata is None or not len(apart):
            return task
        told = columns.transform([self.metadata[row] for row in apart.tolist()])
        kinds, kind = np.unique(np.column_stack([task[apart], told]), axis=0, return_inverse=True)
        task_of_kind = kinds[:, 0].astype(np.intp)
        n_kinds = np.maximum(np.bincount(task_of_kind, minlength=task.max() + 1), 1)
        row = (np.cumsum(n_kinds) - n_kinds)[task]
        row[apart] += kind.reshape(-1) - np.searchsorted(task_of_kind, task[apart])
        return row

    def by_task(self) -> Self:
        """One row per task: cells averaged by their precision, costs plainly; `observed_prob` of seeing a cell at least once.

        A task whose facts differ between decisions has a row for each of them, all in one cluster. An escalation that was not
        tried on a task is priced from its two stages where other decisions show both. A grade displaces weak labels of its cell,
        and several weak labels are no surer than one: they guess at the same truth.
        """
        task = self.pool
        first = np.unique(task, return_index=True)[1]
        told = pooled(
            Unpooled(
                self.menu,
                self.accuracy,
                self.standard_error,
                self.observed_prob,
                self.cost,
                self.doubt,
                self.is_weak,
                self.stages,
            ),
            task,
        )
        return replace(
            self,
            texts=chosen_texts(self.texts, first),
            structure=self.structure[first],
            task_ids=tuple(self.task_ids[row] for row in first.tolist()),
            accuracy=told.accuracy,
            standard_error=told.standard_error,
            observed_prob=told.observed_prob,
            cost=told.cost,
            is_forced=self.is_forced[first],
            cluster_ids=self._clusters_by_task(first),
            stages=None,
            doubt=None if self.doubt is None else told.doubt,
            metadata=None if self.metadata is None else tuple(self.metadata[row] for row in first.tolist()),
            is_weak=None if self.is_weak is None else told.is_weak,
            groups=None if self.groups is None else tuple(self.groups[row] for row in first.tolist()),
            decided_at=None if self.decided_at is None else self.decided_at[first],
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
            texts=chosen_texts(self.texts, chosen),
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
            groups=None if self.groups is None else tuple(self.groups[row] for row in chosen),
            decided_at=None if self.decided_at is None else self.decided_at[chosen],
        )


def _cells(bundles: Sequence[Bundle], menu: Menu, weak: WeakLabels | None) -> tuple[BundleCells, NDArray[np.bool_]]:
    """What bundles tell of the menu's strategies, and whether they tell it by agreement alone, (n_bundles,)."""
    cells, is_weak = BundleCells.empty(len(bundles), len(menu)), np.zeros(len(bundles), dtype=np.bool_)
    for place, bundle in enumerate(bundles):
        calibration = weak.of(bundle) if weak else None
        is_weak[place] = calibration is not None
        for action in menu.priced_by(bundle.executed):
            cells.put(place, action, bundle.cell(menu.root[action]))
            if calibration is not None:
                weakly = calibration.cell(bundle, menu.root[action])
                cells.accuracy[place, action], cells.standard_error[place, action] = weakly
    return cells, is_weak


def _observed_prob(chances: Chances, menu: Menu) -> FloatArray:
    prob = np.zeros(len(menu))
    for strategy in chances.menu:
        prob[menu.priced_by(strategy)] += chances.propensities.get(strategy.name, 0.0)
    return np.minimum(prob, 1.0)
