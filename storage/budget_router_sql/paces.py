"""Pasts in the ledger's database: an account's totals in one row, each policy's drift in another."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or

from budget_router.paces import Key
from budget_router.sums import Sums
from budget_router_sql.engine import Database
from budget_router_sql.schema import paces

_TOTALS = ("n_tasks", "allowed", "spent")
_BILLS, _CHOICES = ("billed", "expected"), ("chosen", "promised")
_STORED = (*_TOTALS, *_BILLS, *_CHOICES)

_BEGUN = insert_or(paces).on_conflict_do_nothing(index_elements=["account", "policy"])
_TOLD = (
    update(paces)
    .where(paces.c.account == bindparam("of_account"), paces.c.policy == bindparam("of_policy"))
    .values(
        {name: paces.c[name] + bindparam(f"new_{name}") for name in _TOTALS}
        | {name: paces.c[name] * bindparam("bills_kept") + bindparam(f"new_{name}") for name in _BILLS}
        | {name: paces.c[name] * bindparam("choices_kept") + bindparam(f"new_{name}") for name in _CHOICES}
    )
)
_STANDING = select(paces).where(tuple_(paces.c.account, paces.c.policy).in_(bindparam("keys", expanding=True)))
_UNDER_ALL = ""
"""Policy of the row that holds an account's totals: a worker then reads two rows, however many policies there were."""


class SqlPaceBook:
    """The book of pasts; never queued, never spooled: what cannot be told waits in the worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(self, told: Mapping[Key, Sums], asked: Mapping[Key, Sums]) -> Mapping[Key, Sums]:
        """Put what is told behind what stands, in one transaction, and answer with what stands then."""
        if not told:
            with self._database.read() as connection:
                return _standing(connection, asked)
        changes: dict[Key, Sums] = {}
        for key, change in told.items():
            of_all = Key(key.account, _UNDER_ALL)
            changes[of_all] = changes.get(of_all, Sums()).then(change.totals)
            changes[key] = changes.get(key, Sums()).then(change._replace(n_tasks=0.0, allowed=0.0, spent=0.0))
        with self._database.write() as connection:
            for key in sorted(changes):  # in one order, so that no two workers wait for each other
                beginning = _stored(asked.get(key, Sums()))
                connection.execute(_BEGUN, {"account": key.account, "policy": key.policy, **beginning})
                connection.execute(_TOLD, {"of_account": key.account, "of_policy": key.policy, **_behind(changes[key])})
            return _standing(connection, asked)


def _stored(past: Sums) -> dict[str, float]:
    return {name: getattr(past, name) for name in _STORED}


def _behind(change: Sums) -> dict[str, float]:
    new = {f"new_{name}": number for name, number in _stored(change).items()}
    return {**new, "bills_kept": change.bills_kept, "choices_kept": change.choices_kept}


def _standing(connection: Connection, asked: Mapping[Key, Sums]) -> dict[Key, Sums]:
    keys = {*asked, *(Key(key.account, _UNDER_ALL) for key in asked)}
    rows = connection.execute(_STANDING, {"keys": [tuple(key) for key in keys]}).mappings()
    found = {Key(row["account"], row["policy"]): Sums(**{name: row[name] for name in _STORED}) for row in rows}
    return {key: _with_totals(found.get(key, asked[key]), found.get(Key(key.account, _UNDER_ALL), Sums())) for key in asked}


def _with_totals(past: Sums, of_all: Sums) -> Sums:
    return past._replace(n_tasks=of_all.n_tasks, allowed=of_all.allowed, spent=of_all.spent)
