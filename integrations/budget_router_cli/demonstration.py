"""The command that shows what it is all for, on recorded tasks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from budget_router import Budget
from budget_router.errors import InvalidInput
from budget_router_cli import recording
from budget_router_cli.answer_kind import AnswerKind
from budget_router_cli.options import AsJson
from budget_router_cli.terminal import console_of, progress_bars
from budget_router_sql import SqlLedger

app = typer.Typer()


@app.command(epilog="Example: budget-router demo --budget 22 --seed 0 --out demo")
def demo(
    budget: Annotated[str, typer.Option(help="Average completion tokens per task.")] = "22:completion_tokens",
    seed: Annotated[int, typer.Option(min=0, help="Of the live run; replayed seeds follow it.")] = 0,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds of the comparison.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder for report.html and spend.db.")] = Path("demo"),
    log: Annotated[Path | None, typer.Option(help="SQLite file of a recording of your own; replies stand beside it.")] = None,
    answer: Annotated[AnswerKind, typer.Option(help="How the log's answers were found.")] = AnswerKind.EXACT,
    as_json: AsJson = False,
) -> None:
    """Work through recorded tasks, learn from the ledger, and show what the same budget then buys."""
    from budget_router.reports import write_report
    from budget_router_cli import story, telling

    average = Budget.parse(budget, unit="completion_tokens")
    if average.unit != "completion_tokens":
        raise InvalidInput(f"the demo's recording is priced in completion tokens, not {average.unit}: say --budget 22")
    with progress_bars() as progress:
        replayed = recording.load_recording() if log is None else _recorded(log, answer)
        told = story.demo(average, recording=replayed, seed=seed, n_seeds=seeds, out=out, progress=progress)
    command = f"budget-router demo --budget {average.per_task:g} --seed {seed} --seeds {seeds}"
    if log is not None:
        command += f" --log {log} --answer {answer.value}"
    write_report(telling.page(told, command=command), out / "report.html")
    if as_json:
        typer.echo(json.dumps(telling.as_json(told), indent=1))
        return
    console = console_of()
    console.print(telling.table(told))
    console.print(f"\n{telling.verdict(told)}\n{telling.gate(told)}", highlight=False)
    console.print(
        f"\nIn {told.seconds:.0f} s. Look next at\n  {out / 'report.html'}   the pictures\n  {out / 'spend.db'}      "
        f"every decision, call and outcome\n  budget-router policies --ledger sqlite:///{out / 'spend.db'}",
        highlight=False,
    )


def _recorded(log: Path, answer: AnswerKind) -> recording.Recording:
    from budget_router_cli.recorded_log import recording_of

    if not log.exists():
        raise InvalidInput(f"{log} is not there: name the file that budget-router record wrote")
    with SqlLedger(f"sqlite:///{log}") as ledger:
        return recording_of(ledger, log.with_suffix(".replies.jsonl"), answer=answer.rule)
