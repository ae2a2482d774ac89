"""A ledger and its registry in plain dicts: what a router keeps its books in when nobody gave it a database.

Both are safe to share between threads. They grow with every decision and end with the process: what must outlive it belongs in
a database.
"""

import secrets
import threading
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from budget_router.caps import Caps
from budget_router.errors import ArtifactError, InvalidInput, UnknownDecision
from budget_router.evidence import Act, Evidence
from budget_router.leases import Leases
from budget_router.memory_caps import MemoryShelves
from budget_router.memory_leases import MemoryLeaseBook
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.records import Call, Decision, LoggedDecision, Outcome, PolicyRecord, Settlement, Solve, now
from budget_router.rollout import Rollout, actives
from budget_router.task import MetadataValue, Task


class _Entry(NamedTuple):
    """What is fixed once a decision stands."""

    decision: Decision
    task_text: str | None
    metadata: dict[str, MetadataValue]
    menu: Menu


class MemoryRegistry:
    """Policies in a dict, each menu's active one by its hash."""

    def __init__(self) -> None:
        self._policies: dict[str, PolicyRecord] = {}
        self._rollouts: dict[str, list[Rollout]] = defaultdict(list)
        self._lock = threading.Lock()

    def save(self, policy: PolicyRecord) -> None:
        """Keep a candidate; saving the same version again changes nothing."""
        with self._lock:
            self._policies.setdefault(policy.version, policy)

    def promote(self, version: str, *, share: float = 1.0, reason: str = "", after: Rollout | None = None) -> Rollout:
        """Make a saved version the active one of its menu or, with a share below 1, its canary."""
        return self._change(version, lambda stands: stands.promoted(version, share=share, reason=reason, after=after, at=now()))

    def shadow(self, version: str, *, reason: str = "") -> Rollout:
        """Let a saved version decide in silence."""
        return self._change(version, lambda stands: stands.shadowed(version, reason=reason, at=now()))

    def withdraw(self, version: str, *, reason: str = "") -> Rollout:
        """Let a canary or a shadow go."""
        return self._change(version, lambda stands: stands.withdrawn(version, reason=reason, at=now()))

    def rollout(self, menu_hash: str) -> Rollout:
        """Who decides the menu's tasks now."""
        return next(reversed(self._rollouts.get(menu_hash, ())), None) or Rollout(menu_hash=menu_hash)

    def rollouts(self, menu_hash: str) -> list[Rollout]:
        """All that was rolled out for a menu, oldest first."""
        return list(self._rollouts.get(menu_hash, ()))

    def active_version(self, menu_hash: str) -> str | None:
        """Version that serves the menu now, beside a canary if there is one; `None` before the first promotion."""
        return self.rollout(menu_hash).active

    def promoted(self, menu_hash: str) -> list[str]:
        """Versions in the order in which they were made to serve a menu, the active one last."""
        return actives(self.rollouts(menu_hash))

    def _change(self, version: str, step: Callable[[Rollout], Rollout]) -> Rollout:
        menu_hash = self.load(version).menu_hash
        with self._lock:
            stands = self.rollout(menu_hash)
            changed = step(stands)
            if changed is not stands:
                self._rollouts[menu_hash].append(changed)
            return changed

    def load(self, version: str) -> PolicyRecord:
        """The saved policy; raises ArtifactError if there is none of that version."""
        with self._lock:
            if version not in self._policies:
                raise ArtifactError(f"no policy {version!r} was saved: save it first, or take one of versions()")
            return self._policies[version]

    def versions(self, menu_hash: str) -> list[str]:
        """All versions saved for a menu, oldest first."""
        with self._lock:
            saved = [policy for policy in self._policies.values() if policy.menu_hash == menu_hash]
        return [policy.version for policy in sorted(saved, key=lambda policy: policy.created_at)]


class MemoryLedger:
    """Decisions, calls and outcomes in dicts by their ids.

    >>> from budget_router.menu import Menu, SingleShot
    >>> MemoryLedger().registry.active_version(Menu([SingleShot()]).hash) is None
    True
    """

    def __init__(self) -> None:
        self.salt = secrets.token_hex(16)
        self.registry = MemoryRegistry()
        self.caps = Caps(MemoryShelves())
        self.paces = Paces()
        self.leases = Leases(MemoryLeaseBook())
        self._entries: dict[str, _Entry] = {}
        self._timeline: list[tuple[datetime, int, str]] = []
        self._threads: dict[str, list[tuple[datetime, int, str]]] = defaultdict(list)
        self._runs: dict[str, list[tuple[datetime, int, str]]] = defaultdict(list)
        self._calls: dict[str, Call] = {}
        self._calls_of: dict[str, list[str]] = defaultdict(list)
        self._settlements: dict[str, Settlement] = {}
        self._outcomes: dict[str, list[Outcome]] = defaultdict(list)
        self._solves: dict[str, Solve] = {}
        self._lock = threading.RLock()

    def record_decision(self, decision: Decision, task: Task, menu: Menu) -> Decision:
        """Keep a decision, and return the one that stands under its id: the first one given."""
        if decision.menu_hash != menu.hash:
            raise InvalidInput(
                f"decision {decision.id!r} was made from menu {decision.menu_hash}, not from {menu.hash}: pass that menu"
            )
        with self._lock:
            if decision.id not in self._entries:
                moment = (decision.decided_at, len(self._entries), decision.id)
                self._entries[decision.id] = _Entry(decision, task.text, dict(task.metadata), menu)
                insort(self._timeline, moment)
                if decision.thread_id is not None:
                    insort(self._threads[decision.thread_id], moment)
                if decision.run_id is not None:
                    insort(self._runs[decision.run_id], moment)
            return self._entries[decision.id].decision

    async def arecord_decision(self, decision: Decision, task: Task, menu: Menu, *, opens: Sequence[Call] = ()) -> Decision:
        """Do as `record_decision`; calls that are made first are opened with a decision that is the first under its id."""
        with self._lock:
            standing = self.record_decision(decision, task, menu)
            for call in opens if standing is decision else ():
                self.open_call(call)
            return standing

    async def arecord_settlement(self, settlement: Settlement) -> None:
        """Do as `record_settlement`."""
        self.record_settlement(settlement)

    def close_call_soon(self, call: Call) -> None:
        """Do as `close_call`."""
        self.close_call(call)

    def open_call(self, call: Call) -> None:
        """Note that a model is about to be called; raises UnknownDecision if nothing decided it."""
        with self._lock:
            self._check_known(call.decision_id)
            if call.id not in self._calls:
                self._keep_call(call.model_copy(update={"status": "open"}))

    def close_call(self, call: Call) -> None:
        """Note what a call billed. The first closing counts; a call that was never opened is kept all the same."""
        if call.status == "open":
            raise InvalidInput(f"call {call.id!r} is closed with status 'open': tell whether it went 'ok' or ended in an 'error'")
        with self._lock:
            self._check_known(call.decision_id)
            standing = self._calls.get(call.id)
            if standing is None or standing.status == "open":
                self._keep_call(call)

    def record_settlement(self, settlement: Settlement) -> None:
        """Note the end of an execution. The first one counts; raises UnknownDecision."""
        with self._lock:
            self._check_known(settlement.decision_id)
            self._settlements.setdefault(settlement.decision_id, settlement)

    def record_outcome(self, outcome: Outcome) -> None:
        """Note how good an answer was; the latest one by `graded_at` counts. Raises UnknownDecision."""
        with self._lock:
            self._check_known(outcome.decision_id)
            if outcome not in self._outcomes[outcome.decision_id]:
                self._outcomes[outcome.decision_id].append(outcome)

    def record_solve(self, solve: Solve) -> None:
        """Note what a solve came to, once by its id; raises ArtifactError if it names a policy that was never saved."""
        if solve.policy_version is not None:
            self.registry.load(solve.policy_version)
        with self._lock:
            self._solves.setdefault(solve.id, solve)

    def solves(self, menu_hash: str) -> list[Solve]:
        """What was solved for a menu, oldest first."""
        with self._lock:
            of_menu = [solve for solve in self._solves.values() if solve.menu_hash == menu_hash]
        return sorted(of_menu, key=lambda solve: solve.solved_at)

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision; raises UnknownDecision."""
        with self._lock:
            self._check_known(decision_id)
            decision, task_text, metadata, menu = self._entries[decision_id]
            calls = [self._calls[call_id] for call_id in self._calls_of.get(decision_id, [])]
            outcomes = self._outcomes.get(decision_id, [])
            return LoggedDecision(
                decision=decision,
                task_text=task_text,
                metadata=metadata,
                menu=menu,
                calls=tuple(sorted(calls, key=lambda call: (call.started_at, call.id))),
                settlement=self._settlements.get(decision_id),
                outcome=max(enumerate(outcomes), key=lambda pair: (pair[1].graded_at, pair[0]))[1] if outcomes else None,
            )

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The last decision, of one thread or of all; raises UnknownDecision."""
        with self._lock:
            moments = self._timeline if thread_id is None else self._threads.get(thread_id)
            if not moments:
                of = "" if thread_id is None else f" of thread {thread_id!r}"
                raise UnknownDecision(f"no decision{of} stands in this ledger: record one first, with its thread_id")
            return self.decision(moments[-1][-1])

    def of_run(self, run_id: str) -> list[LoggedDecision]:
        """The decisions that bear a run's id, oldest first; none where nothing was decided in it."""
        with self._lock:
            return [self.decision(decision_id) for _, _, decision_id in self._runs.get(run_id, ())]

    def of_call(self, call_id: str) -> LoggedDecision:
        """The decision that a call was made for; raises UnknownDecision."""
        with self._lock:
            if call_id not in self._calls:
                raise UnknownDecision(f"no call {call_id!r} stands in this ledger: record it first, or look for it in another")
            return self.decision(self._calls[call_id].decision_id)

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed."""
        check_zone(since, until)
        with self._lock:
            first = 0 if since is None else bisect_left(self._timeline, (since, -1, ""))
            end = len(self._timeline) if until is None else bisect_left(self._timeline, (until, -1, ""))
            window = [decision_id for _, _, decision_id in self._timeline[first:end]]
        return map(self.decision, window)

    def evidence(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Evidence]:
        """What the settled ones among these decisions tell, oldest first."""
        return (one for entry in self.read(since=since, until=until) if (one := Evidence.of(entry)) is not None)

    def acts(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Act]:
        """The same decisions, and what was expected of each."""
        return (one for entry in self.read(since=since, until=until) if (one := Act.of(entry)) is not None)

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later, corrections included."""
        check_zone(since)
        with self._lock:
            return sum(since is None or one.graded_at >= since for outcomes in self._outcomes.values() for one in outcomes)

    def forget(self, task_id: str) -> int:
        """Erase a task's text and metadata from all its decisions, and return how many stood."""
        with self._lock:
            about = [name for name, entry in self._entries.items() if entry.decision.task_id == task_id]
            for name in about:
                self._entries[name] = self._entries[name]._replace(task_text=None, metadata={})
            return len(about)

    def _check_known(self, decision_id: str) -> None:
        if decision_id not in self._entries:
            raise UnknownDecision(
                f"no decision {decision_id!r} stands in this ledger: record it first, or look for it in another"
            )

    def _keep_call(self, call: Call) -> None:
        standing = self._calls.get(call.id)
        if standing is not None:
            self._calls_of[standing.decision_id].remove(call.id)
        self._calls[call.id] = call
        self._calls_of[call.decision_id].append(call.id)


def check_zone(*moments: datetime | None) -> None:
    """Raise InvalidInput for a moment without a time zone."""
    for moment in moments:
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{moment.isoformat()} has no time zone: give one, such as datetime.now(UTC)")
