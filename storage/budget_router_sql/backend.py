"""What a ledger asks of the database under it, and which database an address names."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import URL, Column, Connection, Engine, Select, Table, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from budget_router.errors import InvalidInput
from budget_router_sql.durability import Durability
from budget_router_sql.on_postgresql import PostgreSql
from budget_router_sql.on_sqlite import Sqlite

_WRITE_IT_AS = "write it as sqlite:///spend.db or postgresql+psycopg://user@host/spend"


class Backend(Protocol):
    """One kind of database at one address: how it is met, what its errors say, and the mend."""

    migrates_by_itself: bool
    """Whether opening a ledger brings it to this version's schema; else a command does."""
    writes_one_by_one: bool
    """Whether the threads of this process had better wait for each other than for the database."""
    numbers_without_gaps: bool
    """Whether a number that is missing in a `position` tells of a row that was taken away."""
    looks_before_it_adds: bool
    """Whether to look for rows that stand already costs less than to try and add them; else it is told how many were added."""
    looks_up_one_by_one: bool
    """Whether tables are joined row by row through an index; else they are hashed or sorted where that is faster."""
    read_options: Mapping[str, object]
    """Of transactions that see one moment of the database."""
    write_options: Mapping[str, object]
    """Of transactions that write."""

    @property
    def url(self) -> URL:
        """Where it is; may hold a password, so nobody is shown it."""
        ...

    @property
    def whole_url(self) -> str:
        """With its password, and a file's whole path: it leads other processes to the database, and is shown nowhere."""
        ...

    @property
    def shown_url(self) -> str:
        """Where it is, without a password."""
        ...

    def engine(self, *, durability: Durability, busy_seconds: float) -> Engine:
        """Connections that keep the promise."""
        ...

    def bare_engine(self, *, busy_seconds: float) -> Engine:
        """Connections that make no setting and write nothing: whose database it is, is not known yet."""
        ...

    def transaction(self, connection: Connection) -> AbstractContextManager[None]:
        """One that writes: all of it or, on any exception, nothing."""
        ...

    def wait_at_most(self, connection: Connection, seconds: float) -> None:
        """How long statements on a connection wait for other writers from now on; asked where writes stand in line."""
        ...

    def insert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], *, unless_there: str | None
    ) -> int:
        """Add rows of the same columns, in their order; those whose key in column `unless_there` is taken are left out.

        Give how many were added.
        """
        ...

    def standing(self, connection: Connection, column: Column[str], names: Collection[str]) -> set[str]:
        """Those of some names that stand in a column of unique ones."""
        ...

    def by_column(self, connection: Connection, question: Select[Any], given: Mapping[str, object]) -> Sequence[Sequence[Any]]:
        """Answer by columns, whose rows are in no order; Any: of each column's own type, which is text, a count or a number.

        Raises ValueError where something else stands.
        """
        ...

    def now(self, connection: Connection) -> datetime:
        """The time of the one clock that all who use the database share."""
        ...

    def prepare_survey(self, connection: Connection) -> None:
        """Make room for questions to the whole ledger, in the transaction that is about to ask them."""
        ...

    def wipe(self, engine: Engine) -> bool:
        """Let the bytes of what was erased go too, as far as the database allows; `False` if it must be tried again."""
        ...

    def keep_others_from_migrating(self, connection: Connection) -> None:
        """Wait until no other process migrates, and let none begin before this transaction ends."""
        ...

    def keep_others_from_promoting(self, connection: Connection) -> None:
        """Wait until no other process rolls anything out, and let none before this transaction ends."""
        ...

    def is_foreign(self, error: DBAPIError) -> bool:
        """Tell whether what stands at the address is no database of this kind at all."""
        ...

    def is_refusal(self, error: DBAPIError) -> bool:
        """Tell whether the database works, and takes no such value."""
        ...

    def is_passing(self, error: DBAPIError) -> bool:
        """Tell whether the same thing, tried at once again, may well succeed."""
        ...

    def said(self, error: DBAPIError) -> str:
        """What the database said, without the values of the row it said it of."""
        ...

    def mend(self, error: DBAPIError) -> str:
        """What whoever reads of the error can do about it."""
        ...


def backend_of(address: str) -> Backend:
    """Find the database that an address names; raises InvalidInput with the mend, and never repeats what may hold a password."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # not the cause: it may repeat a password
        raise InvalidInput(f"the ledger's URL cannot be read: {_WRITE_IT_AS}") from None
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return Sqlite(url)
    if url.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return PostgreSql(url)
    raise InvalidInput(f"no ledger is kept in {url.drivername!r}: {_WRITE_IT_AS}")
