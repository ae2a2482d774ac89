"""Pasts in the ledger's database: one row per account and policy, which each worker puts its own share behind."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, func, select, update
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
_DRIFTS = select(paces).where(paces.c.account.in_(bindparam("accounts", expanding=True)))
_ALL_TOTALS = (
    select(paces.c.account, *(func.sum(paces.c[name]).label(name) for name in _TOTALS))
    .where(paces.c.account.in_(bindparam("accounts", expanding=True)))
    .group_by(paces.c.account)
)


class SqlPaceBook:
    """The book of pasts; never queued, never spooled: what cannot be told waits in the worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(self, told: Mapping[Key, Sums], asked: Mapping[Key, Sums]) -> Mapping[Key, Sums]:
        """Put what is told behind what stands, in one transaction, and answer with what stands then."""
        if not told:
            with self._database.read() as connection:
                return _standing(connection, asked)
        with self._database.write() as connection:
            for key in sorted(told):  # in one order, so that no two workers wait for each other
                connection.execute(_BEGUN, {"account": key.account, "policy": key.policy, **_stored(asked[key])})
                connection.execute(_TOLD, {"of_account": key.account, "of_policy": key.policy, **_behind(told[key])})
            return _standing(connection, asked)


def _stored(past: Sums) -> dict[str, float]:
    return {name: getattr(past, name) for name in _STORED}


def _behind(change: Sums) -> dict[str, float]:
    new = {f"new_{name}": number for name, number in _stored(change).items()}
    return {**new, "bills_kept": change.bills_kept, "choices_kept": change.choices_kept}


def _standing(connection: Connection, asked: Mapping[Key, Sums]) -> dict[Key, Sums]:
    accounts = sorted({key.account for key in asked})
    rows = connection.execute(_DRIFTS, {"accounts": accounts}).mappings()
    drifts = {Key(row["account"], row["policy"]): Sums(**{name: row[name] for name in _STORED}) for row in rows}
    totals = {row.account: Sums(*row[1:]) for row in connection.execute(_ALL_TOTALS, {"accounts": accounts})}
    return {
        key: drifts.get(key, beginning)._replace(**_of_all(totals.get(key.account, Sums()))) for key, beginning in asked.items()
    }


def _of_all(totals: Sums) -> dict[str, float]:
    return {name: getattr(totals, name) for name in _TOTALS}
