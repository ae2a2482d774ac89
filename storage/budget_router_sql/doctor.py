"""Look an installation over: each line of the report is fine, a warning or a failure, and says the mend."""

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata as packages
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, Text, column, func, select, table

from budget_router.errors import ArtifactError, BudgetRouterError, NewerLedger
from budget_router.policies.artifact import policy_from
from budget_router.records import PolicyRecord, now
from budget_router.remembered import menu_of
from budget_router.tokens import local_encoding
from budget_router_sql.backend import Backend, backend_of
from budget_router_sql.engine import BUSY_SECONDS, untouched
from budget_router_sql.migrate import standing_revision
from budget_router_sql.on_sqlite import Sqlite
from budget_router_sql.rows import policy_of
from budget_router_sql.schema import REVISION, menus, policies, promotions

if TYPE_CHECKING:
    from pandas import DataFrame

Health = Literal["ok", "warn", "fail"]
SKEW_SECONDS = 1.0
"""Between this clock and the database's: beyond it, what ended when is told wrong."""
MUCH_SKEW_SECONDS = 30.0
"""Beyond it windows of hours and days are wrong as well."""
_PACKAGE = "budget-router"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    what: str
    health: Health
    found: str
    mend: str = ""
    """Empty where nothing is to be mended."""


@dataclass(frozen=True)
class Checkup:
    """All that was looked at."""

    lines: tuple[Line, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing failed; a warning is no failure."""
        return not any(line.health == "fail" for line in self.lines)

    def frame(self) -> "DataFrame":
        """One row per line; raises ImportError where pandas is not installed."""
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError("frames need pandas: pip install 'budget-router[plots]'") from error
        return DataFrame(
            [[line.what, line.health, line.found, line.mend] for line in self.lines], columns=["what", "health", "found", "mend"]
        )


def doctor(url: str) -> Checkup:
    """Look over the ledger at `url` and what this process would serve it with; nothing is made, migrated or changed.

    >>> import tempfile
    >>> from budget_router_sql import SqlLedger
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     SqlLedger(f"sqlite:///{folder}/spend.db").close()
    ...     checkup = doctor(f"sqlite:///{folder}/spend.db")
    >>> checkup.is_healthy, [line.what for line in checkup.lines][:3]
    (True, ['database', 'schema', 'durability'])

    Raises:
        InvalidInput: the URL cannot be read.
    """
    backend = backend_of(url)
    lines = _of_the_database(backend)
    return Checkup((*lines, *_files(backend), _tokenizer(), *_versions()))


def _of_the_database(backend: Backend) -> list[Line]:
    try:
        if isinstance(backend, Sqlite) and backend.file is not None and not backend.file.exists():
            return [
                Line("database", "fail", f"no file {backend.file}", "name the file that SqlLedger was given, or open one there")
            ]
        revision = standing_revision(backend, busy_seconds=BUSY_SECONDS)
        with untouched(backend, busy_seconds=BUSY_SECONDS) as connection:
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
            lines = [Line("database", "ok", f"{connection.dialect.name} {version} answers"), _schema(backend, revision)]
            lines += [_durability(backend, connection), _clock(connection)] if revision else []
    except NewerLedger as error:
        return [Line("schema", "fail", str(error), "upgrade budget-router")]
    except BudgetRouterError as error:
        found, _, mend = str(error).rpartition(": ")
        return [Line("database", "fail", found, mend)]
    return [*lines, *_policies(backend)] if revision == REVISION else lines


def _schema(backend: Backend, revision: str | None) -> Line:
    if revision == REVISION:
        return Line("schema", "ok", f"at {REVISION}, as this version needs it")
    found = "no ledger yet" if revision is None else f"at {revision}, this version needs {REVISION}"
    if backend.migrates_by_itself:
        return Line("schema", "warn", found, "open it: a file migrates itself")
    return Line("schema", "fail", found, f"budget-router migrate --ledger {backend.shown_url}")


def _durability(backend: Backend, connection: Connection) -> Line:
    if isinstance(backend, Sqlite):
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        promise = "synchronous NORMAL (committed) or FULL (durable), as each ledger is opened"
        if mode == "wal":
            return Line("durability", "ok", f"journal_mode wal, {promise}")
        return Line("durability", "warn", f"journal_mode {mode}", "open it by SqlLedger once, on a disk of this machine")
    names = ("fsync", "full_page_writes", "synchronous_commit")
    name, setting = column("name", Text), column("setting", Text)
    settings = select(name, setting).select_from(table("pg_settings")).where(name.in_(names))
    found = {row.name: row.setting for row in connection.execute(settings)}
    told = ", ".join(f"{one} {found[one]}" for one in names)
    if "off" in (found["fsync"], found["full_page_writes"]):
        return Line("durability", "fail", told, "turn both on: without them a power cut may take the whole database")
    return Line("durability", "ok", told)


def _clock(connection: Connection) -> Line:
    if connection.dialect.name == "sqlite":
        return Line("clock", "ok", "this machine's own")
    before = now()
    there = connection.execute(select(func.clock_timestamp())).scalar_one()
    after = now()
    skew = (there - (before + (after - before) / 2)).total_seconds()
    uncertain = (after - before).total_seconds() / 2
    found = f"the database is {skew:+.3f} s from this machine, give or take {uncertain:.3f}"
    if abs(skew) <= SKEW_SECONDS + uncertain:
        return Line("clock", "ok", found)
    return Line("clock", "warn" if abs(skew) <= MUCH_SKEW_SECONDS else "fail", found, "set both by NTP")


def _policies(backend: Backend) -> list[Line]:
    """The policies that serve each menu, aloud or in silence, unpacked and tried as a router would."""
    latest = select(func.max(promotions.c.position)).group_by(promotions.c.menu_hash)
    active = (
        select(*(policies.c[name] for name in PolicyRecord.model_fields), menus.c.strategies)
        .join(promotions, policies.c.version.in_((promotions.c.version, promotions.c.canary, promotions.c.shadow)))
        .outerjoin(menus, menus.c.hash == promotions.c.menu_hash)
        .where(promotions.c.position.in_(latest))
    )
    try:
        with untouched(backend, busy_seconds=BUSY_SECONDS) as connection:
            rows = connection.execute(active).mappings().all()
    except BudgetRouterError as error:
        return [Line("policy", "warn", str(error), "look as a role that may read policies: budget_router_trainer")]
    lines = []
    for row in rows:
        try:
            record = policy_of({name: row[name] for name in PolicyRecord.model_fields})
            told = json.loads(record.manifest)
            menu = menu_of(row["strategies"] or json.dumps(told["menu"]))
            policy_from(record, menu, unit=told["unit"])
            lines.append(
                Line("policy", "ok", f"{record.version} serves {len(menu)} strategies in {told['unit']}, and can be read")
            )
        except (ArtifactError, ValueError, KeyError, TypeError) as error:
            mend = "budget-router promote an earlier one, or refresh; routers keep what they serve"
            lines.append(Line("policy", "fail", f"{row['version']}: {error}", mend))
    return lines or [Line("policy", "ok", "none is promoted yet: routers start cold")]


def _files(backend: Backend) -> list[Line]:
    if not isinstance(backend, Sqlite) or backend.file is None or not backend.file.exists():
        return []
    mode = stat.S_IMODE(backend.file.stat().st_mode)
    found = f"{backend.file} is {stat.filemode(backend.file.stat().st_mode)}"
    if not _is_writable(backend.file) or not _is_writable(backend.file.absolute().parent):
        return [
            Line("files", "fail", f"{found}: it or its folder may not be written", "allow writing to the file and its folder")
        ]
    if mode & 0o077:
        return [Line("files", "warn", f"{found}: others may read what tasks say", f"chmod 600 {backend.file}*")]
    return [Line("files", "ok", found)]


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _tokenizer() -> Line:
    encoding = local_encoding()
    if encoding is None:
        return Line("tokenizer", "warn", "none at hand: four characters count as a token", "pip install 'budget-router[tokens]'")
    return Line("tokenizer", "ok", f"{encoding.name}, from this machine")


def _versions() -> list[Line]:
    """What is installed against what this package asks for; extras that are not installed are not missed."""
    try:
        asked = packages.requires(_PACKAGE) or []
    except packages.PackageNotFoundError:
        return [Line("versions", "warn", f"{_PACKAGE} is not installed", f"pip install {_PACKAGE}")]
    wrong, n = [], 0
    for requirement in asked:
        bounds, _, marker = requirement.partition(";")
        name = re.split(r"[\s\[<>=!~(]", bounds, maxsplit=1)[0]
        if name == _PACKAGE:
            continue
        try:
            version = packages.version(name)
        except packages.PackageNotFoundError:
            if "extra" not in marker:
                wrong.append(f"{name} is missing")
            continue
        n += 1
        if not is_within(version, bounds):
            wrong.append(f"{name} {version}, asked for {bounds.strip()}")
    if wrong:
        return [Line("versions", "fail", "; ".join(wrong), f"pip install --upgrade {_PACKAGE}")]
    return [Line("versions", "ok", f"{_PACKAGE} {packages.version(_PACKAGE)}, {n} packages within its bounds")]


def is_within(version: str, bounds: str) -> bool:
    """Tell whether a version is within the lower and upper bounds of a requirement; other kinds of bounds are not looked at.

    >>> is_within("2.0.51", "sqlalchemy<3,>=2.0.30"), is_within("1.4", "sqlalchemy<3,>=2.0.30"), is_within("3.0", "sqlalchemy<3")
    (True, False, False)
    """
    checks: dict[str, Callable[[int], bool]] = {">=": lambda order: order >= 0, "<": lambda order: order < 0}
    return all(checks[sign](_order(version, bound)) for sign, bound in re.findall(r"(>=|<)(?!=)\s*([\d.]+)", bounds))


def _order(one: str, other: str) -> int:
    """Below, at or above 0 as `one` is older than, equal to or newer than `other`, by their numbers alone."""
    numbers = [[int(part) for part in re.findall(r"\d+", version.partition("+")[0])] for version in (one, other)]
    for left, right in zip_longest(*numbers, fillvalue=0):
        if left != right:
            return left - right
    return 0
