"""How the commands speak: data on standard output, talk and progress on standard error; plain where nobody looks on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

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


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars, one for each thing that is told of: its name, how much of it is done, and of how much, if that is known."""
    columns = TextColumn("{task.description:32s}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=talk, disable=not talk.is_terminal) as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
                if not talk.is_terminal:
                    talk.print(what if total is None else f"{what}: {total}", highlight=False)
            bars.update(known[what], completed=done, total=total)

        yield tell
