"""A refresh whose decisions workers keep: what is learned from comes home, and of all else the sums.

Every row stays with the worker that holds its task: there it is pooled, predicted, completed, solved and weighed. Home come

- samples: the tasks that are learned from, at most `MAX_TRAINED_TASKS`; predictions of those at which prices are looked for;
  where later decisions judge, those that are looked at for what is out of range;
- of every task the id of its thread, to draw whole threads; two bytes that tell what it was graded with; one for its strategy, at
  each pass of the solve, and the upgrades within the bracket;
- the facts of all decisions, once, if tasks come back with other facts; the votes, if weak labels are asked for; and where later
  decisions judge, or older ones count less, the place of each in the log.

Models are fitted at home, for they see no more than the sample. The draws are those of one process, and so is all that comes of
them, but for the last digits of sums, which are added up shard by shard.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router import shards
from budget_router.allocation import Allocation, Chunk, IntArray, solve_table
from budget_router.allocation.table import T
from budget_router.budget import Budget, Unit
from budget_router.evaluation import Judgement
from budget_router.evaluation.judgement import HeldOut
from budget_router.features.columns import Columns
from budget_router.features.ranges import WITHIN, OutOfRange
from budget_router.judging import check_parted, looked_at, trained_range
from budget_router.outcomes import OutcomeTable
from budget_router.outcomes.on_dask import Kept, Shard, Sharded, Workers
from budget_router.outcomes.recency import check_half_life
from budget_router.outcomes.rows import numbered
from budget_router.outcomes.table import MIN_CLUSTERS
from budget_router.policies.contract import Prediction, part_of
from budget_router.policies.learned import N_FOLDS, Evidenced, LearnedPolicy, check_evidence, folds_of
from budget_router.policies.pricing import Folds, PriceCurve, Prices, Taken, prices_from
from budget_router.policies.sampling import drawn_rows


class LogAfar(NamedTuple):
    """Decisions that workers keep."""

    workers: Workers
    kept: Kept
    """Of `Shard`, by rising task ids."""
    held: tuple[shards.Summary, ...]
    """By each of them."""
    unit: Unit
    """Of the costs."""
    weak_doubts: tuple[str, ...]
    """Why weak labels that were asked for were not given."""

    @classmethod
    def of(cls, log: Sharded) -> "LogAfar":
        """Take a log."""
        held = tuple(log.workers.told(shards.summary_of, log.shards))
        return cls(log.workers, log.shards, held, log.unit, log.weak_doubts)

    @property
    def n_decisions(self) -> int:
        """That count."""
        return sum(one.n_decisions for one in self.held)

    @property
    def n_tasks(self) -> int:
        """They are about."""
        return sum(one.n_tasks for one in self.held)

    @property
    def is_graded(self) -> bool:
        """Whether any of them is."""
        return any(one.is_graded for one in self.held)

    @property
    def last_decided_at(self) -> datetime | None:
        """When the last of them was made."""
        return max((one.last_decided_at for one in self.held if one.last_decided_at is not None), default=None)

    def recent(self, half_life: timedelta, *, rng: np.random.Generator) -> "LogAfar":
        """Those that are kept of them: see `budget_router.outcomes.recent`."""
        check_half_life(half_life)
        drawn = rng.random(self.n_decisions)
        places = self.workers.told(shards.place_of, self.kept)
        return self._with(shards.recent_of, [drawn[place] for place in places], latest=self.last_decided_at, half_life=half_life)

    def parted(self, later_share: float) -> "tuple[LogAfar, LogAfar]":
        """What trains, and what judges: see `budget_router.judging.parted`."""
        place = np.sort(np.concatenate(self.workers.told(shards.place_of, self.kept)))
        first = len(place) - math.ceil(later_share * len(place))
        begin = int(place[first])
        is_by_task = len(self._clusters(None, False)) < MIN_CLUSTERS
        seen = self._clusters(begin, is_by_task)
        later = self._with(shards.later_of, begin=begin, is_by_task=is_by_task, seen=self.workers.sent(seen))
        check_parted(len(place), first, later.n_decisions)
        return self._with(shards.earlier_of, before=begin), later

    def fit(self, policy: LearnedPolicy, *, rng: np.random.Generator) -> "TaughtAfar":
        """Let a policy learn from them: see `LearnedPolicy.fit`."""
        workers = self.workers
        pooled = workers.keep(shards.pool, self.kept, columns=workers.sent(self._columns()))
        evidenced = workers.summed(shards.evidence_in, pooled)
        check_evidence(evidenced, self.unit)
        tasks = _Tasks.of(workers, pooled)
        by_rarity = np.argsort(evidenced.n_observed, kind="stable")
        rarities = np.concatenate(workers.told(shards.rarest_in, pooled, by_rarity=by_rarity))
        trained = drawn_rows(rarities, tasks.cluster, len(by_rarity), rng)
        fold = folds_of(tasks.cluster, rng)
        within = tasks.within(trained)
        known = OutcomeTable.joined([part for part in workers.told(shards.tasks_in, pooled, within) if len(part)])
        lesson = policy.learn(known, fold[trained])
        parts = tasks.parts(trained)
        held_out, served = ([workers.sent(part_of(one, part)) for part in parts] for one in (lesson.held_out, lesson.served))
        told = workers.keep(
            shards.tell, pooled, within, tasks.each(fold), held_out, served, forecast=workers.sent(lesson.forecast)
        )
        taught = TaughtAfar(workers, policy, tasks, evidenced, pooled, told)
        (policy.curve_,) = taught.curves(np.full(len(fold), -1), 1, is_own=True)
        return taught

    def judged(self, policy: LearnedPolicy, budget: Budget, *, incumbent: LearnedPolicy | None) -> Judgement:
        """Judge a policy that learned from earlier decisions."""
        chosen = looked_at(np.sort(np.concatenate(self.workers.told(shards.graded_place_of, self.kept))))
        seen = [part for part in self.workers.told(shards.decisions_at, self.kept, places=self.workers.sent(chosen)) if len(part)]
        out_of_range = policy.out_of_range(OutcomeTable.joined(seen), np.arange(len(chosen))) if seen else WITHIN
        trials = self.workers.keep(shards.later, self.kept, policy=self.workers.sent(policy), budget=budget.per_task)
        return _judged(self.workers, trials, budget, incumbent, held_out="later", out_of_range=out_of_range)

    def _with(self, work: Callable[..., Shard], *given: Sequence[Any], **to_all: Any) -> "LogAfar":
        """Some of the decisions; shards of which none is left are left out."""
        kept = self.workers.keep(work, self.kept, *given, **to_all)
        held = zip(kept, self.workers.told(shards.summary_of, kept), strict=True)
        left = [(shard, summary) for shard, summary in held if summary.n_decisions]
        return self._replace(kept=[shard for shard, _ in left], held=tuple(summary for _, summary in left))

    def _clusters(self, before: int | None, is_by_task: bool) -> set[str]:
        return set(chain.from_iterable(self.workers.told(shards.clusters_of, self.kept, before=before, is_by_task=is_by_task)))

    def _columns(self) -> Columns | None:
        """Facts that tell tasks apart which have one id; none where no task's facts differ."""
        if not any(one.is_told_apart for one in self.held):
            return None
        return Columns().fit(list(chain.from_iterable(self.workers.told(shards.metadata_of, self.kept))))


class _Tasks(NamedTuple):
    """Which tasks stand where, one shard after the other."""

    cluster: IntArray
    """(n_tasks,) number of each one's cluster."""
    end: IntArray
    """(n_shards,) row after the last of each shard."""

    @classmethod
    def of(cls, workers: Workers, pooled: Kept) -> "_Tasks":
        ids = workers.told(shards.cluster_ids_in, pooled)
        end = np.cumsum([len(part) for part in ids])
        shared = list(chain.from_iterable(ids))
        if len(set(shared)) < MIN_CLUSTERS:
            shared = list(chain.from_iterable(workers.told(shards.task_ids_in, pooled)))
        return cls(numbered(shared), end)

    @property
    def begin(self) -> list[int]:
        """First row of each shard."""
        return [0, *self.end[:-1].tolist()]

    def each(self, column: NDArray[Any]) -> list[NDArray[Any]]:
        """What (n_tasks,) values are of each shard."""
        return np.split(column, self.end[:-1])

    def parts(self, rows: IntArray) -> list[IntArray]:
        """Which of some rows, rising, are of each shard: their places among these."""
        return np.split(np.arange(len(rows)), np.searchsorted(rows, self.end[:-1]))

    def within(self, rows: IntArray) -> list[IntArray]:
        """Some rows, rising, as rows of their shards."""
        return [rows[part] - first for part, first in zip(self.parts(rows), self.begin, strict=True)]


class TaughtAfar(NamedTuple):
    """Decisions that workers keep, and a policy that has learned from them."""

    workers: Workers
    policy: LearnedPolicy
    tasks: _Tasks
    evidenced: Evidenced
    """How much they told of each strategy."""
    pooled: Kept
    """Of `shards.Pooled`."""
    told: Kept
    """Of `shards.Told`."""

    def curves(self, fold: Folds, n_folds: int, *, is_own: bool = False) -> list[PriceCurve]:
        """Trace price curves: see `PriceCurve.without_each`.

        Args:
            fold: (n_tasks,) of each.
            n_folds: how many.
            is_own: whether the policy is priced for serving.
        """
        within = self.tasks.within(prices_from(len(fold)))
        seen = self.workers.told(shards.predicted_at, self.told, within, is_own=is_own)
        prices = Prices.of(Prediction(*(np.concatenate([getattr(part, name) for part in seen]) for name in ("cost", "score"))))
        each = self.pooled, self.told, self.tasks.each(fold)
        picks = self.workers.told(shards.picks_of, *each, n_folds=n_folds, prices=prices, is_own=is_own)
        return PriceCurve.told(prices, [reduce(Taken.__add__, parts) for parts in zip(*picks, strict=True)])

    def solved(self, budget: Budget) -> tuple[Allocation, float]:
        """Solve the completed table, where its cells stand: see `budget_router.policies.completion`."""
        both = self.pooled, self.told
        bias = self.workers.summed(shards.misses_of, *both).bias
        prior = self.workers.summed(shards.scatter_of, *both, bias=bias).prior
        table = _CellsAfar(self, self.workers.keep(shards.complete, *both, bias=bias, prior=prior))
        cheapest = self.workers.summed(shards.cheapest_of, table.cells) / table.n_tasks
        allowed_cost = max(budget.per_task, cheapest)
        return solve_table(table, allowed_cost), allowed_cost

    def cross_fitted(self, budget: Budget, *, incumbent: LearnedPolicy | None, rng: np.random.Generator) -> Judgement:
        """Judge the policy on them, each task by a twin that did not see it."""
        fold = folds_of(self.tasks.cluster, rng)
        curves, each = self.curves(fold, N_FOLDS), (self.pooled, self.told, self.tasks.each(fold))
        trials = self.workers.keep(shards.cross_fitted, *each, curves=curves, budget=budget.per_task)
        out_of_range = trained_range(self.policy)
        return _judged(self.workers, trials, budget, incumbent, held_out="cross-fitted", out_of_range=out_of_range)


class _CellsAfar(NamedTuple):
    """A completed table that workers keep: each pass of its solve is a map and a sum."""

    taught: TaughtAfar
    cells: Kept
    """Of `shards.Completed`."""

    @property
    def n_tasks(self) -> int:
        """Rows."""
        return len(self.taught.tasks.cluster)

    @property
    def n_strategies(self) -> int:
        """Columns."""
        return len(self.taught.policy.menu)

    def map_sum(self, function: Callable[[Chunk], T], /) -> T:
        """Apply `function` where the rows are, and add up."""
        found: T = self.taught.workers.summed(shards.pass_over, self.cells, self.taught.tasks.begin, function=function)
        return found


def _judged(
    workers: Workers,
    trials: Kept,
    budget: Budget,
    incumbent: LearnedPolicy | None,
    *,
    held_out: HeldOut,
    out_of_range: OutOfRange,
) -> Judgement:
    """Estimate what trials come to: see `budget_router.judging.judged`."""
    mix = workers.summed(shards.expected_of, trials).mix()
    is_grouped = any(workers.told(shards.is_grouped, trials))
    return Judgement.weighed(
        workers.summed(shards.weigh, trials, mix=mix, budget=budget, incumbent=workers.sent(incumbent), is_grouped=is_grouped),
        budget=budget.per_task,
        unit=budget.unit,
        held_out=held_out,
        incumbent=None if incumbent is None else incumbent.version,
        out_of_range=out_of_range,
    )
