"""The two files to begin with: what the commands are told once, and a menu of strategies."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel

from budget_router import Budget, BudgetRouterError, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput
from budget_router_cli.configuration import FILE
from budget_router_sql import SqlLedger

MENU_FILE = "menu.toml"
DEFAULT_LEDGER = "sqlite:///spend.db"
DEFAULT_BUDGET = "800:tokens"
DEFAULT_MENU = Menu([SingleShot(max_tokens=400), SelfConsistency(k=5, max_tokens=400), ExtendedCoT(effort="high")])

_SQLITE_BEGINS = b"SQLite format 3\0"

_CONFIGURATION = """\
# What the commands of budget-router would else be told each time. What stands on the command line goes before it, and
# so do BUDGET_ROUTER_LEDGER, BUDGET_ROUTER_BUDGET and BUDGET_ROUTER_MENU in the environment. Relative paths are
# relative to this file.

# Where decisions, spend and grades are kept: a file, or "postgresql+psycopg://user@host/spend". A password does not
# belong here: put it into PGPASSFILE, or the whole URL into the environment.
ledger = {ledger}

# Average per task, as number:unit, of tokens, completion_tokens, usd or seconds.
budget = {budget}

# Strategies to choose from, and the prices of models that are on no list.
menu = {menu}

# Options of one command stand in a table of its name.
# [refresh]
# since = "30d"
"""
_MENU_HEAD = """\
# Strategies to choose from, cheap to dear. The keys of each are the fields of its class, and `kind` tells which:
# single_shot, self_consistency (k, early_stop), extended_cot (effort, max_thinking_tokens, instruction), escalate (first,
# then, agreement). Each may set model, temperature and max_tokens.
"""
_MENU_FOOT = """
# A price of your own, in USD per million tokens, for a model that is on no list:
# [tariff.my-local-model]
# prompt = 0.1
# completion = 0.4
"""


@dataclass(frozen=True)
class FirstFiles:
    """What stands in the folder now."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    """Files that stood there already, and were left alone."""
    ledger: str
    budget: str
    is_found: bool
    """Whether ledger, budget and menu are those of a ledger that was found in the folder."""


def init(folder: str | Path, *, ledger: str | None = None, budget: str | None = None) -> FirstFiles:
    """Write `budget-router.toml` and `menu.toml` to a folder, with a comment for each setting; what stands there is kept.

    What is not given is that of the one SQLite ledger in the folder, if there is one, else a default.

    Args:
        folder: made if it is not there.
        ledger: SQLAlchemy URL.
        budget: as number:unit.

    Raises:
        InvalidInput: the budget cannot be read, or the URL holds a password.
    """
    if budget is not None:
        Budget.parse(budget)
    if ledger is not None and _holds_password(ledger):
        raise InvalidInput(
            "the ledger's URL holds a password, which does not belong in a file: leave it out and give it by PGPASSFILE, or put "
            "the whole URL into BUDGET_ROUTER_LEDGER"
        )
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found = _found(place) if ledger is None else None
    name, served, menu = found or (None, DEFAULT_BUDGET, DEFAULT_MENU)
    ledger = ledger or (DEFAULT_LEDGER if name is None else f"sqlite:///{name}")
    budget = budget or served
    texts = {
        FILE: _CONFIGURATION.format(ledger=json.dumps(ledger), budget=json.dumps(budget), menu=json.dumps(MENU_FILE)),
        MENU_FILE: _MENU_HEAD + "".join(f"\n[[strategy]]\n{_table(one)}" for one in menu) + _MENU_FOOT,
    }
    written = tuple(place / name for name, text in texts.items() if _write_new(place / name, text))
    kept = tuple(place / name for name in texts if place / name not in written)
    return FirstFiles(written, kept, ledger, budget, found is not None)


def _holds_password(url: str) -> bool:
    parts = urlsplit(url)
    return parts.password is not None or "password=" in parts.query


def _write_new(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _found(place: Path) -> tuple[str, str, Menu] | None:
    """Name, budget and menu of the latest decision of the one ledger in a folder."""
    files = [path for path in sorted(place.glob("*.db")) if path.is_file() and _begins(path) == _SQLITE_BEGINS]
    if len(files) != 1:
        return None
    with suppress(BudgetRouterError), SqlLedger(f"sqlite:///{files[0]}") as book:
        latest = book.latest()
        return files[0].name, f"{latest.decision.budget.per_task:g}:{latest.decision.budget.unit}", latest.menu
    return None


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE_BEGINS))


def _table(strategy: BaseModel) -> str:
    return "".join(f"{name} = {text}\n" for name, text in _fields(strategy).items())


def _fields(word: BaseModel) -> dict[str, str]:
    """Fields that differ from their defaults, and the kind, as TOML."""
    fields = type(word).model_fields
    told = {name: getattr(word, name) for name in sorted(fields, key=lambda name: name != "kind")}
    if "name" in told and dict(type(word)(**{**told, "name": fields["name"].default}))["name"] == told["name"]:
        del told["name"]
    return {name: _toml(value) for name, value in told.items() if name == "kind" or value != fields[name].default}


def _toml(value: object) -> str:
    if isinstance(value, BaseModel):
        return f"{{ {', '.join(f'{name} = {text}' for name, text in _fields(value).items())} }}"
    return json.dumps(value)
