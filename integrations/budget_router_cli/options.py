"""Options that several commands take, and what they are read as."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from budget_router import LogFile, ParquetLog
from budget_router.errors import InvalidInput
from budget_router.ledger import Ledger
from budget_router_sql import SqlLedger

SHARED = "BUDGET_ROUTER_"
"""Begins the environment's names of options that mean the same in every command; see `budget_router_cli.configuration`."""

MENU = f"{SHARED}MENU"

LedgerUrl = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar=f"{SHARED}LEDGER",
        show_default=False,  # one from a configuration file may hold a password
        help="SQLAlchemy URL of the ledger, e.g. sqlite:///spend.db or postgresql+psycopg://user@host/spend",
    ),
]
LogUrl = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar=f"{SHARED}LEDGER",
        show_default=False,
        help="SQLAlchemy URL of the ledger, e.g. sqlite:///spend.db, or a .jsonl or .parquet that `export` wrote, or a folder of "
        "the latter.",
    ),
]
PerTask = Annotated[
    str, typer.Option("--budget", envvar=f"{SHARED}BUDGET", help="Average per task, as number:unit, e.g. 800:tokens.")
]
PerTaskIfTold = Annotated[
    str | None,
    typer.Option(
        "--budget", envvar=f"{SHARED}BUDGET", help="Average per task; what each decision was made under if none is told."
    ),
]
Since = Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")]
Until = Annotated[str | None, typer.Option(help="End of the window, told alike.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the folds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


_LINES, _TABLE = ".jsonl", ".parquet"
"""How the names of exported logs end."""


@contextmanager
def opened(url: str) -> Iterator[SqlLedger]:
    """Open a ledger that is there; one that is not is a slip, and is not made."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise InvalidInput(f"no ledger at {url!r}: name the file that SqlLedger was given")
    with SqlLedger(url) as book:
        yield book


def is_log(url: str) -> bool:
    """Whether it names what `export` wrote, and no database."""
    return url.endswith((_LINES, _TABLE)) or Path(url).is_dir()


@contextmanager
def opened_to_read(url: str) -> Iterator[Ledger]:
    """Open a ledger that is only read: one in a database, or what `export` wrote."""
    if is_log(url):
        yield LogFile(url) if url.endswith(_LINES) else ParquetLog(url)
        return
    with opened(url) as book:
        yield book


def moment(text: str | None) -> datetime | None:
    """When a window begins, told as a date or as a span before now."""
    if text is None:
        return None
    hours = {"d": 24.0, "h": 1.0, "m": 1 / 60}.get(text[-1:])
    try:
        if hours is not None:
            return datetime.now(UTC) - timedelta(hours=hours * float(text[:-1]))
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is neither a span like 30d or 12h nor an ISO date") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
