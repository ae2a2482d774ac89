"""What is seen while votes are recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from budget_router_cli.terminal import talk
from budget_router_langchain import Recording, SpendLimit


@contextmanager
def vote_bar(limit: SpendLimit) -> Iterator[Callable[[Recording], None]]:
    """A bar of votes with the running spend beside it."""
    columns = TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=talk, disable=not talk.is_terminal) as bars:
        bar = bars.add_task("")

        def tell(so_far: Recording) -> None:
            failed = f", {so_far.n_failed} failed" if so_far.n_failed else ""
            spent = f"{so_far.spent:.6g} of {limit}{failed}"
            bars.update(bar, total=so_far.n_bundles, completed=so_far.n_recorded, description=spent)

        yield tell
