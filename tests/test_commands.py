"""Every command is a thin door: what the terminal can do, Python can do by the name that the reference tells."""

import inspect
import re
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from budget_router_cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
ROWS = {
    command: (re.findall(r"`([\w.]+)`", functions), why)
    for command, functions, why in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?)\|$", PAGE.read_text(), flags=re.MULTILINE)
}


def called(name: str) -> Any:
    """What a dotted name stands for."""
    package, *parts = name.split(".")
    try:
        return reduce(getattr, parts, import_module(package))
    except AttributeError:  # of a package that loads its modules where they are needed
        module, function = name.rsplit(".", 1)
        return getattr(import_module(module), function)


def test_the_reference_has_every_command_in_the_order_of_the_help() -> None:
    assert list(ROWS) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_calls_what_the_reference_says(command: str) -> None:
    functions, why = ROWS[command]
    door = sys.modules[COMMANDS[command].callback.__module__]

    assert functions
    for function in functions:
        is_imported = any(called(function) is there for there in vars(door).values())
        is_named = re.search(rf"(import .*|\.){function.rsplit('.', 1)[-1]}\b", inspect.getsource(door))
        assert is_imported or is_named, f"{command} does not call {function}"
    assert command in {function.rsplit(".", 1)[-1] for function in functions} or why.strip(), (
        f"say why {command} is named otherwise"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_speaks_to_machines_and_shows_an_example(command: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert COMMANDS[command].epilog.startswith(f"Example: budget-router {command}")
