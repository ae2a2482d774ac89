"""The pasts that workers share: each counts at once what it does itself, and hears from time to time what the others did.

What a worker did since it last told of it is kept apart, and added to what all have done by the one who keeps the book, so
nobody's share is ever read, changed and written back. How stale the others' share is, is up to who calls `exchange`.
"""

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from budget_router.errors import BudgetRouterError
from budget_router.sums import Sums

_log = logging.getLogger("budget_router")


class Key(NamedTuple):
    """Whose past it is, and under which policy it was made: the drift of a table is its own, what was spent is everybody's."""

    account: str
    policy: str


class PaceBook(Protocol):
    """Where pasts are added up for all workers; raises LedgerUnavailable."""

    def exchange(self, told: Mapping[Key, Sums], asked: Mapping[Key, Sums]) -> Mapping[Key, Sums]:
        """Put what is told behind what stands, all of it or nothing, and answer with what stands then.

        Args:
            told: what happened since the last time.
            asked: the keys to answer for, each with what stood before anything happened. An answer's totals are those of its
                account under every policy.
        """
        ...


class Paces:
    """Pasts by account and policy, of this process or, with a book, of all who share it."""

    def __init__(self, book: PaceBook | None = None) -> None:
        self._book = book
        self._beginnings: dict[Key, Sums] = {}
        self._pasts: dict[str, dict[str, Sums]] = {}
        self._untold: dict[Key, Sums] = {}
        self._unseen: dict[str, float] = {}
        self._heard: set[Key] = set()
        self._lock = threading.Lock()
        self._line = threading.Lock()
        _all.add(self)

    def follow(self, key: Key, beginning: Sums) -> None:
        """Keep a past, which begins as told here where nobody has one; what others did is heard at the next `exchange`."""
        with self._lock:
            pasts = self._pasts.setdefault(key.account, {})
            if key.policy not in pasts:
                same = next(iter(pasts.values()), Sums())
                self._beginnings[key] = beginning
                pasts[key.policy] = beginning.then(same.totals)

    def sums(self, key: Key) -> Sums:
        """What a past comes to, as far as this process knows."""
        return self._pasts[key.account][key.policy]

    def untold(self, key: Key) -> Sums:
        """What has happened here since the last exchange; all of it where there is no book."""
        return self.sums(key) if self._book is None else self._untold.get(key, Sums())

    def n_unseen(self, account: str) -> float:
        """How many tasks others decide on between two exchanges."""
        return self._unseen.get(account, 0.0)

    def add(self, key: Key, change: Sums) -> None:
        """Put what has just happened behind a past that is followed."""
        with self._lock:
            pasts = self._pasts[key.account]
            for policy, past in pasts.items():
                pasts[policy] = past.then(change if policy == key.policy else change.totals)
            if self._book is not None:
                self._untold[key] = self._untold.get(key, Sums()).then(change)

    def exchange(self) -> None:
        """Tell what happened here, and hear what happened elsewhere; what cannot be told is kept, and told the next time.

        If a server is lost in the moment of its answer, what it was told may count twice. A past is no bill: the ledger's books
        are exact, an average that is off by a second of one worker's traffic is steered back.

        Raises:
            LedgerUnavailable: the book cannot be reached; the pasts go on as this process knows them.
        """
        if self._book is not None:
            with self._line:
                self._exchange(self._book)

    def tell(self) -> None:
        """Exchange if anything has happened since the last time; raises LedgerUnavailable."""
        if self._untold:
            self.exchange()

    def _exchange(self, book: PaceBook) -> None:
        with self._lock:
            told, self._untold = self._untold, {}
            asked = dict(self._beginnings)
            before = {key: self.sums(key).n_tasks for key in asked}
        try:
            heard = book.exchange(told, asked)
        except BaseException:
            with self._lock:
                for key, change in self._untold.items():
                    told[key] = told.get(key, Sums()).then(change)
                self._untold = told
            raise
        with self._lock:
            unseen = {key.account: past.n_tasks - before[key] for key, past in heard.items() if key in self._heard}
            self._unseen |= {account: max(n, self._unseen.get(account, 0.0) / 2) for account, n in unseen.items()}
            for key, past in heard.items():
                self._pasts[key.account][key.policy] = self._since(key, past)
            self._heard |= set(heard)

    def _since(self, key: Key, past: Sums) -> Sums:
        """A past, and what this process has not yet told behind it."""
        for one, change in self._untold.items():
            if one.account == key.account:
                past = past.then(change if one == key else change.totals)
        return past

    def _start_anew(self) -> None:
        self._lock, self._line = threading.Lock(), threading.Lock()
        self._untold = {}  # the parent tells it


_all: "weakref.WeakSet[Paces]" = weakref.WeakSet()


def _start_anew_in_a_child() -> None:
    for paces in list(_all):
        paces._start_anew()  # of its own module


def tell_all() -> None:
    """At the end of a process, tell what was not told yet."""
    for paces in list(_all):
        try:
            paces.tell()
        except BudgetRouterError as error:
            _log.warning("what this worker spent last is not heard of by those it paces with: %s", error)


atexit.register(tell_all)
os.register_at_fork(after_in_child=_start_anew_in_a_child)
