"""Logged decisions as rows of a table, and rows as the records they were: flat where people ask, JSON where records nest."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from budget_router.errors import InvalidInput
from budget_router.menu import Menu, Strategy
from budget_router.records import Call, Decision, LoggedDecision, Spend
from budget_router.words import explain

Kind = Literal["text", "number", "count", "time", "numbers"]
Row = Mapping[str, Any]
"""Values by column; each column has its own type."""

FLAT: dict[str, Kind] = {
    "decision_id": "text",
    "task_id": "text",
    "group": "text",
    "run_id": "text",
    "thread_id": "text",
    "decided_at": "time",
    "strategy": "text",
    "propensity": "number",
    "shadow_price": "number",
    "expected_cost": "number",
    "expected_accuracy": "number",
    "budget_per_task": "number",
    "budget_unit": "text",
    "policy_version": "text",
    "menu_hash": "text",
    "features_version": "text",
    "reason": "text",
    "status": "text",
    "agreement": "number",
    "n_calls": "count",
    "n_open_calls": "count",
    "prompt_tokens": "count",
    "completion_tokens": "count",
    "nano_usd": "count",
    "seconds": "number",
    "settled_at": "time",
    "score": "number",
    "score_source": "text",
    "graded_at": "time",
    "metadata": "text",
    "task_text": "text",
}
"""Columns that people ask for, by what they hold. Spend is the settlement's, of a decision not settled the sum of its calls."""

_JSON = (
    "strategy_settings",
    "propensities",
    "budget",
    "shadow",
    "menu",
    "task_ngrams",
    "calls",
    "samples",
    "answer_scores",
)
WHOLE: dict[str, Kind] = {**FLAT, "answer_key": "text", "features": "numbers", **dict.fromkeys(_JSON, "text")}
"""All columns of which a record can be made again."""

_CALLS = TypeAdapter(tuple[Call, ...])
_MANY_STRATEGIES = 1024
_MANY_MENUS = 64


def flat_row(entry: LoggedDecision) -> dict[str, Any]:
    """A logged decision by the columns of `FLAT`."""
    decision, settlement, outcome = entry.decision, entry.settlement, entry.outcome
    spend = Spend.of(entry.calls) if settlement is None else settlement.spend
    known: dict[str, Any] = {
        "decision_id": decision.id,
        "strategy": decision.strategy.name,
        "budget_per_task": decision.budget.per_task,
        "budget_unit": decision.budget.unit,
        "n_open_calls": sum(call.status == "open" for call in entry.calls),
        "status": settlement and settlement.status,
        "agreement": settlement and settlement.agreement,
        "settled_at": settlement and settlement.settled_at,
        "score": outcome and outcome.score,
        "score_source": outcome and outcome.source,
        "graded_at": outcome and outcome.graded_at,
        "metadata": json.dumps(entry.metadata, ensure_ascii=False),
        "task_text": entry.task_text,
    }
    facts = {**vars(decision), "propensity": decision.propensity, **vars(spend), **known}
    return {name: facts[name] for name in FLAT}


def whole_row(entry: LoggedDecision) -> dict[str, Any]:
    """A logged decision by the columns of `WHOLE`."""
    decision, settlement, outcome = entry.decision, entry.settlement, entry.outcome
    return {
        **flat_row(entry),
        "answer_key": settlement and settlement.answer_key,
        "features": decision.features,
        "strategy_settings": _settings_of(decision.strategy),
        "propensities": _spelled(decision.propensities),
        "budget": _spelled(decision.budget),
        "shadow": decision.shadow and _spelled(decision.shadow),
        "menu": _strategies_of(entry.menu),
        "task_ngrams": None if entry.task_ngrams is None else _spelled(entry.task_ngrams),
        "calls": _CALLS.dump_json(entry.calls).decode(),
        "samples": settlement and _spelled(settlement.samples),
        "answer_scores": outcome and _spelled(outcome.answer_scores),
    }


def entry_of(row: Row, place: str) -> LoggedDecision:
    """The logged decision that `whole_row` wrote.

    Args:
        row: by the columns of `WHOLE`.
        place: names the row to whoever has to mend it.

    Raises:
        InvalidInput: it is not one.
    """
    try:
        nested = {name: from_json(row[name]) for name in (*_JSON, "metadata") if row[name] is not None}
    except ValueError as error:
        raise InvalidInput(f"{place}: a column of JSON holds none ({error}): export the log again") from error
    name = row["decision_id"]
    decision = {field: nested.get(field, row.get(field)) for field in Decision.model_fields}
    entry: dict[str, Any] = {
        "decision": {**decision, "id": name, "strategy": nested.get("strategy_settings")},
        **{field: nested.get(field) for field in ("menu", "calls", "metadata", "task_ngrams")},
        "task_text": row["task_text"],
    }
    if row["settled_at"] is not None:
        settled = {field: row[field] for field in ("status", "answer_key", "agreement", "settled_at")}
        spend = {field: row[field] for field in Spend.model_fields}
        entry["settlement"] = {**settled, "decision_id": name, "samples": nested.get("samples"), "spend": spend}
    if row["graded_at"] is not None:
        graded = {"score": row["score"], "source": row["score_source"], "graded_at": row["graded_at"]}
        entry["outcome"] = {**graded, "decision_id": name, "answer_scores": nested.get("answer_scores")}
    try:
        return LoggedDecision.model_validate(entry)
    except ValidationError as error:
        raise InvalidInput(explain(place, error)) from error


@lru_cache(_MANY_STRATEGIES)
def _settings_of(strategy: Strategy) -> str:
    return strategy.model_dump_json()


@lru_cache(_MANY_MENUS)
def _strategies_of(menu: Menu) -> str:
    return menu.model_dump_json()


def _spelled(value: object) -> str:
    return to_json(value, inf_nan_mode="constants").decode()
