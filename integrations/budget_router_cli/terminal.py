"""How the commands speak: data on standard output, talk and progress on standard error; plain where nobody looks on."""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from budget_router.refreshing import Progress

WIDTH = 100
"""Characters of a line that is not written to a terminal."""

talk = Console(stderr=True)
"""Where a command speaks of what it does."""


def console_of() -> Console:
    """Where tables go: as wide as the terminal, or as a file can bear."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def table_of(*heads: str, n_names: int = 1) -> Table:
    """A table without lines, whose first columns are names, folded where there is no room, and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < n_names else "right", no_wrap=place >= n_names, overflow="fold")
    return table


def lines(*told: tuple[str, str]) -> None:
    """Print facts, one a line, each after its name."""
    for name, text in told:
        typer.echo(f"{name:10s}{text}")


def say(*sentences: str) -> None:
    """Print sentences, folded where a line ends; plain where nobody looks on."""
    console = console_of()
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)


def say_json(facts: object) -> None:
    """Print facts for machines: JSON knows no NaN, and moments are told as ISO dates."""
    typer.echo(
        json.dumps(_plain(facts), indent=1, default=lambda one: one.isoformat() if isinstance(one, datetime) else str(one))
    )


def _plain(fact: Any) -> Any:  # Any: whatever JSON can hold
    if isinstance(fact, float) and not math.isfinite(fact):
        return None
    if isinstance(fact, Mapping):
        return {name: _plain(one) for name, one in fact.items()}
    if isinstance(fact, list | tuple):
        return [_plain(one) for one in fact]
    return fact


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A bar for each thing that is told of; where nobody looks on, a line on standard error when it begins."""
    columns = TextColumn("{task.description:32s}"), BarColumn(), _Count(), TimeElapsedColumn()
    with Bars(*columns, console=talk, disable=not talk.is_terminal) as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
                if not talk.is_terminal:
                    talk.print(what if total is None else f"{what}: {total}", highlight=False)
            bars.update(known[what], completed=done, total=total)

        yield tell


@contextmanager
def busy(what: str) -> Iterator[None]:
    """A bar that runs to and fro while something of unknown length is done; nothing where nobody looks on."""
    with progress_bars() as tell:
        if talk.is_terminal:
            tell(what, 0, None)
        yield


class _Count(MofNCompleteColumn):
    """How much is done of how much, where something is counted."""

    def render(self, task: Task) -> Text:
        """Nothing before anything was counted; no total where none is known."""
        if task.total is None:
            return Text(f"{int(task.completed):,}" if task.completed else "")
        return super().render(task)
