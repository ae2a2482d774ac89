"""Many entries in one transaction, where each stands or falls for itself."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import BindParameter, Column, Connection, Table, bindparam, select
from sqlalchemy.exc import DBAPIError

from budget_router.errors import BudgetRouterError, InvalidInput, LedgerUnavailable, UnknownDecision
from budget_router.records import Decision
from budget_router_sql.engine import Database, told_plainly
from budget_router_sql.entries import Entry
from budget_router_sql.reading import shadows_of
from budget_router_sql.rows import Row, decision_of
from budget_router_sql.schema import (
    call_closings,
    call_openings,
    decisions,
    menus,
    outcomes,
    settlements,
)

Answer = Decision | BudgetRouterError | None
"""What became of an entry: the decision that stood before it, why it was refused, or nothing to tell."""

N_ATTEMPTS = 5
"""At a batch that another writer gets in the way of; each time one of them gets ahead."""
MANY_DECISIONS = 50_000
"""Ids of decisions remembered as recorded, to spare a question about each of their calls: some megabytes."""


_KEYS = {menus: "hash", call_openings: "id", call_closings: "id", outcomes: "digest"}
"""Columns by which a table knows what it has already."""

_KEYS_OF_FIRST = {decisions: "id", settlements: "decision_id"}
"""Likewise, of tables where it is asked whose row was the first. Many rows that return something cost a database several times
the work. So some look before they insert, and what comes in between fails the batch, which is then tried again; the others count
what was added, and look where only a part was."""

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_OF_DECISION: dict[Table, Column[str]] = {decisions: decisions.c.id, settlements: settlements.c.decision_id}
_WHOLE = select(decisions).where(decisions.c.id.in_(_IDS))
_ORDER = (call_openings, call_closings, settlements, outcomes)
"""In which a batch is written, after its decisions: all writers alike, so that seldom one waits for another in a circle."""


class _SomeStand(Exception):
    """Of rows that were taken for the first of their kind a part is not."""


class Batches:
    """Writes batches of entries; idempotent, since every row is kept once by its key.

    A value that the database does not take, or a record of a decision that stands nowhere, is refused alone.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = _Remembered(MANY_DECISIONS)
        self._menus = _Remembered(1000)

    def write(self, entries: Sequence[Entry]) -> list[Answer]:
        """Commit entries together and answer each; raises LedgerUnavailable if nothing could be committed.

        What passed in the moment it failed, a lost connection or another writer's way, is tried again.
        """
        for _ in range(N_ATTEMPTS - 1):
            try:
                return self._committed(entries)
            except LedgerUnavailable as error:
                if not (isinstance(error.__cause__, DBAPIError) and self._database.backend.is_passing(error.__cause__)):
                    raise
        return self._committed(entries)

    def write_at_once(self, entries: Sequence[Entry]) -> list[Answer]:
        """Do as `write`, unless that would have to wait for another writer: then raise LedgerUnavailable."""
        return self._committed(entries, waits=False)

    def _committed(self, entries: Sequence[Entry], *, waits: bool = True) -> list[Answer]:
        try:
            try:
                with self._database.append(waits=waits) as connection:
                    answers = self._written(connection, entries, looks=self._database.backend.looks_before_it_adds)
            except _SomeStand:
                with self._database.append(waits=waits) as connection:
                    answers = self._written(connection, entries, looks=True)
        except InvalidInput as error:
            if len(entries) == 1:
                return [error]
            with self._database.append(waits=waits) as connection:
                answers = [self._alone(connection, entry) for entry in entries]
        kept = entries
        if any(answers):  # nearly always there is nothing to tell
            kept = [entry for entry, answer in zip(entries, answers, strict=True) if not isinstance(answer, BudgetRouterError)]
        self._known.update({entry.decision_id for entry in kept})
        self._menus.update(_named(kept))
        return answers

    def _alone(self, connection: Connection, entry: Entry) -> Answer:
        try:
            with told_plainly(self._database.backend), connection.begin_nested():
                return self._written(connection, [entry], looks=True)[0]
        except InvalidInput as error:
            return error

    def _written(self, connection: Connection, entries: Sequence[Entry], *, looks: bool) -> list[Answer]:
        of: defaultdict[Table, list[Entry]] = defaultdict(list)
        for entry in entries:
            of[entry.table].append(entry)
        decided = of.pop(decisions, [])
        standing = self._keep_decisions(connection, decided, looks=looks)
        unknown = self._unknown(connection, {entry.decision_id for entry in entries} - {entry.decision_id for entry in decided})
        for table in _ORDER:
            known = [entry for entry in of[table] if entry.decision_id not in unknown] if unknown else of[table]
            if table is settlements:
                self._keep_first(connection, known, looks=looks)
            elif known:
                self._insert(connection, table, [entry.row for entry in known], unless_there=_KEYS[table])
        if not (standing or unknown):
            return [None] * len(entries)
        return [self._answer(entry, standing, unknown) for entry in entries]

    def _keep_decisions(self, connection: Connection, entries: Sequence[Entry], *, looks: bool) -> dict[str, Decision]:
        """Write decisions, and find those that stood before."""
        named = _named(entries)
        new = self._menus.others(set(named))
        if new:
            self._insert(connection, menus, [named[key] for key in new], unless_there=_KEYS[menus])
        again = self._keep_first(connection, entries, looks=looks)
        if not again:
            return {}
        found, beside = connection.execute(_WHOLE, {"ids": list(again)}).mappings().all(), shadows_of(connection, list(again))
        return {row["id"]: decision_of(row, beside.get(row["id"])) for row in found}

    def _keep_first(self, connection: Connection, entries: Sequence[Entry], *, looks: bool) -> set[str]:
        """Write entries of a table that takes one of each decision, with their parts; tell whose were not all the first.

        Raises _SomeStand, without a look at what stands, where some of a batch's decisions have their row and some have not.
        """
        if not entries:
            return set()
        table = entries[0].table
        first: dict[str, Entry] = {}
        again = {entry.decision_id for entry in entries if first.setdefault(entry.decision_id, entry) is not entry}
        if looks:
            standing = self._standing(connection, table, set(first))
            again |= standing
            first = {decision_id: entry for decision_id, entry in first.items() if decision_id not in standing}
        rows = [entry.row for entry in first.values()]
        n_added = self._insert(connection, table, rows, unless_there=None if looks else _KEYS_OF_FIRST[table]) if rows else 0
        if n_added == 0:
            return again | set(first)
        if n_added < len(rows):
            raise _SomeStand
        parts: dict[Table, list[Row]] = {}
        for entry in first.values():
            for part, row in entry.after:
                parts.setdefault(part, []).append(row)
        for part, rows in parts.items():
            self._insert(connection, part, rows, unless_there=_KEYS.get(part))
        return again

    def _insert(self, connection: Connection, table: Table, rows: list[Row], *, unless_there: str | None) -> int:
        return self._database.backend.insert(connection, table, rows, unless_there=unless_there)

    def _unknown(self, connection: Connection, ids: set[str]) -> set[str]:
        asked = self._known.others(ids)
        if not asked:
            return set()
        return asked - self._standing(connection, decisions, asked)

    def _standing(self, connection: Connection, table: Table, ids: set[str]) -> set[str]:
        """Those of some decisions that have their row in a table."""
        return self._database.backend.standing(connection, _OF_DECISION[table], ids)

    def _answer(self, entry: Entry, standing: dict[str, Decision], unknown: set[str]) -> Answer:
        if entry.table is decisions:
            return standing.get(entry.decision_id)
        if entry.decision_id not in unknown:
            return None
        return UnknownDecision(
            f"no decision {entry.decision_id!r} stands in {self._database.shown_url}: record it first, or look for it elsewhere"
        )


def _named(entries: Sequence[Entry]) -> dict[str, Row]:
    """The menus that entries name, by hash; entries of one menu have it from one place, see `entries`."""
    told = {id(entry.before): entry.before for entry in entries}
    return {row["hash"]: row for before in told.values() for _, row in before}


class _Remembered:
    """The latest names, of a given number to twice as many; used by one thread at a time."""

    def __init__(self, n_most: int) -> None:
        self._new: dict[str, None] = {}  # no set: the garbage collector would go through it again and again
        self._old: dict[str, None] = {}
        self._n_most = n_most

    def others(self, names: set[str]) -> set[str]:
        """Those of some names that are not remembered."""
        return names.difference(self._new).difference(self._old)

    def update(self, names: Iterable[str]) -> None:
        """Remember names, and forget the oldest where they are too many."""
        self._new.update(dict.fromkeys(names))
        if len(self._new) >= self._n_most:
            self._new, self._old = {}, self._new
