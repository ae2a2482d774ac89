"""What an audit asks of hard caps: whether their counters say what their book adds up to, and what was set aside for good.

The book alone tells what is set aside. A decision's reservation holds what it was, less what its calls took out of it: each its
claim, or what it paid where it claimed nothing; what is set aside under a call is its claim; and what has ended holds nothing.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, and_, case, func, literal, or_, select

from budget_router_sql.schema import cap_accounts, cap_buckets, cap_events, cap_reservations

Question = Select[Any]
"""Any: a row of many columns, those of `questions.COLUMNS`."""

_ENDS = ("paid", "settled", "expired")


def of_caps(at: datetime) -> list[Question]:
    """Counters that differ from the book, and reservations that ended by themselves, or are to at this moment."""
    return [_miscounted_reservations(), _miscounted_accounts(), _unsettled(at)]


def _finding(kind: str, name: ColumnElement[str]) -> Question:
    nothing: list[Any] = [literal(0).label(column) for column in ("prompt_tokens", "completion_tokens", "nano_usd")]
    return select(literal(kind).label("kind"), name.label("name"), *nothing)


def _sum_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, cap_events.c.amount), else_=0))


def _count_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _told() -> CTE:
    """What the book says of each id: `held` now, and `paid` in all."""
    event = cap_events.c.event
    lines = (
        select(
            cap_events.c.reservation_id,
            cap_events.c.decision_id,
            cap_events.c.account,
            _sum_where(event == "reserved").label("reserved"),
            _sum_where(event == "claimed").label("claimed"),
            _sum_where(event.in_(_ENDS)).label("paid"),
            _count_where(event == "reserved").label("n_reserved"),
            _count_where(event == "claimed").label("n_claimed"),
            _count_where(event.in_(_ENDS)).label("n_ended"),
            func.min(cap_events.c.position).label("first"),
        )
        .group_by(cap_events.c.reservation_id, cap_events.c.decision_id, cap_events.c.account)
        .cte("cap_lines")
    )
    whole = lines.alias("cap_wholes")
    took = func.sum(case((lines.c.n_claimed > 0, lines.c.claimed), else_=lines.c.paid))
    taken = (
        select(lines.c.decision_id, took.label("taken"))
        .join_from(lines, whole, whole.c.reservation_id == lines.c.decision_id)
        .where(lines.c.n_reserved == 0, lines.c.first > whole.c.first)  # nothing is taken out of what is not there yet
        .group_by(lines.c.decision_id)
        .cte("cap_taken")
    )
    rest = lines.c.reserved - func.coalesce(taken.c.taken, 0)
    held = case(
        (lines.c.n_ended > 0, 0),
        (lines.c.n_reserved == 0, lines.c.claimed),
        (rest > 0, rest),
        else_=0,
    )
    return (
        select(lines.c.reservation_id, lines.c.account, lines.c.paid, held.label("held"))
        .outerjoin_from(lines, taken, taken.c.decision_id == lines.c.reservation_id)
        .cte("cap_told")
    )


def _miscounted_reservations() -> Question:
    told, kept = _told(), cap_reservations.c
    differs = or_(kept.id.is_(None), told.c.account != kept.account, told.c.held != kept.amount, told.c.paid != kept.paid)
    in_book = _finding("cap_miscounted", told.c.reservation_id).outerjoin_from(
        told, cap_reservations, kept.id == told.c.reservation_id
    )
    not_in_book = _finding("cap_miscounted", kept.id).outerjoin_from(cap_reservations, told, kept.id == told.c.reservation_id)
    found = in_book.where(differs).union_all(not_in_book.where(told.c.reservation_id.is_(None))).subquery()
    return select(found)


def _miscounted_accounts() -> Question:
    told, account = _told(), cap_accounts.c.account
    held = select(func.coalesce(func.sum(told.c.held), 0)).where(told.c.account == account).scalar_subquery()
    paid = select(func.coalesce(func.sum(told.c.paid), 0)).where(told.c.account == account).scalar_subquery()
    counted = select(func.coalesce(func.sum(cap_buckets.c.paid), 0)).where(cap_buckets.c.account == account).scalar_subquery()
    return _finding("cap_miscounted", account).select_from(cap_accounts).where(or_(cap_accounts.c.held != held, counted != paid))


def _unsettled(at: datetime) -> Question:
    kept = cap_reservations.c
    overdue = and_(kept.state == "open", kept.expires_at <= at)
    return _finding("reservation_unsettled", kept.id).where(or_(kept.state == "expired", overdue))
