"""Who spent what, when, on which model and by whose policy, and what accuracy it bought.

The database groups and sums. A decision's spend is that of its calls, late ones too; where none were recorded, what its
settlement says. A price that is not known is counted apart, and never as zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Column, ColumnElement, Connection, Label, Select, Text, and_, case, cast, func, select

from budget_router.errors import InvalidInput
from budget_router.evaluation import Estimate
from budget_router.evaluation.estimate import Z_95
from budget_router.frames import frame
from budget_router.records import usd
from budget_router.reports import Spender, SpendingResult
from budget_router_sql.ledger import SqlLedger
from budget_router_sql.schema import call_closings, decisions, outcomes, settlements
from budget_router_sql.spend_of_file import added_up

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_OF_DECISIONS = ("group", "strategy", "policy_version", "reason", "run_id", "thread_id", "menu_hash")
_OF_CALLS = ("model", "tariff")
BY = (*_OF_DECISIONS, "day", *_OF_CALLS)
"""What spend is told apart by; `day` is the UTC day of the decision."""
_N_SUMS, _NONE_IF_EMPTY = 9, {4, 7, 8}
"""Numbers of a row of `spend_by` after its names, and those that are `None` where nothing is known: money and scores."""
MOST_ROWS = 1000
"""Rows that are told, the dearest first."""


@dataclass(frozen=True)
class SpendRow:
    """What decisions that are alike spent, and what it bought."""

    by: tuple[str | None, ...]
    """What they have in common, in the order that was asked for; `None` where a decision has no such thing."""
    n_decisions: int
    n_calls: int
    prompt_tokens: int
    completion_tokens: int
    nano_usd: int | None
    """The sum of the known prices; `None` where none is known."""
    n_unpriced: int
    """Calls, or settlements without calls, whose price is not known."""
    n_graded: int
    score: float | None
    """Mean of the latest grades, `None` where none was graded."""
    standard_error: float | None
    """Of the mean score, decisions taken as independent; `None` below two grades."""

    @property
    def tokens_per_decision(self) -> float:
        """Mean of prompt and completion tokens together."""
        return (self.prompt_tokens + self.completion_tokens) / max(self.n_decisions, 1)

    @property
    def nano_usd_per_decision(self) -> float | None:
        """Mean money, `None` where a price is not known."""
        return None if self.nano_usd is None or self.n_unpriced else self.nano_usd / max(self.n_decisions, 1)

    @property
    def accuracy(self) -> Estimate:
        """Mean score and its 95 % interval; not a number where too few were graded."""
        if self.score is None:
            return Estimate(math.nan, math.nan, math.nan)
        half = math.nan if self.standard_error is None else Z_95 * self.standard_error
        return Estimate(self.score, self.score - half, self.score + half)

    @property
    def graded_share(self) -> float:
        """Share of the decisions that were graded."""
        return self.n_graded / max(self.n_decisions, 1)


@dataclass(frozen=True)
class SpendReport:
    """Spend by what was asked for, the dearest first, and in all."""

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    rows: tuple[SpendRow, ...]
    total: SpendRow
    """Of the whole window; a decision that called two models counts once here, and in each of their rows."""

    def frame(self) -> "DataFrame":
        """One row per group; raises ImportError where pandas is not installed."""
        facts = [name for name in SpendRow.__dataclass_fields__ if name != "by"]
        facts += ["tokens_per_decision", "nano_usd_per_decision", "graded_share"]
        names = {name: [row.by[place] for row in self.rows] for place, name in enumerate(self.by)}
        return frame(names | {fact: [getattr(row, fact) for row in self.rows] for fact in facts})

    def plot(self) -> "Figure":
        """Draw the dearest rows with what they bought: in USD where every price is known, else in tokens.

        Raises:
            ImportError: matplotlib is not installed.
        """
        is_priced = all(row.nano_usd is not None and not row.n_unpriced for row in self.rows)
        rows = [
            Spender(
                name=" · ".join("-" if name is None else name for name in row.by) or "all",
                n_decisions=row.n_decisions,
                spend=usd(row.nano_usd or 0) if is_priced else float(row.prompt_tokens + row.completion_tokens),
                accuracy=row.accuracy,
            )
            for row in self.rows or (self.total,)
        ]
        unit = "USD" if is_priced else "tokens"
        return SpendingResult(", ".join(self.by), unit, tuple(sorted(rows, key=lambda row: -row.spend))).plot()


def spend(
    ledger: SqlLedger,
    *,
    by: Sequence[str] = ("group", "strategy"),
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = MOST_ROWS,
) -> SpendReport:
    """Add up the spend of decisions of `since <= decided_at < until`, with what they were graded.

    >>> from budget_router.testing import example_call, recorded
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, SqlLedger(f"sqlite:///{folder}/spend.db") as ledger:
    ...     recorded(ledger)
    ...     ledger.close_call(example_call(nano_usd=54_000))
    ...     report = spend(ledger, by=["group", "day"])
    >>> [(row.by, row.n_calls, row.prompt_tokens, row.nano_usd) for row in report.rows]
    [(('support', '2026-03-01'), 1, 120, 54000)]

    Args:
        ledger: to be read.
        by: what to tell apart, of `BY`, in this order; nothing for the total alone.
        since: first moment of the window, with a time zone.
        until: end of the window, with a time zone.
        most: rows that are told, the dearest first.

    Raises:
        InvalidInput: no spend is told apart by such a name, or a time has no zone.
    """
    if unknown := [name for name in by if name not in BY]:
        raise InvalidInput(f"spend is not told by {unknown[0]!r}: choose among {', '.join(BY)}")
    for moment in (since, until):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{moment.isoformat()} has no time zone: give one, such as datetime.now(UTC)")
    names = tuple(dict.fromkeys(by))
    is_of_file = since is None and until is None and not set(names) & set(_OF_CALLS)
    with ledger.database.survey() as connection:
        found = _of_file(connection, names) if is_of_file and ledger.database.backend.looks_up_one_by_one else None
        rows, total = found or _asked(connection, names, since=since, until=until, most=most)
    return SpendReport(names, since, until, tuple(_row(row, len(names)) for row in rows[:most]), _row(total, 0))


_Found = tuple[Sequence[Sequence[Any]], Sequence[Any]]
"""Rows of groups, and the row of all; Any: sums are of the database's own type."""


def _asked(connection: Connection, names: Sequence[str], *, since: datetime | None, until: datetime | None, most: int) -> _Found:
    rows = connection.execute(spend_by(names, since=since, until=until, most=most)).all() if names else []
    if names and len(rows) < most and not set(names) & set(_OF_CALLS):  # each decision is in one of them, and all are told
        return rows, _together([row[len(names) :] for row in rows])
    return rows, connection.execute(spend_by((), since=since, until=until)).one()


def _of_file(connection: Connection, names: Sequence[str]) -> _Found | None:
    """The same of all decisions, added up in memory; `None` where what stands there cannot be."""
    try:
        rows = added_up(connection, [_of_decision(name) for name in names], np.random.default_rng())
    except ValueError:
        return None

    def order(row: Sequence[Any]) -> Any:  # Any: of whatever the groups have in common
        key = [(value is not None, value) for value in row[: len(names)]]
        tokens = row[len(names) + 2] + row[len(names) + 3]
        return [each for name, each in zip(names, key, strict=True) if name == "day"], -tokens, key

    return sorted(rows, key=order) if names else [], _together([row[len(names) :] for row in rows])


def spend_by(
    names: Sequence[str], *, since: datetime | None, until: datetime | None, most: int | None = None
) -> Select[Any]:  # Any: a row of many columns
    """Sums per group of decisions: the group's names, then the numbers that `SpendRow` is made of."""
    of_calls = [call_closings.c[name] for name in names if name in _OF_CALLS]
    calls = _calls_of_a_decision(of_calls)
    grades = _latest_grades()
    has_calls = calls.c.decision_id.is_not(None)

    def told(column: str) -> ColumnElement[Any]:  # Any: a sum is of the database's own type
        return func.coalesce(func.sum(case((has_calls, calls.c[column]), else_=settlements.c[column])), 0)

    settled_unpriced = and_(settlements.c.n_calls > 0, settlements.c.nano_usd.is_(None))
    n_unpriced = func.sum(case((has_calls, calls.c.n_unpriced), (settled_unpriced, 1), else_=0))
    keys = [_key(name, calls) for name in names]
    tokens = told("prompt_tokens") + told("completion_tokens")
    question = (
        select(
            *keys,
            func.count(decisions.c.id),
            told("n_calls"),
            told("prompt_tokens"),
            told("completion_tokens"),
            func.sum(case((has_calls, calls.c.nano_usd), else_=settlements.c.nano_usd)),
            func.coalesce(n_unpriced, 0),
            func.count(grades.c.score),
            func.sum(grades.c.score),
            func.sum(grades.c.score * grades.c.score),
        )
        .select_from(decisions)
        .outerjoin(calls, calls.c.decision_id == decisions.c.id)
        .outerjoin(settlements, settlements.c.decision_id == decisions.c.id)
        .outerjoin(grades, grades.c.decision_id == decisions.c.id)
    )
    if since is not None:
        question = question.where(decisions.c.decided_at >= since)
    if until is not None:
        question = question.where(decisions.c.decided_at < until)
    if not names:
        return question
    question = question.group_by(*(key.element for key in keys))
    in_order = [key.element for name, key in zip(names, keys, strict=True) if name == "day"]
    return question.order_by(*in_order, tokens.desc(), *(key.element for key in keys)).limit(most)


def _calls_of_a_decision(of_calls: Sequence[Column[Any]]) -> Any:  # Any: columns of any type, a subquery of labelled ones
    of = call_closings.c
    n_unpriced = func.count() - func.count(of.nano_usd)
    sums = [func.sum(of[name]).label(name) for name in ("prompt_tokens", "completion_tokens", "nano_usd")]
    return (
        select(of.decision_id, *of_calls, func.count().label("n_calls"), *sums, n_unpriced.label("n_unpriced"))
        .group_by(of.decision_id, *of_calls)
        .subquery("calls")
    )


def _latest_grades() -> Any:  # Any: a subquery of labelled columns
    of, latest = outcomes.c.decision_id, (outcomes.c.graded_at.desc(), outcomes.c.position.desc())
    ranked = select(
        outcomes.c.decision_id, outcomes.c.score, func.row_number().over(partition_by=of, order_by=latest).label("place")
    ).subquery()
    return select(ranked.c.decision_id, ranked.c.score).where(ranked.c.place == 1).subquery("grades")


def _key(name: str, calls: Any) -> Label[Any]:  # Any: a subquery of labelled columns
    column: ColumnElement[Any] = calls.c[name] if name in _OF_CALLS else _of_decision(name)
    return column.label(f"by_{name}")


def _of_decision(name: str) -> ColumnElement[Any]:  # Any: a column of any type
    return cast(func.date(decisions.c.decided_at), Text) if name == "day" else decisions.c[name]


def _together(parts: Sequence[Sequence[Any]]) -> list[Any]:  # Any: sums are of the database's own type
    """Sums of groups that share no decision, added up as the database adds: what is `None` in all stays so."""
    known = [[part[place] for part in parts if part[place] is not None] for place in range(_N_SUMS)]
    return [sum(each) if each else (None if place in _NONE_IF_EMPTY else 0) for place, each in enumerate(known)]


def _row(row: Sequence[Any], n_names: int) -> SpendRow:  # Any: sums are of the database's own type
    n_decisions, n_calls, prompt, completion, nano_usd, n_unpriced, n_graded, scores, squares = row[n_names:]
    mean = float(scores) / n_graded if n_graded else None
    error = None
    if mean is not None and n_graded > 1:
        error = math.sqrt(max(float(squares) - n_graded * mean * mean, 0.0) / (n_graded - 1) / n_graded)
    return SpendRow(
        by=tuple(None if value is None else str(value) for value in row[:n_names]),
        n_decisions=n_decisions,
        n_calls=int(n_calls),
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        nano_usd=None if nano_usd is None else int(nano_usd),
        n_unpriced=int(n_unpriced),
        n_graded=n_graded,
        score=mean,
        standard_error=error,
    )
