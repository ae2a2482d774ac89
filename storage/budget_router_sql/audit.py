"""Prove the books: the sum of the calls is the sum of the decisions is tariffs × tokens, and every row has its place.

The database does the sums. What does not add up is named by the id of its decision or call.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, Table, select

from budget_router.errors import InvalidInput
from budget_router.records import now
from budget_router.tariffs import Tariffs
from budget_router_sql import cap_questions, questions
from budget_router_sql.engine import Database
from budget_router_sql.ledger import SqlLedger
from budget_router_sql.prices import Priced, is_priced_right, long_or_hourly, mispriced, n_priced, priced_calls
from budget_router_sql.schema import (
    call_closings,
    call_openings,
    decisions,
    erasures,
    meta,
    outcomes,
    policies,
    promotions,
    settlements,
    solves,
)
from budget_router_sql.screen import ruled_out

if TYPE_CHECKING:
    from pandas import DataFrame

OPEN_FOR = timedelta(hours=1)
"""After which a call or a decision that has not ended is told of: longer than any we know of takes."""
_OFTEN_FOUND = ("never_closed", "never_settled")
"""Kinds that a ledger in use nearly always has, so that they are asked for whatever a screen says."""
_MOMENT = select(meta.c.key).limit(1)
_NUMBERED = (decisions, outcomes, policies, promotions, solves, erasures)
MOST_NAMED = 100
"""Findings of a kind that are named; all are counted."""


class Kind(NamedTuple):
    """What a finding means."""

    says: str
    mend: str
    is_fault: bool = True
    """Whether the books are wrong; else they are right and somebody may want to know."""


KINDS = {
    "settlement_differs": Kind("settled for other than the sum of its calls", "compare with the provider's invoice"),
    "calls_missing": Kind("settled, and none of its calls are in the book", "record calls: open_call, close_call, or the meter"),
    "price_differs": Kind("a call's money is not tariff × tokens", "give the tariffs it was priced by, or correct them"),
    "rows_missing": Kind("rows were taken away", "restore them from a backup"),
    "under_two_decisions": Kind("a call opened for one decision, closed for another", "give each call an id of its own"),
    "call_of_no_decision": Kind("a call of a decision that is not there", "restore the decision from a backup"),
    "opening_of_no_decision": Kind("a call opened for a decision that is not there", "restore the decision from a backup"),
    "settlement_of_no_decision": Kind("a settlement of a decision that is not there", "restore the decision from a backup"),
    "grade_of_no_decision": Kind("a grade of a decision that is not there", "restore the decision from a backup"),
    "text_of_no_decision": Kind("a text of a decision that is not there", "restore the decision from a backup"),
    "samples_of_no_settlement": Kind("samples of a settlement that is not there", "restore the settlement from a backup"),
    "sample_of_no_call": Kind("a sample names a call that is not the decision's", "restore the call from a backup"),
    "decision_of_no_menu": Kind("a decision from a menu that is not there", "restore the menu from a backup"),
    "shadow_of_no_decision": Kind("a shadow of a decision that is not there", "restore the decision from a backup"),
    "promotion_of_no_policy": Kind("a promotion of a policy that is not there", "restore the policy from a backup"),
    "canary_of_no_policy": Kind("a canary that is not there", "restore the policy from a backup"),
    "shadowing_by_no_policy": Kind("a shadowing policy that is not there", "restore the policy from a backup"),
    "impossible_call": Kind("a call with negative counts", "find who writes past the ledger"),
    "impossible_decision": Kind("a decision with values out of range", "find who writes past the ledger"),
    "impossible_settlement": Kind("a settlement with values out of range", "find who writes past the ledger"),
    "impossible_grade": Kind("a score outside 0 to 1", "find who writes past the ledger"),
    "cap_miscounted": Kind("a hard cap's counters are not what its book adds up to", "restore the cap_ tables from a backup"),
    "late_calls": Kind("calls that ended after their decision was settled", "none: they are billed beside it", is_fault=False),
    "never_closed": Kind("a call that was opened and never closed", "book it: budget-router audit --close-open", is_fault=False),
    "never_settled": Kind("a decision that was never settled", "settle it if it still runs; it crashed if not", is_fault=False),
    "reservation_unsettled": Kind(
        "set aside under a hard cap, and nobody told what it billed",
        "none: it is free again, but for open calls, which count as billed in full",
        is_fault=False,
    ),
    "never_opened": Kind(
        "a call that was closed and never opened", "open calls first: a crash then leaves a trace", is_fault=False
    ),
    "odd_counts": Kind("more cached or reasoning tokens than tokens", "ask the provider what it counts", is_fault=False),
    "unpriced": Kind("a call whose price is unknown", "give the model's tariff to the router", is_fault=False),
    "tariff_unknown": Kind("calls priced by a tariff not known here", "give it: --menu FILE with [tariff.MODEL]", is_fault=False),
}
"""In the order in which they are told."""


@dataclass(frozen=True)
class Amount:
    """Calls, and what they billed: the sum of the known prices, and how many are not known."""

    n_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    nano_usd: int = 0


@dataclass(frozen=True)
class Finding:
    """What an audit found of one kind."""

    kind: str
    n: int
    names: tuple[str, ...]
    """Ids of the first decisions or calls."""
    prompt_tokens: int
    completion_tokens: int
    nano_usd: int
    """What all of them are about; of settlements, what their calls billed beyond them."""

    def and_more(self, other: "Finding", most: int) -> "Finding":
        """This and another finding of its kind as one."""
        return Finding(
            self.kind,
            self.n + other.n,
            (*self.names, *other.names)[:most],
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.nano_usd + other.nano_usd,
        )

    @property
    def says(self) -> str:
        """What it is, in words."""
        return KINDS[self.kind].says

    @property
    def mend(self) -> str:
        """What can be done about it."""
        return KINDS[self.kind].mend

    @property
    def is_fault(self) -> bool:
        """Whether the books are wrong by it."""
        return KINDS[self.kind].is_fault


@dataclass(frozen=True)
class Audit:
    """The proof, and what is in its way."""

    at: datetime
    before: datetime
    """What had not ended by then, is told of."""
    n_decisions: int
    n_open: int
    """Calls that have not ended, however young."""
    calls: Amount
    """All that were closed."""
    settled: Amount
    """What the settlements say."""
    unsettled: Amount
    """Calls of decisions without a settlement."""
    n_priced_again: int
    """Calls whose price was compared with tariff × tokens."""
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether calls = decisions = tariffs × tokens, and nothing else is wrong."""
        return not any(finding.is_fault for finding in self.findings)

    @property
    def late(self) -> Amount:
        """What calls billed after their decisions were settled."""
        return next(
            (
                Amount(one.n, one.prompt_tokens, one.completion_tokens, one.nano_usd)
                for one in self.findings
                if one.kind == "late_calls"
            ),
            Amount(),
        )

    def frame(self) -> "DataFrame":
        """One row per kind of finding; raises ImportError where pandas is not installed."""
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError("frames need pandas: pip install 'budget-router[plots]'") from error
        columns = ["kind", "is_fault", "n", "prompt_tokens", "completion_tokens", "nano_usd", "names"]
        return DataFrame([[getattr(finding, column) for column in columns] for finding in self.findings], columns=columns)


def audit(ledger: SqlLedger, *, tariffs: Tariffs | None = None, open_for: timedelta = OPEN_FOR, most: int = MOST_NAMED) -> Audit:
    """Prove a ledger, and name what is wrong with it; all of it is read at one moment, and nothing is changed.

    >>> from budget_router.testing import recorded
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, SqlLedger(f"sqlite:///{folder}/spend.db") as ledger:
    ...     recorded(ledger)
    ...     proof = audit(ledger)
    >>> proof.holds, [(finding.kind, finding.names) for finding in proof.findings]
    (True, [('never_settled', ('d1',))])

    Args:
        ledger: to be proved.
        tariffs: own prices that its calls were priced by; those of the installed price list are known.
        open_for: how long a call or a decision may take before it is told of.
        most: findings named of each kind; all are counted.

    Raises:
        InvalidInput: `open_for` is negative, or `most` is below 1.
        LedgerUnavailable: the database does not answer, or does not let this role read what is asked.
    """
    if open_for < timedelta(0) or most < 1:
        raise InvalidInput(f"open_for is {open_for} and most is {most}: give a span that is not negative, and at least 1")
    at = now()
    before = at - open_for
    backend = ledger.database.backend
    with _screened(ledger.database) as (connection, screening):
        totals, asked = _look_over(connection)
        priced = priced_calls(connection, tariffs or Tariffs())
        n_priced_again = n_priced(connection) - sum(one.n_calls for one in priced)
        relations = {"uneven_settlements": questions.uneven_settlements(), **questions.orphans(), **questions.unfinished(before)}
        asked += [*cap_questions.of_caps(at), *mispriced(priced), *(relations.pop(kind) for kind in _OFTEN_FOUND)]
        if backend.numbers_without_gaps:
            asked += [questions.missing_positions(table) for table in _NUMBERED if _has_gaps(connection, table)]
        found = [one for question in asked for one in _found(connection, question, most)]
        answered = screening.result()
        suspected = [question for name, question in relations.items() if name not in answered]
        found += [one for question in suspected for one in _found(connection, question, most)]
        found += _priced_wrong(connection, priced, tariffs or Tariffs(), most)
        found += _unknown_tariffs(priced, most)
        unsettled = Amount()
        if "unsettled_calls" not in answered:
            unsettled = _amounts(connection.execute(questions.unsettled_calls()).one())
    calls = totals[call_closings]
    n_never_opened = sum(one.n for one in found if one.kind == "never_opened")
    return Audit(
        at=at,
        before=before,
        n_decisions=totals[decisions].n_calls,
        n_open=totals[call_openings].n_calls - (calls.n_calls - n_never_opened),
        calls=calls,
        settled=totals[settlements],
        unsettled=unsettled,
        n_priced_again=n_priced_again,
        findings=_in_order(found, most),
    )


@contextmanager
def _screened(database: Database) -> Iterator[tuple[Connection, "Future[frozenset[str]]"]]:
    """A view of the ledger, and what a screen of the same moment rules out meanwhile, where that is the faster way."""
    if not database.backend.looks_up_one_by_one:
        nothing: Future[frozenset[str]] = Future()
        nothing.set_result(frozenset())
        with database.survey() as connection:
            yield connection, nothing
        return
    with database.survey_with_another(_MOMENT) as (connection, beside), ThreadPoolExecutor(1, "audit") as pool:
        yield connection, pool.submit(ruled_out, beside, np.random.default_rng())


def _look_over(connection: Connection) -> tuple[dict[Table, Amount], list[questions.Question]]:
    """Pass once over each table: what it adds up to, and questions for the rows that are odd by themselves."""
    odd_rows, totals, asked = questions.odd_rows(), {}, []
    for table in dict.fromkeys(one.table for one in odd_rows):
        odd = [one for one in odd_rows if one.table is table]
        row = connection.execute(questions.totals(table, odd)).one()
        totals[table] = _amounts(row[:-1])
        asked += [one.question for one in odd] if row[-1] else []
    return totals, asked


def _has_gaps(connection: Connection, table: Table) -> bool:
    row = connection.execute(questions.n_and_ends(table)).one()
    return bool(row.n_rows) and (row.first, row.last) != (1, row.n_rows)


def _amounts(row: Sequence[Any]) -> Amount:  # Any: sums are of the database's own type
    return Amount(*(int(number or 0) for number in row))


def _found(connection: Connection, question: Select[Any], most: int) -> list[Finding]:  # Any: a row of many columns
    by_kind: dict[str, list[Any]] = {}
    for row in connection.execute(questions.first_of(question, most)):
        by_kind.setdefault(row.kind, []).append(row)
    return [
        Finding(
            kind,
            rows[0].n,
            tuple(str(row.name) for row in rows),
            *(int(number or 0) for number in (rows[0].all_prompt_tokens, rows[0].all_completion_tokens, rows[0].all_nano_usd)),
        )
        for kind, rows in by_kind.items()
    ]


def _priced_wrong(connection: Connection, priced: Sequence[Priced], tariffs: Tariffs, most: int) -> list[Finding]:
    question = long_or_hourly(priced)
    if question is None:
        return []
    names, n, prompt_tokens, completion_tokens, nano_usd = [], 0, 0, 0, 0
    for call in connection.execution_options(yield_per=10_000).execute(question):
        if not is_priced_right(call, tariffs):
            names += [call.id] if n < most else []
            n, nano_usd = n + 1, nano_usd + call.nano_usd
            prompt_tokens, completion_tokens = prompt_tokens + call.prompt_tokens, completion_tokens + call.completion_tokens
    return [Finding("price_differs", n, tuple(names), prompt_tokens, completion_tokens, nano_usd)] if n else []


def _unknown_tariffs(priced: Sequence[Priced], most: int) -> list[Finding]:
    unknown = [one for one in priced if not one.is_known]
    names = tuple(f"{one.model} by {one.tariff}" for one in unknown[:most])
    n_calls, nano_usd = sum(one.n_calls for one in unknown), sum(one.nano_usd for one in unknown)
    return [Finding("tariff_unknown", n_calls, names, 0, 0, nano_usd)] if unknown else []


def _in_order(found: Iterable[Finding], most: int) -> tuple[Finding, ...]:
    """One finding of each kind, in the order in which they are told."""
    merged: dict[str, Finding] = {}
    for one in found:
        so_far = merged.get(one.kind)
        if so_far is not None:
            one = so_far.and_more(one, most)  # noqa: PLW2901  # both
        merged[one.kind] = one
    return tuple(merged[kind] for kind in KINDS if kind in merged)
