"""How often a ledger commits."""

from contextlib import contextmanager

from budget_router_sql import SqlLedger


def commits_of(ledger: SqlLedger) -> list[object]:
    """Grows by one with each transaction that writes."""
    backend, commits = ledger._database.backend, []
    transaction = backend.transaction

    @contextmanager
    def counted(connection):
        with transaction(connection):
            yield
        commits.append(connection)

    backend.transaction = counted
    return commits
