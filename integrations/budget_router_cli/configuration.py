"""Options that are told once, in a `budget-router.toml`: what the command line and the environment leave unsaid.

    ledger = "sqlite:///spend.db"  # of every command that takes a shared option: ledger, budget, menu
    budget = "800:tokens"

    [refresh]                      # of one command: any of its options
    since = "30d"

The file is looked for in the working directory and its parents; its relative paths are relative to itself.
"""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from budget_router.errors import InvalidInput
from budget_router_cli.options import SHARED

FILE = "budget-router.toml"
_SQLITE = "sqlite:///"

Options = Mapping[str, Any]  # Any: click's parameters, of whichever of its versions typer brings
"""The options of a command, by their long names."""


def nearest(folder: Path) -> Path | None:
    """The configuration file of a folder or of its nearest parent that has one."""
    return next((place / FILE for place in (folder, *folder.parents) if (place / FILE).is_file()), None)


def defaults(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, object]]:  # Any: click's commands
    """Read a configuration file as click's `default_map`: what each command takes each of its parameters to be.

    Args:
        path: of the file.
        commands: by name.

    Raises:
        InvalidInput: the file cannot be read, or names what no command knows.
    """
    told = _read(path)
    options = {name: _options(command) for name, command in commands.items()}
    shared = {name for those in options.values() for name, option in those.items() if _is_shared(option)}
    found: dict[str, dict[str, object]] = {name: {} for name in commands}
    for key, value in told.items():
        if isinstance(value, dict):
            _check(path, key, commands, "command")
            for name in value:
                _check(path, name, options[key], f"option of {key}", table=key)
        else:
            _check(path, key, shared, "option that commands share", tables=commands)
    for name, those in options.items():
        own, kinds = told.get(name, {}), get_type_hints(commands[name].callback)
        for key, option in those.items():
            if key in own or (key in told and _is_shared(option)):
                kind = kinds[option.name]
                is_path = Path in {kind, *get_args(kind)}
                found[name][option.name] = _value(path, key, own.get(key, told.get(key)), is_path=is_path)
    return found


def _read(path: Path) -> dict[str, Any]:  # Any: TOML
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as a configuration: {error}") from error
    return {
        _dashed(key): {_dashed(name): one for name, one in value.items()} if isinstance(value, dict) else value
        for key, value in told.items()
    }


def _dashed(key: str) -> str:
    return key.replace("_", "-")


def _options(command: Any) -> dict[str, Any]:  # Any: click's command and its parameters
    return {
        name.removeprefix("--"): option
        for option in command.params
        for name in option.opts
        if name.startswith("--") and option.name != "help"
    }


def _is_shared(option: Any) -> bool:  # Any: click's parameter
    return str(option.envvar or "").startswith(SHARED)


def _check(path: Path, key: str, known: Iterable[str], what: str, *, table: str = "", tables: Iterable[str] = ()) -> None:
    if key in known:
        return
    near = get_close_matches(key, [*known, *tables], n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
    place = f"[{table}] {key}" if table else key
    raise InvalidInput(f"{path}: {place!r} is no {what}: {mend}")


def _value(path: Path, key: str, value: object, *, is_path: bool) -> object:
    """What a parameter is told; values are never repeated in an error, for a URL may hold a password."""
    if isinstance(value, dict | list):
        raise InvalidInput(f"{path}: {key!r} is a {type(value).__name__}: write one value, as on the command line")
    if isinstance(value, bool):
        return value
    text = str(value)
    if is_path or (key == "ledger" and "://" not in text):
        return str(path.parent / text)
    is_relative = text.startswith(_SQLITE) and not text.removeprefix(_SQLITE).startswith(("/", ":"))
    return f"{_SQLITE}{path.parent.resolve() / text.removeprefix(_SQLITE)}" if key == "ledger" and is_relative else text
