"""The command line: each command parses, calls one public function, and prints.

Data goes to standard output, talk to standard error; exit code 0 is done, 1 failed, 2 misused.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from budget_router import Budget, BudgetRouterError, Menu, Refresh
from budget_router import export as export_ledger
from budget_router import refresh as refresh_ledger
from budget_router import rollback as rollback_policy
from budget_router.errors import InvalidInput
from budget_router.evaluation import OffPolicyEstimate
from budget_router_cli import books, recording
from budget_router_cli.answer_kind import AnswerKind
from budget_router_cli.options import AsJson, LedgerUrl, moment, opened
from budget_router_langchain import Recording, SpendLimit
from budget_router_langchain import record as record_tasks
from budget_router_sql import SqlLedger
from budget_router_sql import migrate as migrate_ledger

app = typer.Typer(
    name="budget-router",
    help="Decides, before each reasoning step of an LLM agent, how much test-time compute the task deserves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(books.app)
_talk = Console(stderr=True)


def main() -> None:
    """Run a command; a user's slip shows our error text, not a traceback."""
    try:
        app()
    except BudgetRouterError as error:
        _talk.print(f"[bold red]error[/] {type(error).__name__}:", end=" ", highlight=False)
        _talk.print(str(error), markup=False, highlight=False)
        sys.exit(1)


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
    with _progress() as progress:
        replayed = recording.load_recording() if log is None else _recorded(log, answer)
        told = story.tell(average, recording=replayed, seed=seed, n_seeds=seeds, out=out, progress=progress)
    command = f"budget-router demo --budget {average.per_task:g} --seed {seed} --seeds {seeds}"
    if log is not None:
        command += f" --log {log} --answer {answer.value}"
    write_report(telling.page(told, command=command), out / "report.html")
    if as_json:
        typer.echo(json.dumps(telling.as_json(told), indent=1))
        return
    console = Console(width=100) if not sys.stdout.isatty() else Console()
    console.print(telling.table(told))
    console.print(f"\n{telling.verdict(told)}", highlight=False)
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


@app.command(
    epilog="Example: budget-router record tasks.jsonl --model openai:gpt-4o-mini --menu menu.toml --max-spend 5:usd --out log.db"
)
def record(
    tasks: Annotated[Path, typer.Argument(help="JSON Lines: text and gold, if known id, group and metadata.")],
    model: Annotated[str, typer.Option(help="As LangChain's init_chat_model takes it, provider:name.")],
    menu: Annotated[Path, typer.Option(help="TOML: a [[strategy]] table each, and [tariff.MODEL] for prices of your own.")],
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

    limit = SpendLimit.parse(max_spend)
    listed, offered = read_tasks(tasks), read_menu(menu)
    default, named = chat_model(model), named_models(offered.menu)
    with SqlLedger(f"sqlite:///{out}") as book, _recording_progress(limit) as progress:
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
    _lines(
        ("recorded", f"{recording.n_recorded:,} of {recording.n_bundles:,} votes on {recording.n_tasks:,} tasks"),
        (
            "spent",
            f"{recording.spent:.6g} of {limit}" + ("" if recording.is_bounded else ", a limit that calls in flight may pass"),
        ),
        *([("left", f"{left:,}, {recording.n_failed:,} of them failed: run it again, or raise --max-spend")] if left else []),
        ("next", f"budget-router train {out} --menu {menu} --budget ... --out policy"),
    )


@app.command(epilog="Example: budget-router train log.db --budget 0.002:usd --out policy")
def train(
    log: Annotated[Path, typer.Argument(help="SQLite file that `record` or a router wrote.")],
    budget: Annotated[str, typer.Option(help="Average per task, as number:unit.")],
    out: Annotated[Path, typer.Option(help="Folder of the policy, for load_policy.")],
    menu: Annotated[
        Path | None, typer.Option(help="TOML menu to choose from; that of the log's latest decision if none.")
    ] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn a policy from a log and write it to a folder, which load_policy reads."""
    from budget_router import save_policy
    from budget_router_cli.menu_file import read_menu

    average = Budget.parse(budget)
    with opened(f"sqlite:///{log}") as book:
        offered = read_menu(menu).menu if menu else book.latest().menu
        result = refresh_ledger(book, menu=offered, budget=average, learner=learner, seed=seed)
    save_policy(result.policy, out)
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "folder": str(out)}, indent=1))
        return
    _tell(result)
    _lines(("saved", f'{out}: BudgetRouter(menu, budget, policy=load_policy("{out}"))'))


@app.command(epilog="Example: budget-router refresh --ledger sqlite:///spend.db --budget 800:tokens --since 30d")
def refresh(
    ledger: LedgerUrl,
    budget: Annotated[str, typer.Option(help="Average per task, as number:unit.")],
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    weak_labels: Annotated[
        bool, typer.Option("--weak-labels", help="Learn from ungraded votes too, by how far their samples agree.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="Let the candidate serve.")] = True,
    as_json: AsJson = False,
) -> None:
    """Learn a policy again from what was logged, under the menu of the latest decision."""
    average = Budget.parse(budget)
    with opened(ledger) as book:
        menu = book.latest().menu
        result = refresh_ledger(
            book, menu=menu, budget=average, learner=learner, weak_labels=weak_labels, since=moment(since), seed=seed
        )
        if promote:
            result.promote()
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "promoted": promote}, indent=1))
        return
    _tell(result)
    if weak_labels:
        _lines(("weak", f"{max(result.n_weak.values()):,} tasks of a strategy labelled by agreement"))
    _lines(
        *(("doubt", doubt) for doubt in result.weak_doubts),
        ("promoted" if promote else "kept", "routers of this menu pick it up within seconds" if promote else "not serving"),
    )


def _told(result: Refresh, seed: int) -> dict[str, object]:
    """A candidate and its evidence for machines."""
    return {
        "version": result.version,
        "n_decisions": result.n_decisions,
        "n_tasks": result.n_tasks,
        "n_graded": result.n_graded,
        "n_weak": result.n_weak,
        "weak_doubts": result.weak_doubts,
        "shadow_price": result.allocation.lam,
        "duality_gap": result.allocation.duality_gap,
        "accuracy": _facts(result.accuracy),
        "gain": _facts(result.gain),
        "spend": _facts(result.spend),
        "budget": result.budget.per_task,
        "seed": seed,
    }


def _tell(result: Refresh) -> None:
    """A candidate and its evidence for people."""
    unit, allocation = result.budget.unit.replace("_", " "), result.allocation
    _lines(
        ("read", f"{result.n_decisions:,} decisions on {result.n_tasks:,} tasks"),
        ("solved", f"λ = {allocation.lam:.3g} per {unit} · spend {allocation.spend:.4g} of {result.budget.per_task:g}"),
        ("candidate", f"{result.version} · accuracy {result.accuracy} · spend {result.spend}"),
        ("gain", f"{result.gain} over the best static mix at that spend, held out, doubly robust"),
        ("evidence", f"{result.gain.n:,} graded decisions, effective sample size {result.gain.effective_sample_size:,.0f}"),
    )


def _facts(estimate: OffPolicyEstimate) -> dict[str, float | str | None]:
    """An estimate for JSON, which knows no NaN."""
    return {key: None if isinstance(fact, float) and math.isnan(fact) else fact for key, fact in asdict(estimate).items()}


@app.command(epilog="Example: budget-router policies --ledger sqlite:///spend.db")
def policies(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """List the policies learned for the menu of the latest decision, with their evidence; the active one is marked."""
    with opened(ledger) as book:
        menu: Menu = book.latest().menu
        active = book.registry.active_version(menu.hash)
        records = [book.registry.load(version) for version in book.registry.versions(menu.hash)]
    if as_json:
        rows: list[dict[str, Any]] = [  # Any: JSON
            {"version": one.version, "active": one.version == active, "created_at": one.created_at.isoformat(), **one.evidence}
            for one in records
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    for one in records:
        mark = "active" if one.version == active else ""
        gain = one.evidence.get("gain")
        shown = "gain {:+.3f} [{:+.3f}, {:+.3f}]".format(*gain) if isinstance(gain, list) else ""
        typer.echo(f"{one.version}  {one.created_at:%Y-%m-%d %H:%M}  {mark:6s}  {shown}")
    if not records:
        _talk.print("no policy was learned for this menu yet: budget-router refresh", highlight=False)


@app.command(epilog="Example: budget-router promote 77ac9cca7023 --ledger sqlite:///spend.db")
def promote(version: Annotated[str, typer.Argument(help="As `policies` lists it.")], ledger: LedgerUrl) -> None:
    """Let a saved policy serve; naming an older one rolls back."""
    with opened(ledger) as book:
        book.registry.promote(version)
    typer.echo(f"{version} serves; routers of its menu pick it up within seconds")


@app.command(epilog="Example: budget-router rollback --ledger sqlite:///spend.db")
def rollback(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """Let the policy serve again that served before, under the menu of the latest decision; again, the one before that."""
    with opened(ledger) as book:
        version = rollback_policy(book, menu=book.latest().menu)
    typer.echo(json.dumps({"version": version}) if as_json else f"{version} serves again; routers pick it up within seconds")


@app.command(epilog="Example: budget-router export spend.parquet --ledger sqlite:///spend.db --since 30d")
def export(
    path: Annotated[Path, typer.Argument(help="File to write: .jsonl is exact, .csv and .parquet are tables.")],
    ledger: LedgerUrl,
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write decisions with their spend and grades to a file."""
    with opened(ledger) as book:
        done = export_ledger(book, path, since=moment(since))
    if as_json:
        typer.echo(json.dumps({"path": str(done.path), "n_decisions": done.n_decisions}, indent=1))
    else:
        typer.echo(f"{done.n_decisions:,} decisions in {done.path}")


@app.command(epilog="Example: budget-router migrate --ledger postgresql+psycopg://owner@host/spend")
def migrate(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """Bring a ledger to the schema of this version, or make one; SQLite files need no such command."""
    done = migrate_ledger(ledger)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=1))
    elif done.found == done.revision:
        typer.echo(f"at schema {done.revision} already")
    else:
        typer.echo(f"at schema {done.revision}, {'made anew' if done.found is None else f'migrated from {done.found}'}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    columns = TextColumn("{task.description:32s}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=_talk, disable=not _talk.is_terminal) as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
                if not _talk.is_terminal:
                    _talk.print(f"{what}: {total}", highlight=False)
            bars.update(known[what], completed=done)

        yield tell


@contextmanager
def _recording_progress(limit: SpendLimit) -> Iterator[Callable[[Recording], None]]:
    """A bar of votes with the running spend beside it."""
    columns = TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=_talk, disable=not _talk.is_terminal) as bars:
        bar = bars.add_task("")

        def tell(so_far: Recording) -> None:
            failed = f", {so_far.n_failed} failed" if so_far.n_failed else ""
            spent = f"{so_far.spent:.6g} of {limit}{failed}"
            bars.update(bar, total=so_far.n_bundles, completed=so_far.n_recorded, description=spent)

        yield tell


def _lines(*lines: tuple[str, str]) -> None:
    for name, text in lines:
        typer.echo(f"{name:10s}{text}")
