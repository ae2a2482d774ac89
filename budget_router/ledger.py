"""What the router asks of whoever keeps its books: an append-only ledger, and a registry of policies beside it.

A ledger promises three things. A record that was accepted is kept. A record given twice is kept once. Nothing is changed
afterwards: an outcome that corrects another is a new row, and the latest one counts. There is one exception: what a task said can
be forgotten.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Protocol, TypeGuard, runtime_checkable

from budget_router.caps import Caps
from budget_router.evidence import Act, Evidence, Part
from budget_router.leases import Leases
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.records import Call, Decision, LoggedDecision, Outcome, PolicyRecord, Settlement, Solve
from budget_router.rollout import Rollout
from budget_router.task import Task


class Registry(Protocol):
    """The shelf of policies: every candidate is kept, one per menu is active, and what was rolled out when is told.

    Of two who change a menu's rollout at once one does so after the other. Each change gives what stands afterwards; one that
    changes nothing leaves no trace.
    """

    def save(self, policy: PolicyRecord) -> None:
        """Keep a candidate; saving the same version again changes nothing."""
        ...

    def promote(self, version: str, *, share: float = 1.0, reason: str = "", after: Rollout | None = None) -> Rollout:
        """Make a saved version the active one of its menu or, with a share below 1, its canary.

        Args:
            version: as it was saved.
            share: of the tasks that it is to decide, in (0, 1].
            reason: kept with the rollout.
            after: what it was judged by: where others decide by now, nothing is changed.

        Raises:
            ArtifactError: it was never saved.
            InvalidInput: the share lies elsewhere, or the active policy is to be its own canary.
        """
        ...

    def shadow(self, version: str, *, reason: str = "") -> Rollout:
        """Let a saved version decide in silence; raises ArtifactError if it was never saved, InvalidInput if it decides aloud."""
        ...

    def withdraw(self, version: str, *, reason: str = "") -> Rollout:
        """Let a canary or a shadow go; raises ArtifactError if it was never saved, InvalidInput if it is the active version."""
        ...

    def rollout(self, menu_hash: str) -> Rollout:
        """Who decides the menu's tasks now; cheap, asked every few seconds."""
        ...

    def rollouts(self, menu_hash: str) -> list[Rollout]:
        """All that was rolled out for a menu, oldest first."""
        ...

    def active_version(self, menu_hash: str) -> str | None:
        """Version that serves the menu now, beside a canary if there is one; `None` before the first promotion."""
        ...

    def promoted(self, menu_hash: str) -> list[str]:
        """Versions in the order in which they were made to serve a menu, the active one last."""
        ...

    def load(self, version: str) -> PolicyRecord:
        """The saved policy; raises ArtifactError if there is none of that version."""
        ...

    def versions(self, menu_hash: str) -> list[str]:
        """All versions saved for a menu, oldest first."""
        ...


class Ledger(Protocol):
    """The append-only book of decisions, calls and outcomes. Every method may raise LedgerUnavailable."""

    @property
    def salt(self) -> str:
        """Secret of this ledger that answers are hashed with; made once, with the ledger."""
        ...

    @property
    def registry(self) -> Registry:
        """The policies that were learned from this ledger."""
        ...

    @property
    def caps(self) -> Caps:
        """What is set aside and paid under hard caps, shared by all who share the ledger."""
        ...

    @property
    def paces(self) -> Paces:
        """What was spent of which average, counted together by all who share the ledger."""
        ...

    @property
    def leases(self) -> Leases:
        """Who works alone at what, among all who share the ledger."""
        ...

    def record_decision(self, decision: Decision, task: Task, menu: Menu) -> Decision:
        """Keep a decision, and return the one that stands under its id: the first one given.

        Raises InvalidInput if the decision was not made from `menu`.
        """
        ...

    def open_call(self, call: Call) -> None:
        """Note that a model is about to be called; raises UnknownDecision if nothing decided it."""
        ...

    def close_call(self, call: Call) -> None:
        """Note what a call billed. The first closing counts; a call that was never opened is kept all the same.

        Raises UnknownDecision if nothing decided it, and InvalidInput if its status is `open`.
        """
        ...

    def record_settlement(self, settlement: Settlement) -> None:
        """Note the end of an execution. The first one counts. Raises UnknownDecision."""
        ...

    def record_outcome(self, outcome: Outcome) -> None:
        """Note how good an answer was; the latest by `graded_at` counts, of equals the last recorded. Raises UnknownDecision."""
        ...

    def record_solve(self, solve: Solve) -> None:
        """Note what a solve came to, once by its id; raises ArtifactError if it names a policy that was never saved."""
        ...

    def solves(self, menu_hash: str) -> list[Solve]:
        """What was solved for a menu, oldest first."""
        ...

    def decision(self, decision_id: str) -> LoggedDecision:
        """All that is known of one decision; raises UnknownDecision."""
        ...

    def latest(self, *, thread_id: str | None = None) -> LoggedDecision:
        """The decision with the latest `decided_at`, of one thread or of all; raises UnknownDecision."""
        ...

    def of_run(self, run_id: str) -> list[LoggedDecision]:
        """The decisions that bear a run's id, oldest first; none where nothing was decided in it."""
        ...

    def of_call(self, call_id: str) -> LoggedDecision:
        """The decision that a call was made for; raises UnknownDecision."""
        ...

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LoggedDecision]:
        """Decisions of `since <= decided_at < until`, oldest first, streamed."""
        ...

    def evidence(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Evidence]:
        """What the settled ones among these decisions tell, oldest first: plain values, read for learning by the million."""
        ...

    def acts(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Act]:
        """The same decisions in the same order, and what was expected of each: policies are held to it."""
        ...

    def n_outcomes(self, *, since: datetime | None = None) -> int:
        """Grades given at a moment or later, corrections included; cheap enough to be asked twice a minute."""
        ...

    def forget(self, task_id: str) -> int:
        """Erase a task's text and metadata from all its decisions, and return how many stood; all else stays and is learned from.

        A task without an id of its own has the one that its decisions bear. A later decision on the task is kept as told.
        """
        ...


@runtime_checkable
class Gathers(Protocol):
    """A ledger that coroutines can wait for: what several hand in at once is one commit, and no thread is needed.

    What was handed in is written, even where nobody waits any more.
    """

    async def arecord_decision(self, decision: Decision, task: Task, menu: Menu, *, opens: Sequence[Call] = ()) -> Decision:
        """Do as `record_decision`, in a coroutine.

        Args:
            decision: made from `menu`.
            task: that it was made for.
            menu: of the router.
            opens: calls that are made first where it is this decision that stands: opened with it, all or none.
        """
        ...

    async def arecord_settlement(self, settlement: Settlement) -> None:
        """Do as `record_settlement`, in a coroutine."""
        ...

    def close_call_soon(self, call: Call) -> None:
        """Hand in what a call billed, and do not wait: whatever is recorded after it, and kept, is kept with it."""
        ...


@runtime_checkable
class InParts(Protocol):
    """A ledger that many processes can read at once, on this machine and on others."""

    def parts(self, n_decisions: int, *, since: datetime | None = None, until: datetime | None = None) -> Sequence[Part]:
        """The decisions of `since <= decided_at < until`, oldest first, so many to a part; what comes later is in none."""
        ...


class Gathering(Ledger, Gathers, Protocol):
    """Both."""


def gathers(ledger: Ledger) -> TypeGuard[Gathering]:
    """Whether a ledger takes records without making one wait."""
    return _gather(type(ledger))


@lru_cache
def _gather(kind: type) -> bool:
    return issubclass(kind, Gathers)  # to ask each time takes longer than to hand in a record
