"""What an audit asks: each question is a statement that finds the rows that should not be there, and the same on every database.

An answer is a row per finding, of the columns in `COLUMNS`: its kind, the id it is named by, and how much it is about.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Double,
    FunctionElement,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from budget_router_sql.schema import (
    call_closings,
    call_openings,
    decisions,
    menus,
    outcomes,
    policies,
    promotions,
    samples,
    settlements,
    shadows,
    task_ngrams,
)

Question = Select[Any]
"""Any: a row of many columns."""

COLUMNS = ("kind", "name", "prompt_tokens", "completion_tokens", "nano_usd")
_AMOUNTS = ("prompt_tokens", "completion_tokens", "nano_usd")

CLOCK_SECONDS = 1.0
"""How far a call's end, by a clock that was set meanwhile, may be told too early."""


class seconds_between(FunctionElement[float]):  # noqa: N801  # reads as the function it is
    """Seconds from one moment to another, to the millisecond."""

    type = Double()
    inherit_cache = True


@compiles(seconds_between, "sqlite")
def _on_sqlite(element: seconds_between, compiler: SQLCompiler, **told: Any) -> str:  # Any: SQLAlchemy's signature
    start, end = (compiler.process(clause, **told) for clause in element.clauses)
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _on_postgresql(element: seconds_between, compiler: SQLCompiler, **told: Any) -> str:  # Any: SQLAlchemy's signature
    start, end = (compiler.process(clause, **told) for clause in element.clauses)
    return f"EXTRACT(epoch FROM {end} - {start})"


def first_of(question: Question, most: int) -> Question:
    """The first findings of each kind by name, each with the number of its kind and what they are about in all."""
    found = question.cte("found")
    counted = select(
        *(found.c[column] for column in COLUMNS),
        func.count().over(partition_by=found.c.kind).label("n"),
        *(func.sum(found.c[column]).over(partition_by=found.c.kind).label(f"all_{column}") for column in _AMOUNTS),
        func.row_number().over(partition_by=found.c.kind, order_by=found.c.name).label("place"),
    ).cte("counted")
    return select(counted).where(counted.c.place <= most).order_by(counted.c.kind, counted.c.place)


def _finding(kind: str, name: ColumnElement[Any], amounts: Table | None = None) -> Question:
    """Of rows that are found by one of `amounts`' tables, what they billed; else nothing."""
    billed = [literal(0).label(column) if amounts is None else amounts.c[column] for column in _AMOUNTS]
    return select(literal(kind).label("kind"), name.label("name"), *billed)


# --- the sum of a decision's calls is what its settlement says


def uneven_settlements() -> Question:
    """Settlements that are not the sum of their decisions' calls: `late_calls` where they are the sum of those that had ended.

    The amounts are what the calls billed beyond the settlement.
    """
    uneven = _uneven()
    ended = _in_order_of_their_end(uneven)
    next_is_late = and_(ended.c.next_ended.is_not(None), ended.c.next_ended >= -CLOCK_SECONDS)
    is_the_last = and_(ended.c.next_ended.is_(None), ended.c.settled_n_calls <= ended.c.so_far_calls + _n_open(ended))
    is_the_first = and_(ended.c.so_far_calls == 1, ended.c.ended >= -CLOCK_SECONDS, _is_nothing(ended))
    had_ended = or_(is_the_first, and_(_is_sum_so_far(ended), or_(next_is_late, is_the_last)))
    late = select(ended.c.decision_id).where(had_ended)
    kind = case(
        (and_(uneven.c.n_calls == 0, _is_nothing(uneven), uneven.c.settled_n_calls <= _n_open(uneven)), literal("late_calls")),
        (uneven.c.n_calls == 0, literal("calls_missing")),
        (uneven.c.decision_id.in_(late), literal("late_calls")),
        else_=literal("settlement_differs"),
    )
    billed = {column: func.coalesce(uneven.c[column], 0) - func.coalesce(uneven.c[f"settled_{column}"], 0) for column in _AMOUNTS}
    return select(
        kind.label("kind"), uneven.c.decision_id.label("name"), *(amount.label(column) for column, amount in billed.items())
    )


def _is_nothing(uneven: Any) -> ColumnElement[bool]:  # Any: a CTE of labelled columns
    return and_(
        uneven.c.settled_prompt_tokens + uneven.c.settled_completion_tokens == 0, func.coalesce(uneven.c.settled_nano_usd, 0) == 0
    )


def _n_open(uneven: Any) -> ColumnElement[int]:  # Any: a CTE of labelled columns
    """Calls of a decision that were opened and never closed."""
    closing = exists(select(literal(1)).where(call_closings.c.id == call_openings.c.id))
    opened = select(func.count()).select_from(call_openings)
    return opened.where(call_openings.c.decision_id == uneven.c.decision_id, ~closing).correlate(uneven).scalar_subquery()


def _uneven() -> Any:  # Any: a CTE of labelled columns
    """Settlements that are not the sum of their calls, with that sum.

    They are found first, in the order of writing, and summed up again after: ids have no order, and grouping all by them would
    look up every row in a place of its own.
    """
    calls = {column: func.sum(call_closings.c[column]) for column in _AMOUNTS}
    n_calls, n_priced = func.count(call_closings.c.id), func.count(call_closings.c.nano_usd)
    settled = settlements.c
    money = case(
        (settled.nano_usd.is_(None), and_(n_priced == n_calls, n_calls > 0)),
        else_=or_(n_priced < n_calls, settled.nano_usd != func.coalesce(calls["nano_usd"], 0)),
    )
    differs = or_(
        func.coalesce(calls["prompt_tokens"], 0) != settled.prompt_tokens,
        func.coalesce(calls["completion_tokens"], 0) != settled.completion_tokens,
        n_calls != settled.n_calls,
        money,
    )
    of_it = call_closings.c.decision_id == settled.decision_id
    is_uneven = (
        select(case((differs, 1), else_=0)).select_from(call_closings).where(of_it).correlate(settlements).scalar_subquery()
    )
    suspects = select(settled.decision_id).where(is_uneven == 1)
    return (
        select(
            settled.decision_id,
            settled.settled_at,
            settled.n_calls.label("settled_n_calls"),
            *(settled[column].label(f"settled_{column}") for column in _AMOUNTS),
            n_calls.label("n_calls"),
            *(amount.label(column) for column, amount in calls.items()),
        )
        .outerjoin_from(settlements, call_closings, of_it)
        .where(settled.decision_id.in_(suspects))
        .group_by(settled.decision_id)
        .cte("uneven")
    )


def _in_order_of_their_end(uneven: Any) -> Any:  # Any: CTEs of labelled columns
    """The calls of uneven decisions by their end, in seconds after the settlement, with what all had billed so far."""
    ended = call_closings.c.seconds - seconds_between(call_closings.c.started_at, uneven.c.settled_at)
    each = (
        select(
            uneven,
            ended.label("ended"),
            call_closings.c.id.label("call_id"),
            *(call_closings.c[column].label(f"call_{column}") for column in _AMOUNTS),
        )
        .join(call_closings, call_closings.c.decision_id == uneven.c.decision_id)
        .cte("each_call")
    )
    of, order = each.c.decision_id, (each.c.ended, each.c.call_id)
    so_far = {column: func.sum(each.c[f"call_{column}"]).over(partition_by=of, order_by=order) for column in _AMOUNTS}
    return select(
        each,
        *(amount.label(f"so_far_{column}") for column, amount in so_far.items()),
        func.count().over(partition_by=of, order_by=order).label("so_far_calls"),
        func.count(each.c.call_nano_usd).over(partition_by=of, order_by=order).label("so_far_priced"),
        func.lead(each.c.ended).over(partition_by=of, order_by=order).label("next_ended"),
    ).cte("ended")


def _is_sum_so_far(ended: Any) -> ColumnElement[bool]:  # Any: a CTE of labelled columns
    is_priced = ended.c.so_far_priced == ended.c.so_far_calls
    still_open = ended.c.settled_n_calls > ended.c.so_far_calls
    return and_(
        ended.c.so_far_prompt_tokens == ended.c.settled_prompt_tokens,
        ended.c.so_far_completion_tokens == ended.c.settled_completion_tokens,
        ended.c.so_far_calls <= ended.c.settled_n_calls,
        case(
            (ended.c.settled_nano_usd.is_(None), or_(~is_priced, still_open)),
            else_=and_(is_priced, ended.c.so_far_nano_usd == ended.c.settled_nano_usd),
        ),
    )


# --- every row names one that is there


def orphans() -> dict[str, Question]:
    """Rows whose decision, settlement, call or policy is not there, by kind."""
    asked = {
        "call_of_no_decision": (call_closings, "decision_id", decisions.c.id, call_closings.c.id),
        "opening_of_no_decision": (call_openings, "decision_id", decisions.c.id, call_openings.c.id),
        "settlement_of_no_decision": (settlements, "decision_id", decisions.c.id, settlements.c.decision_id),
        "grade_of_no_decision": (outcomes, "decision_id", decisions.c.id, outcomes.c.decision_id),
        "text_of_no_decision": (task_ngrams, "decision_id", decisions.c.id, task_ngrams.c.decision_id),
        "samples_of_no_settlement": (samples, "decision_id", settlements.c.decision_id, samples.c.decision_id),
        "shadow_of_no_decision": (shadows, "decision_id", decisions.c.id, shadows.c.decision_id),
        "promotion_of_no_policy": (promotions, "version", policies.c.version, promotions.c.version),
        "canary_of_no_policy": (promotions, "canary", policies.c.version, promotions.c.canary),
        "shadowing_by_no_policy": (promotions, "shadow", policies.c.version, promotions.c.shadow),
    }
    found = {
        kind: _finding(kind, named, table if table is call_closings else None).where(_has_no(table, column, target))
        for kind, (table, column, target, named) in asked.items()
    }
    return {**found, "sample_of_no_call": _samples_of_no_call()}


def _has_no(table: Table, column: str, target: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether what a row names is not there."""
    inner = table.alias()  # over an index alone, whose order is the target's
    return table.c[column].in_(select(inner.c[column]).where(~exists(select(literal(1)).where(target == inner.c[column]))))


def _samples_of_no_call() -> Question:
    known = [
        exists(select(literal(1)).where(calls.c.id == samples.c.call_id, calls.c.decision_id == samples.c.decision_id))
        for calls in (call_closings, call_openings)
    ]
    return _finding("sample_of_no_call", samples.c.decision_id).where(samples.c.call_id.is_not(None), ~known[0], ~known[1])


# --- what was opened is closed, what was decided is settled


def unfinished(before: datetime) -> dict[str, Question]:
    """Calls begun, and decisions made, before a moment, that have not ended; and closings that nothing opened; by kind."""
    never_closed = _finding("never_closed", call_openings.c.id, call_openings)
    never_opened = _finding("never_opened", call_closings.c.id, call_closings)
    return {
        "never_closed": never_closed.where(_has_no(call_openings, "id", call_closings.c.id), call_openings.c.started_at < before),
        "never_opened": never_opened.where(_has_no(call_closings, "id", call_openings.c.id)),
        "never_settled": _never_settled(before),
        "under_two_decisions": _finding("under_two_decisions", call_closings.c.id, call_closings)
        .join_from(call_closings, call_openings, call_openings.c.id == call_closings.c.id)
        .where(call_openings.c.decision_id != call_closings.c.decision_id),
    }


def _never_settled(before: datetime) -> Question:
    billed = {
        column: select(func.sum(call_closings.c[column])).where(call_closings.c.decision_id == decisions.c.id).scalar_subquery()
        for column in _AMOUNTS
    }
    return select(
        literal("never_settled").label("kind"),
        decisions.c.id.label("name"),
        *(func.coalesce(amount, 0).label(column) for column, amount in billed.items()),
    ).where(_has_no(decisions, "id", settlements.c.decision_id), decisions.c.decided_at < before)


# --- what a row says by itself


class OddRow(NamedTuple):
    """What no row of ours says, or somebody may want to know of."""

    kind: str
    name: ColumnElement[Any]
    table: Table
    is_odd: ColumnElement[bool]

    @property
    def question(self) -> Question:
        """The rows it is true of."""
        return _finding(self.kind, self.name, self.table if self.table is call_closings else None).where(self.is_odd)


def odd_rows() -> list[OddRow]:
    """Values that no record of ours holds, for a database whose checks were taken away, or evaded, may; and unknown ones."""
    closed, settled = call_closings.c, settlements.c
    has_odd_counts = or_(closed.reasoning_tokens > closed.completion_tokens, closed.cached_tokens > closed.prompt_tokens)
    is_decided = and_(
        decisions.c.propensity.between(0, 1),
        decisions.c.propensity > 0,
        decisions.c.expected_cost >= 0,
        decisions.c.shadow_price >= 0,
    )
    is_settled_wrong = or_(
        *(settled[column] < 0 for column in (*_AMOUNTS, "n_calls")), ~func.coalesce(settled.agreement, 0).between(0, 1)
    )
    return [
        *(OddRow("impossible_call", calls.c.id, calls, _is_negative(calls)) for calls in (call_closings, call_openings)),
        OddRow("odd_counts", closed.id, call_closings, has_odd_counts),
        OddRow("unpriced", closed.id, call_closings, closed.nano_usd.is_(None)),
        OddRow("impossible_decision", decisions.c.id, decisions, ~is_decided),
        OddRow("decision_of_no_menu", decisions.c.id, decisions, decisions.c.menu_hash.not_in(select(menus.c.hash))),
        OddRow("impossible_settlement", settled.decision_id, settlements, is_settled_wrong),
        OddRow("impossible_grade", outcomes.c.decision_id, outcomes, ~outcomes.c.score.between(0, 1)),
    ]


def _is_negative(calls: Table) -> ColumnElement[bool]:
    return or_(*(calls.c[column] < 0 for column in (*_AMOUNTS, "reasoning_tokens", "cached_tokens", "seconds")))


def totals(table: Table, odd: Sequence[OddRow]) -> Question:
    """In one pass over a table: its calls or else its rows, what it bills in all, and how many rows are odd in some way."""
    is_billed = table in {call_closings, settlements}
    amounts = [func.sum(table.c[column]) if is_billed else literal(0) for column in _AMOUNTS]
    n_odd = func.count(case((or_(*(one.is_odd for one in odd)), 1)))
    return select(func.sum(table.c.n_calls) if table is settlements else func.count(), *amounts, n_odd).select_from(table)


# --- numbers in a row


def n_and_ends(table: Table) -> Question:
    """How many rows a table has, and its first and last position."""
    asked = {"n_rows": func.count(), "first": func.min(table.c.position), "last": func.max(table.c.position)}
    # apart, each is read at one end of the key
    return select(*(select(one).select_from(table).scalar_subquery().label(name) for name, one in asked.items()))


def missing_positions(table: Table) -> Question:
    """Gaps in the numbering of a table, where a missing number tells of a row that was taken away."""
    position = table.c.position
    before = func.lag(position, 1, 0).over(order_by=position)
    numbered = select(position.label("position"), before.label("before")).cte("numbered")
    first, last = cast(numbered.c.before + 1, Text), cast(numbered.c.position - 1, Text)
    named = literal(f"{table.name} ", Text) + first + literal(" to ", Text) + last
    return _finding("rows_missing", named).where(numbered.c.position > numbered.c.before + 1)


# --- sums


def unsettled_calls() -> Question:
    """Number of the calls of decisions without a settlement, and what they billed."""
    inner = call_closings.alias()  # over an index alone, as above
    settled = exists(select(literal(1)).where(settlements.c.decision_id == inner.c.decision_id))
    unsettled = call_closings.c.decision_id.in_(select(inner.c.decision_id).where(~settled))
    sums: list[ColumnElement[Any]] = [func.sum(call_closings.c[column]) for column in _AMOUNTS]  # Any: the database's own type
    return select(func.count(), *sums).where(unsettled)
