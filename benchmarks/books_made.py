"""Books of any size, made past the ledger's writer: a real, migrated file, filled by bulk inserts in the order of serving."""

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from budget_router import Budget, Call, Decision, ExtendedCoT, Menu, SelfConsistency, SingleShot, Tariff, Tariffs, Task
from budget_router.features.structure import STRUCTURE_VERSION, structural_features
from budget_router.ids import Ids
from budget_router.records import Outcome, Sample, Settlement, Spend
from budget_router.testing import NOON
from budget_router_sql import SqlLedger
from budget_router_sql.rows import call_row, decision_row, menu_row, outcome_row, sample_rows, settlement_row
from budget_router_sql.schema import call_closings, call_openings, decisions, menus, outcomes, samples, settlements

MENU = Menu([SingleShot(), SelfConsistency(k=5), ExtendedCoT(effort="high")])
PROPENSITIES = dict(zip(MENU.names, (0.6, 0.2, 0.2), strict=True))
TARIFFS = Tariffs({"small": Tariff(prompt="0.15", completion="0.6")})
BUDGET = Budget(per_task=1000)
GROUPS = ("billing", "research", "support")
AT_ONCE = 1000
"""Decisions whose rows are inserted table by table, as commits that many writers share leave them."""
_SECONDS_APART = 5
_MOULDS = 300
_EVERY_GRADED, _EVERY_OPEN = 2, 1000
"""Of so many decisions one is graded, and one was never settled."""
_CACHE_KIB = 2 * 1024 * 1024
_OWN = {"id", "task_id", "thread_id", "run_id", "decided_at", "started_at", "settled_at", "graded_at", "decision_id", "digest"}
_OWN |= {"task_text", "features"}
_TOLD = {
    table: [(place, column.name) for place, column in enumerate(table.columns) if column.name in _OWN]
    for table in (decisions, call_openings, call_closings, settlements, samples, outcomes)
}
"""What is each row's own, and where it stands."""
_OF_CALL = {
    table: list(table.columns.keys()).index(name)
    for table, name in ((samples, "call_id"), (call_openings, "id"), (call_closings, "id"))
}
"""Where the id of a call stands in a row."""


@dataclass(frozen=True)
class Mould:
    """What a decision and all that came of it look like, but for ids and times."""

    decision: Decision
    task: Task
    calls: tuple[Call, ...]
    settlement: Settlement
    outcome: Outcome

    @classmethod
    def of(cls, number: int, rng: random.Random) -> "Mould":
        """One of many, each of its own text, strategy, counts and answers."""
        km, speed = rng.randint(100, 900), rng.randint(50, 120)
        text = f"A train leaves at 9:40 and covers {km} km at {speed} km/h; when does it arrive? " * rng.randint(1, 4)
        (name,) = rng.choices(MENU.names, list(PROPENSITIES.values()))
        task = Task(text, metadata={"turn": rng.randint(1, 9), "team": rng.choice(("north", "south"))})
        calls = tuple(call_of(index, rng.randint(100, 900), rng) for index in range(MENU[name].n_samples))
        answers = [rng.choice(("right", "wrong", None)) for _ in calls]
        return cls.served(task, name, calls, answers, propensities=PROPENSITIES, group=GROUPS[number % len(GROUPS)])

    @classmethod
    def served(
        cls,
        task: Task,
        name: str,
        calls: Sequence[Call],
        answers: Sequence[str | None],
        *,
        menu: Menu = MENU,
        propensities: Mapping[str, float],
        group: str,
    ) -> "Mould":
        """A task served by one strategy of a menu: its calls, and what each of them answered, `right` or not."""
        graded: dict[str, float] = {answer: float(answer == "right") for answer in answers if answer is not None}
        winner = max(graded, key=answers.count, default=None)
        return cls(
            decision=Decision(
                id="d",
                task_id="t",
                group=group,
                strategy=menu[name],
                propensities=propensities,
                shadow_price=2e-5,
                expected_cost=900.0,
                expected_accuracy=0.7,
                budget=BUDGET,
                policy_version="policy-0",
                menu_hash=menu.hash,
                features=structural_features(task.text),
                features_version=STRUCTURE_VERSION,
                decided_at=NOON,
            ),
            task=task,
            calls=tuple(calls),
            settlement=Settlement(
                decision_id="d",
                samples=tuple(Sample(index=index, call_id="c", answer_key=answer) for index, answer in enumerate(answers)),
                answer_key=winner,
                spend=Spend.of(tuple(calls), seconds=2.0),
                settled_at=NOON,
            ),
            outcome=Outcome(decision_id="d", score=graded.get(winner or "", 0.0), answer_scores=graded, graded_at=NOON),
        )

    @cached_property
    def rows(self) -> Mapping[Table, Sequence[list[Any]]]:
        """Rows of every table, in the order of its columns; Any: of each column's own type."""
        decision = {"position": None, **decision_row(self.decision, self.task, with_text=True)}
        opened = [
            call.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0, "nano_usd": None, "tariff": None, "seconds": 0.0})
            for call in self.calls
        ]
        return {
            decisions: [_in_order(decisions, decision)],
            call_openings: [_in_order(call_openings, call_row(call)) for call in opened],
            call_closings: [_in_order(call_closings, call_row(call)) for call in self.calls],
            settlements: [_in_order(settlements, settlement_row(self.settlement))],
            samples: [_in_order(samples, row) for row in sample_rows(self.settlement)],
            outcomes: [_in_order(outcomes, {"position": None, **outcome_row(self.outcome)})],
        }


def call_of(index: int, completion_tokens: int, rng: random.Random) -> Call:
    """A call that was closed, with an answer of some length."""
    prompt_tokens = rng.randint(50, 400)
    bill = TARIFFS.bill("small", prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    return Call(
        id=f"c{index}",
        decision_id="d",
        model="small",
        started_at=NOON,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        nano_usd=bill.nano_usd,
        tariff=bill.tariff,
        seconds=1.25,
    )


def _in_order(table: Table, row: Mapping[str, Any]) -> list[Any]:  # Any: of each column's own type
    return [row[column.name] for column in table.columns]


Serve = Callable[[int, random.Random], tuple[Mould, Mapping[str, object]]]
"""Finds the mould of the decision of a number, and what else is its own, by the column's name."""


def make(path: Path, n_decisions: int, *, seed: int = 0, menu: Menu = MENU, serve: Serve | None = None) -> None:
    """Make a ledger with so many decisions, their calls, settlements, samples and, of every other one, an outcome."""
    SqlLedger(f"sqlite:///{path}").close()
    rng = random.Random(seed)  # noqa: S311  # no secret
    serve = serve or _any_of([Mould.of(number, rng) for number in range(_MOULDS)])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = {-_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.execute(_insertion(menus), _in_order(menus, menu_row(menu)))
        for start in range(0, n_decisions, AT_ONCE):
            batch = range(start, min(start + AT_ONCE, n_decisions))
            for table, rows in _served(batch, serve, rng).items():
                connection.executemany(_insertion(table), rows)
        connection.execute("COMMIT")


def _insertion(table: Table) -> str:
    places = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} VALUES ({places})"  # noqa: S608  # our own names


def _any_of(moulds: Sequence[Mould]) -> Serve:
    return lambda number, rng: (moulds[rng.randrange(len(moulds))], {"task_id": f"task {number // 2}"})


def _served(numbers: range, serve: Serve, rng: random.Random) -> dict[Table, list[list[Any]]]:  # Any: as above
    """Rows of decisions in a row, with ids as `new_id` and LangChain make them: of the moment, and random beyond it."""
    rows: dict[Table, list[list[Any]]] = {table: [] for table in _TOLD}
    for number in numbers:
        mould, own = serve(number, rng)
        decided_at = NOON + timedelta(seconds=_SECONDS_APART * number)
        new_id = Ids(clock=partial(int, decided_at.timestamp() * 1e9), chance=rng.randbytes)
        name, calls = new_id(), [new_id() for _ in mould.calls]
        told = {**own, "id": name, "thread_id": f"thread {number // 4}", "run_id": f"run {number}"}
        later = _text(decided_at + timedelta(seconds=4))
        now = {"decided_at": _text(decided_at), "started_at": _text(decided_at), "settled_at": later, "graded_at": later}
        is_open, is_graded = number % _EVERY_OPEN == 0, number % _EVERY_GRADED == 0
        left_out = {call_closings, settlements, samples} if is_open else set()
        left_out |= set() if is_graded and not is_open else {outcomes}
        for table, moulded in mould.rows.items():
            if table not in left_out:
                rows[table] += _cast(table, moulded, {**told, **now, "decision_id": name, "digest": f"{name}{name}"}, calls)
    return rows


def _cast(table: Table, moulded: Sequence[list[Any]], told: Mapping[str, object], calls: Sequence[str]) -> Iterator[list[Any]]:
    """Rows of a mould with ids and times of their own; Any: as above."""
    places, of_call = _TOLD[table], _OF_CALL.get(table)
    for row, call in zip(moulded, calls, strict=False):
        mine = row.copy()
        for place, name in places:
            if name in told:
                mine[place] = told[name]
        if of_call is not None:
            mine[of_call] = call
        yield mine


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.000000"  # as SQLAlchemy writes it
