"""Learn again from what was logged: read, tabulate, solve, learn, judge, save; promoting is a step of its own."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from budget_router.allocation import Allocation
from budget_router.budget import Budget, Unit
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.evaluation import Gate, Judgement, OffPolicyEstimate, Verdict
from budget_router.evaluation.judgement import STATIC_MIX
from budget_router.evidence import Evidence, Part
from budget_router.judging import serving
from budget_router.leases import LEASE_SECONDS, Lease
from budget_router.ledger import InParts, Ledger, Registry
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.outcomes.on_dask import Client, sharded
from budget_router.policies import OracleImitator, ValuePolicy, save_policy
from budget_router.policies.artifact import record_of
from budget_router.policies.learned import LearnedPolicy
from budget_router.records import Solve
from budget_router.reports import GainsResult
from budget_router.training import Log, LogHere
from budget_router.training_on_dask import LogAfar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

LEARNERS: dict[str, type[LearnedPolicy]] = {"value": ValuePolicy, "imitator": OracleImitator}

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much; `None` where that is not known beforehand."""
_PER_PART = 50_000
"""Decisions that a worker reads at once."""
_TOLD_EVERY = 1_000
"""Decisions between two reports of how many were read."""


@dataclass(frozen=True)
class Refresh:
    """A candidate policy and what speaks for it."""

    policy: LearnedPolicy
    version: str
    budget: Budget
    n_decisions: int
    """That were read and count; with a half-life, what was kept of them."""
    n_tasks: int
    n_graded: dict[str, int]
    """Tasks on which each strategy was graded, the smaller votes that a bundle prices included."""
    n_weak: dict[str, int]
    """Tasks on which agreement alone speaks for a strategy; all 0 unless weak labels were asked for."""
    weak_doubts: tuple[str, ...]
    """Why weak labels that were asked for were not given: found, limit, mend."""
    allocation: Allocation
    """The solve on the completed table: the shadow price of the budget on what was logged."""
    judgement: Judgement
    """Estimates on decisions held out from the candidate: its accuracy, its gain over the policy that serves, its spend."""
    verdict: Verdict
    """Whether the gate lets it serve, and why."""
    registry: Registry

    @property
    def accuracy(self) -> OffPolicyEstimate:
        """Of the candidate at the budget; says why where the log tells too little."""
        return self.judgement.accuracy

    @property
    def gain(self) -> OffPolicyEstimate:
        """In accuracy over the policy that serves; over the best static mix at the same expected spend where none does."""
        return self.judgement.gain

    @property
    def spend(self) -> OffPolicyEstimate:
        """Per task, in the budget's unit."""
        return self.judgement.spend

    @property
    def gains(self) -> GainsResult:
        """Over what serves, over the best static mix, and on each group's tasks."""
        judgement = self.judgement
        over = {judgement.incumbent: judgement.gain, STATIC_MIX: judgement.gain_over_mix}
        rivals = ((f"over {name}", gain) for name, gain in over.items())
        groups = ((f"on {name}", gain) for name, gain in judgement.groups.items())
        return GainsResult((*rivals, *groups))

    def frame(self) -> "DataFrame":
        """One row per gain; see `GainsResult`."""
        return self.gains.frame()

    def plot(self) -> "Figure":
        """Draw the gains with their intervals; `report` draws all else that speaks for a policy."""
        return self.gains.plot()

    def promote(self, *, share: float = 1.0) -> None:
        """Let this policy serve, whatever the verdict; routers of the same menu pick it up within seconds.

        Args:
            share: of the threads, below 1 as a canary beside the policy that serves: see `check_rollout`.
        """
        self.registry.promote(self.version, share=share)


def refresh(
    ledger: Ledger,
    *,
    menu: Menu,
    budget: Budget,
    learner: str = "value",
    columns: Collection[str] | None = None,
    weak_labels: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    half_life: timedelta | None = None,
    later_share: float | None = None,
    gate: Gate | None = None,
    seed: int = 0,
    lease_seconds: float = LEASE_SECONDS,
    progress: Progress | None = None,
    client: Client | None = None,
) -> Refresh:
    """Learn a policy from a ledger, judge it, and save it as a candidate; `promote` is called on the result.

    One works at a time on a menu, of all who share the ledger. What was solved is recorded: see `ledger.solves`.

    Args:
        ledger: its decisions are read, and its registry keeps the candidate.
        menu: strategies to choose from; decisions under older menus count where their strategies draw alike.
        budget: at which the table is solved and the candidate is judged; the policy serves every other budget too.
        learner: `value` or `imitator`.
        columns: names of the tasks' metadata to learn from; all of it when not given, none of it when empty.
        weak_labels: learn from ungraded votes as well, by how far their samples agree; estimates rest on grades alone.
        since: first moment of the window.
        until: end of the window.
        half_life: age at which a decision counts half, in all that is learned, solved and estimated; all count alike when not
            given. See `budget_router.outcomes.recent`.
        later_share: of the decisions, the latest, that judge the candidate and do not train it; when not given, all train, and
            each task is judged by a policy and a price that were fitted on the others.
        gate: that the candidate has to pass; with its defaults when not given. Every candidate is saved with its verdict.
        seed: of the folds.
        lease_seconds: after which the next one may take over from one that was killed.
        progress: told how far it is.
        client: of Dask workers, which read the log, keep its rows, and do all that is done row by row; what comes of it is the
            same. See `budget_router.training_on_dask`.

    Raises:
        InvalidInput: workers cannot read this kind of ledger.
        NotEnoughEvidence: the window holds too few graded tasks of some strategy.
        LeaseHeld: another refresh of this menu is at work.
        LeaseLost: another took over while this process was paused; nothing was saved.
    """
    if learner not in LEARNERS:
        raise InvalidInput(f"no learner {learner!r}: there are {', '.join(LEARNERS)}")
    if later_share is not None and not 0 < later_share < 1:
        raise InvalidInput(f"later_share is {later_share:g}: a share of the decisions lies between 0 and 1, such as 0.3")
    with ledger.leases.hold(f"refresh {menu.hash}", seconds=lease_seconds) as lease:
        return _refreshed(
            ledger,
            lease,
            menu=menu,
            budget=budget,
            learner=learner,
            columns=columns,
            weak_labels=weak_labels,
            since=since,
            until=until,
            half_life=half_life,
            later_share=later_share,
            gate=Gate() if gate is None else gate,
            seed=seed,
            progress=_unheard if progress is None else progress,
            client=client,
        )


def train(
    log: Ledger,
    folder: str | Path,
    *,
    menu: Menu,
    budget: Budget,
    learner: str = "value",
    seed: int = 0,
    progress: Progress | None = None,
) -> Refresh:
    """Learn a policy from a log that nobody serves from, and write it to a folder, which `load_policy` reads.

    Args:
        log: that `record` or a router wrote, or that was exported.
        folder: that the policy goes to; see `save_policy`.
        menu: as `refresh` takes it, as all that follows.
        budget: at which it is solved and judged.
        learner: `value` or `imitator`.
        seed: of the folds.
        progress: told how far it is.

    Raises:
        NotEnoughEvidence: as `refresh` raises it.
    """
    result = refresh(log, menu=menu, budget=budget, learner=learner, seed=seed, progress=progress)
    save_policy(result.policy, folder)
    return result


def _refreshed(
    ledger: Ledger,
    lease: Lease,
    *,
    menu: Menu,
    budget: Budget,
    learner: str,
    columns: Collection[str] | None,
    weak_labels: bool,
    since: datetime | None,
    until: datetime | None,
    half_life: timedelta | None,
    later_share: float | None,
    gate: Gate,
    seed: int,
    progress: Progress,
    client: Client | None,
) -> Refresh:
    log = _read(ledger, menu, budget.unit, client, progress, columns=columns, weak_labels=weak_labels, since=since, until=until)
    rng = np.random.default_rng(seed)
    if half_life is not None:
        log = log.recent(half_life, rng=rng)
    n_decisions, n_tasks, weak_doubts = log.n_decisions, log.n_tasks, log.weak_doubts
    if not log.is_graded:
        raise NotEnoughEvidence(f"none of the {n_decisions} settled decisions is graded: call router.grade first")
    progress("learning", 0, 1)
    trained, later = (log, None) if later_share is None else log.parted(later_share)
    del log
    policy, last_decided_at = LEARNERS[learner](), trained.last_decided_at
    taught = trained.fit(policy, rng=rng)
    del trained
    progress("learning", 1, 1)
    allocation, allowed_cost = taught.solved(budget)
    progress("judging", 0, 1)
    incumbent = serving(ledger.registry, menu, unit=budget.unit)
    judgement = (
        taught.cross_fitted(budget, incumbent=incumbent, rng=rng)
        if later is None
        else later.judged(policy, budget, incumbent=incumbent)
    )
    verdict = gate.judge(judgement)
    progress("judging", 1, 1)
    n_graded = taught.evidenced.n_graded
    n_weak = taught.evidenced.n_observed - n_graded
    record = record_of(
        policy,
        evidence={
            "budget": budget.model_dump(exclude_none=True),
            "learner": learner,
            "n_decisions": n_decisions,
            "n_tasks": n_tasks,
            "n_weak": dict(zip(menu.names, n_weak.tolist(), strict=True)),
            "shadow_price": allocation.lam,
            "duality_gap": allocation.duality_gap,
            **_moments(since, until, last_decided_at),
            "judgement": judgement.facts(),
            "verdict": verdict.facts(),
            "gate": gate.model_dump(mode="json"),
            "half_life_seconds": None if half_life is None else half_life.total_seconds(),
            "later_share": later_share,
            "n_trained": policy.n_trained_,
            "seed": seed,
        },
    )
    lease.check()
    ledger.registry.save(record)
    ledger.record_solve(
        Solve(
            menu_hash=menu.hash,
            policy_version=record.version,
            budget_per_task=budget.per_task,
            budget_unit=budget.unit,
            allowed_cost=allowed_cost,
            shadow_price=allocation.lam,
            duality_gap=allocation.duality_gap,
            expected_accuracy=min(allocation.accuracy, 1.0),  # a mean of ones may be rounded up
            expected_cost=allocation.spend,
            n_decisions=n_decisions,
            n_tasks=n_tasks,
            since=since,
            until=until,
        )
    )
    return Refresh(
        policy=policy,
        version=record.version,
        budget=budget,
        n_decisions=n_decisions,
        n_tasks=n_tasks,
        n_graded=dict(zip(menu.names, n_graded.tolist(), strict=True)),
        n_weak=dict(zip(menu.names, n_weak.tolist(), strict=True)),
        weak_doubts=weak_doubts,
        allocation=allocation,
        judgement=judgement,
        verdict=verdict,
        registry=ledger.registry,
    )


def _read(
    ledger: Ledger,
    menu: Menu,
    unit: Unit,
    client: Client | None,
    progress: Progress,
    *,
    columns: Collection[str] | None,
    weak_labels: bool,
    since: datetime | None,
    until: datetime | None,
) -> Log:
    """Read the window, here or by workers."""
    if client is None:
        evidence = _told(ledger.evidence(since=since, until=until), progress)
        return LogHere(OutcomeTable.from_evidence(evidence, menu, unit=unit, columns=columns, weak_labels=weak_labels))
    parts = _parts(ledger, since, until)
    log = LogAfar.of(sharded(parts, menu, unit, client, columns=columns, weak_labels=weak_labels))
    progress("reading", log.n_decisions, log.n_decisions)
    return log


def _parts(ledger: Ledger, since: datetime | None, until: datetime | None) -> Sequence[Part]:
    if not isinstance(ledger, InParts):
        raise InvalidInput(
            f"a {type(ledger).__name__} cannot be read by other processes: give a SqlLedger or a ParquetLog, or no client"
        )
    parts: Sequence[Part] = ledger.parts(_PER_PART, since=since, until=until)
    if not parts:
        raise NotEnoughEvidence("the window holds no decision: widen it, or serve some first")
    return parts


def _told(evidence: Iterable[Evidence], progress: Progress) -> Iterator[Evidence]:
    """Hand evidence on, and tell how much came."""
    n_read = 0
    for one in evidence:
        yield one
        n_read += 1
        if n_read % _TOLD_EVERY == 0:
            progress("reading", n_read, None)
    progress("reading", n_read, n_read)


def _moments(since: datetime | None, until: datetime | None, last: datetime | None) -> dict[str, str | None]:
    """The window, and the last decision in it that trained: what came later may judge."""
    window = {"since": since, "until": until, "last_decided_at": last}
    return {name: None if moment is None else moment.astimezone(UTC).isoformat() for name, moment in window.items()}


def _unheard(what: str, done: int, total: int | None) -> None:
    """For whom nobody listens to."""
