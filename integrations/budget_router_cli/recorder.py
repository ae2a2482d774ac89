"""The command that records a log to learn from, where there is none yet."""

import json
from pathlib import Path
from typing import Annotated

import typer

from budget_router_cli.answer_kind import AnswerKind
from budget_router_cli.options import MENU, AsJson
from budget_router_cli.terminal import lines
from budget_router_sql import SqlLedger

app = typer.Typer()


@app.command(
    epilog="Example: budget-router record tasks.jsonl --model openai:gpt-4o-mini --menu menu.toml --max-spend 5:usd --out log.db"
)
def record(
    tasks: Annotated[Path, typer.Argument(help="JSON Lines: text and gold, if known id, group and metadata.")],
    model: Annotated[str, typer.Option(help="As LangChain's init_chat_model takes it, provider:name.")],
    menu: Annotated[
        Path, typer.Option(envvar=MENU, help="TOML: a [[strategy]] table each, and [tariff.MODEL] for prices of your own.")
    ],
    max_spend: Annotated[str, typer.Option(help="Of the whole recording, e.g. 5:usd or 2000000:tokens.")],
    out: Annotated[Path, typer.Option(help="SQLite file of the log; the replies stand beside it.")],
    answer: Annotated[AnswerKind, typer.Option(help="How answers are found in replies, and compared.")] = AnswerKind.EXACT,
    concurrency: Annotated[int, typer.Option(min=1, help="Most calls at once.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Run every strategy of a menu on tasks with known answers; run again, it goes on where it was."""
    from budget_router_cli.chat_models import chat_model, named_models
    from budget_router_cli.menu_file import read_menu
    from budget_router_cli.task_file import read_tasks
    from budget_router_cli.vote_bar import vote_bar
    from budget_router_langchain import SpendLimit
    from budget_router_langchain import record as record_tasks

    limit = SpendLimit.parse(max_spend)
    listed, offered = read_tasks(tasks), read_menu(menu)
    default, named = chat_model(model), named_models(offered.menu)
    with SqlLedger(f"sqlite:///{out}") as book, vote_bar(limit) as progress:
        recording = record_tasks(
            listed,
            menu=offered.menu,
            model=default,
            models=named,
            tariffs=offered.tariffs,
            ledger=book,
            max_spend=limit,
            answer=answer.rule,
            replies=out.with_suffix(".replies.jsonl"),
            max_concurrency=concurrency,
            progress=progress,
        )
    facts = {
        "n_tasks": recording.n_tasks,
        "n_bundles": recording.n_bundles,
        "n_recorded": recording.n_recorded,
        "n_failed": recording.n_failed,
        "spent": recording.spent,
        "max_spend": limit.total,
        "unit": limit.unit,
        "is_bounded": recording.is_bounded,
        "is_complete": recording.is_complete,
        "added_to_menu": [name for name in recording.menu.names if name not in offered.menu.names],
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    left = recording.n_bundles - recording.n_recorded
    lines(
        ("recorded", f"{recording.n_recorded:,} of {recording.n_bundles:,} votes on {recording.n_tasks:,} tasks"),
        (
            "spent",
            f"{recording.spent:.6g} of {limit}" + ("" if recording.is_bounded else ", a limit that calls in flight may pass"),
        ),
        *([("left", f"{left:,}, {recording.n_failed:,} of them failed: run it again, or raise --max-spend")] if left else []),
        ("next", f"budget-router train {out} --menu {menu} --budget ... --out policy"),
    )
