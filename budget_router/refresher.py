"""Learns again by itself, whenever there is a reason to, and lets what passes the gate serve.

A refresher keeps no books of its own: when it was last learned, and what has come since, stands in the ledger. So it may be
killed at any moment and started again, and several may watch one ledger: the lease lets one of them work.

In a thread of the serving process it costs that process time: learning is Python and numpy, and while Python runs, decisions wait
for the interpreter for some milliseconds each. Where that is too much, run `budget-router refresh --watch` in a process beside
it: the ledger is all that they need to have in common, and serving routers find a promotion in it within seconds.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Literal, Protocol, Self

from budget_router.budget import Budget
from budget_router.errors import BudgetRouterError, InvalidInput, LeaseHeld, UnknownDecision
from budget_router.evaluation import Gate
from budget_router.ledger import Ledger
from budget_router.live_check import Limits, check_rollout
from budget_router.menu import Menu
from budget_router.records import now
from budget_router.refreshing import Refresh, refresh
from budget_router.triggers import EveryOutcomes, Look, Trigger

_log = logging.getLogger("budget_router")

TICK_SECONDS = 30.0
"""From one look at the triggers to the next."""
EVERY_OUTCOMES = EveryOutcomes(500)
"""When to learn again, unless told: enough to see a strategy's accuracy move by a few points."""
CHECK_EVERY = timedelta(minutes=5)
"""From one look at what is live to the next, which reads all that was decided since it went live."""
MAX_WAIT = timedelta(minutes=15)
"""Longest pause after failures in a row; each is twice as long as the one before."""
STOP_SECONDS = 1.0
"""How long `stop` waits for a refresh that is at work."""

Check = Callable[[], object]
"""What is looked after at each tick beside the triggers; what it returns, if anything, is told."""


class Learn(Protocol):
    """How to learn: `refresh`, or a `partial` of it with other settings."""

    def __call__(self, ledger: Ledger, /, *, menu: Menu, budget: Budget, gate: Gate, since: datetime | None) -> Refresh:
        """Learn a candidate and judge it."""
        ...


@dataclass(frozen=True)
class Tick:
    """What a refresher did at one moment."""

    at: datetime
    done: Literal["nothing", "promoted", "kept", "held", "failed"]
    """`kept`: the gate did not let the candidate serve; `held`: somebody else is learning."""
    reasons: tuple[str, ...] = ()
    """Why it was time to learn again."""
    told: tuple[str, ...] = ()
    """What checks had to say."""
    result: Refresh | None = None
    error: Exception | None = None
    """Why it failed, or who holds the lease."""

    @property
    def is_news(self) -> bool:
        """Whether anything happened that is worth a line; that somebody else works is not."""
        return self.done not in {"nothing", "held"} or bool(self.told)

    @property
    def says(self) -> str:
        """One line."""
        parts, why = [*self.told], f" ({'; '.join(self.reasons)})" if self.reasons else ""
        if self.result is not None:
            parts.append(f"{self.result.version}{why} {self.result.verdict}")
        elif self.error is not None:
            parts.append(f"{self.done}{why} {type(self.error).__name__}: {self.error}")
        return " · ".join(parts) or self.done


class Refresher:
    """Watches a ledger, and learns from it when a trigger has a reason.

    >>> from budget_router import Budget, MemoryLedger
    >>> Refresher(MemoryLedger(), budget=Budget(per_task=800)).tick().done
    'nothing'

    Args:
        ledger: that is learned from, and whose registry holds what serves.
        budget: at which candidates are judged.
        menu: to choose from; that of the latest decision when not given, so that a new menu is followed.
        triggers: any of them is enough.
        gate: what a candidate must pass before it serves.
        share: of the threads that what passed decides at first, as a canary beside the policy that serves, if there is one: it
            decides all of them once it has proven good, and nothing is learned meanwhile. With 1 it decides all at once.
        limits: of what is live, a canary or a policy in its first days: what is bad is taken back. See `check_rollout`.
        window: how far back decisions are learned from; all of them when not given.
        checks: called at each tick, whether or not it is time to learn; one that fails is logged, and is called again.
        learn: how; `functools.partial(refresh, learner="imitator")` for other settings.
        tick_seconds: from one look to the next.
        clock: tells the moment.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        budget: Budget,
        menu: Menu | None = None,
        triggers: Sequence[Trigger] = (EVERY_OUTCOMES,),
        gate: Gate | None = None,
        share: float = 1.0,
        limits: Limits | None = None,
        window: timedelta | None = None,
        checks: Sequence[Check] = (),
        learn: Learn = refresh,
        tick_seconds: float = TICK_SECONDS,
        clock: Callable[[], datetime] = now,
    ) -> None:
        if not tick_seconds > 0:
            raise InvalidInput(f"tick_seconds is {tick_seconds:g}: give a number above 0")
        if not 0 < share <= 1:
            raise InvalidInput(f"share is {share:g}: a share of the threads lies above 0 and up to 1, such as 0.1")
        self.ledger = ledger
        self.budget = budget
        self.menu = menu
        self.triggers = tuple(triggers)
        self.gate = Gate() if gate is None else gate
        self.share = share
        self.limits = limits
        self.window = window
        self.checks = tuple(checks)
        self._learn = learn
        self._tick_seconds = tick_seconds
        self._clock = clock
        self._n_failures = 0
        self._next_check: datetime | None = None
        self._not_before: datetime | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def tick(self, at: datetime | None = None) -> Tick:
        """Call the checks, and learn if there is a reason to; raises nothing that a later tick might mend.

        Args:
            at: the moment; by the clock when not given.
        """
        at = self._clock() if at is None else at
        told = tuple(said for check in self.checks if (said := _said(check)))
        if self._not_before is not None and at < self._not_before:
            return Tick(at, "nothing", told=told)
        reasons: tuple[str, ...] = ()
        try:
            menu = self.ledger.latest().menu if self.menu is None else self.menu
            told += self._looked_after(menu, at)
            is_on_trial = self.ledger.registry.rollout(menu.hash).canary is not None
            look = Look(self.ledger, menu=menu, unit=self.budget.unit, now=at)
            reasons = () if is_on_trial else tuple(reason for trigger in self.triggers if (reason := trigger.reason(look)))
            done = self._refreshed(menu, at, reasons) if reasons else Tick(at, "nothing")
        except UnknownDecision:  # nothing was decided yet
            done = Tick(at, "nothing")
        except LeaseHeld as error:
            done = Tick(at, "held", reasons, error=error)
        except Exception as error:  # noqa: BLE001  # a watch goes on, whatever happened once
            return self._failed(at, reasons, told, error)
        self._n_failures, self._not_before = 0, None
        return Tick(at, done.done, done.reasons, told, done.result, done.error)

    def refresh_now(self) -> Tick:
        """Learn without a reason; what goes wrong is raised.

        Raises:
            LeaseHeld: somebody else is learning.
            NotEnoughEvidence: there is too little to learn from.
            UnknownDecision: there is nothing at all, and no menu was given.
        """
        menu = self.ledger.latest().menu if self.menu is None else self.menu
        return self._refreshed(menu, self._clock(), ("asked for",))

    def run(self, stop: threading.Event, *, tell: Callable[[Tick], object] | None = None) -> None:
        """Tick until told to stop.

        Args:
            stop: ends the watch; a refresh that is at work is finished first.
            tell: is given each tick that is news.
        """
        while not stop.is_set():
            tick = self.tick()
            if tick.is_news:
                _log.info("refresh: %s", tick.says)
                if tell is not None:
                    tell(tick)
            stop.wait(self._tick_seconds)

    def start(self) -> Self:
        """Tick in a thread of this process until `stop`; started twice, it is one.

        The thread ends with the process, and a process that was forked from this one has none: start it there, or leave it to
        one of them.
        """
        if self._thread is None or not self._thread.is_alive():
            self._stop = threading.Event()  # one that was held while this process was forked is of no use
            self._thread = threading.Thread(target=self.run, args=[self._stop], name="budget-router refresher", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread. A refresh that is at work is waited for a second, then left to end by itself."""
        self._stop.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _looked_after(self, menu: Menu, at: datetime) -> tuple[str, ...]:
        """Take back what is live and bad, and let a canary decide all that is good; what was done about it."""
        if self._next_check is not None and at < self._next_check:
            return ()
        self._next_check = at + CHECK_EVERY
        verdict = check_rollout(self.ledger, menu=menu, budget=self.budget, limits=self.limits, complete=self.share < 1)
        return (str(verdict),) if verdict.action else ()

    def _refreshed(self, menu: Menu, at: datetime, reasons: tuple[str, ...]) -> Tick:
        since = None if self.window is None else at - self.window
        result = self._learn(self.ledger, menu=menu, budget=self.budget, gate=self.gate, since=since)
        if not result.verdict.is_passed:
            return Tick(at, "kept", reasons, result=result)
        result.promote(share=1.0 if self.ledger.registry.active_version(menu.hash) is None else self.share)
        return Tick(at, "promoted", reasons, result=result)

    def _failed(self, at: datetime, reasons: tuple[str, ...], told: tuple[str, ...], error: Exception) -> Tick:
        pause = min(timedelta(seconds=self._tick_seconds * 2**self._n_failures), MAX_WAIT)
        self._n_failures = min(self._n_failures + 1, 16)  # more would overflow, and change nothing
        self._not_before = at + pause
        if isinstance(error, BudgetRouterError):
            _log.warning("refresh failed, and is tried again in %.0f s: %s", pause.total_seconds(), error)
        else:
            _log.exception("refresh failed, and is tried again in %.0f s", pause.total_seconds(), exc_info=error)
        return Tick(at, "failed", reasons, told, error=error)


def _said(check: Check) -> str:
    try:
        found = check()
    except Exception:  # noqa: BLE001  # one check must not keep the others, or the refresh, from their work
        _log.exception("a check failed, and is called again at the next tick")
        return ""
    return "" if found is None or found is False else str(found)
