"""What the settled decisions of a table tell, made by columns: a checked record of every row takes ten times as long."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from pydantic_core import from_json

from budget_router.budget import Budget
from budget_router.evidence import Act, Drawn, Evidence, Shadowed
from budget_router.menu import Escalate, Strategy
from budget_router.records import Spent
from budget_router.remembered import menu_of, strategy_of

_SURE = 1e-6
"""By how far propensities may miss 1."""
_MANY_TEXTS = 4096
_TOLD = (
    *("decision_id", "task_id", "decided_at", "features", "features_version", "menu", "strategy_settings", "propensities"),
    *("reason", "status", "prompt_tokens", "completion_tokens", "seconds", "metadata", "samples", "calls"),
)
"""Columns that tell something of every settled decision."""
_SPENT = ("prompt_tokens", "completion_tokens", "nano_usd", "seconds")

Batch = Any
"""Any: a record batch of pyarrow, which ships no types; its columns are those of `exported.rows.WHOLE`."""
T = TypeVar("T")


def evidence_of(batch: Batch) -> list[Evidence]:
    """What the settled ones tell, in their order; raises ValueError, TypeError or LookupError where a row is not as written."""
    return list(_told(_settled(batch)))


def acts_of(batch: Batch) -> list[Act]:
    """The same, and what was expected of each."""
    settled = _settled(batch)
    columns = (
        _told(settled),
        *(settled[name].to_pylist() for name in ("policy_version", "shadow_price", "expected_cost", "expected_accuracy")),
        _each(settled["budget"], Budget.from_json),
        settled["run_id"].to_pylist(),
        _each(settled["shadow"], _shadowed),
    )
    return list(map(Act._make, zip(*columns, strict=True)))


def _settled(batch: Batch) -> Batch:
    settled = batch.filter(batch["settled_at"].is_valid())
    unknown = [name for name in _TOLD if settled[name].null_count]
    if unknown:
        raise ValueError(f"no {', '.join(unknown)}")
    score = settled["score"].drop_null().to_numpy()
    spent = [settled[name].drop_null().to_numpy() for name in _SPENT]
    if not (((score >= 0) & (score <= 1)).all() and all((amount >= 0).all() for amount in spent)):
        raise ValueError("a score or a spend out of range")
    return settled


def _told(batch: Batch) -> Iterator[Evidence]:
    strategies = list(_each(batch["strategy_settings"], strategy_of))
    columns: tuple[Iterable[Any], ...] = (
        *(batch[name].to_pylist() for name in ("task_id", "thread_id", "group")),
        _moments(batch["decided_at"]),
        batch["task_text"].to_pylist(),
        _each(batch["task_ngrams"], _counts),
        _each(batch["metadata"], _facts),
        _rows(batch["features"]),
        batch["features_version"].to_pylist(),
        _each(batch["menu"], menu_of),
        strategies,
        _each(batch["propensities"], _chances),
        *(batch[name].to_pylist() for name in ("reason", "status")),
        map(Spent._make, zip(*(batch[name].to_pylist() for name in _SPENT), strict=True)),
        map(_drawn, strategies, batch["samples"].to_pylist(), batch["answer_key"].to_pylist()),
        map(_billed, strategies, batch["calls"].to_pylist()),
        batch["score"].to_pylist(),
        _each(batch["answer_scores"], _scores),
        batch["decision_id"].to_pylist(),
    )
    return map(Evidence._make, zip(*columns, strict=True))


def _each(texts: Batch, read: Callable[[Any], T]) -> Iterator[T]:
    """What each row's text says; those that are equal are read once."""
    coded = texts.dictionary_encode(null_encoding="encode")
    known = [read(text) for text in coded.dictionary.to_pylist()]
    return map(known.__getitem__, coded.indices.to_pylist())


def _moments(column: Batch) -> list[datetime]:
    """In a fortieth of the time that Arrow takes."""
    return [moment.replace(tzinfo=UTC) for moment in column.to_numpy(zero_copy_only=False).tolist()]


def _rows(lists: Batch) -> list[list[float]]:
    values, ends = lists.flatten().to_numpy(), np.append(0, np.cumsum(lists.value_lengths().to_numpy())).tolist()
    width = ends[1] if len(ends) > 1 else 0
    if width and len(values) == width * len(lists) and ends == list(range(0, ends[-1] + 1, width)):
        found: list[list[float]] = values.reshape(-1, width).tolist()
        return found
    return [values[start:end].tolist() for start, end in zip(ends, ends[1:], strict=False)]


def _drawn(strategy: Strategy, samples: str, answer: str | None) -> Sequence[Drawn]:
    if strategy.n_samples == 1:
        return _answered(answer)
    return [Drawn(one["index"], one["call_id"], one["answer_key"]) for one in from_json(samples)]


@lru_cache(_MANY_TEXTS)
def _answered(answer: str | None) -> tuple[Drawn]:
    return (Drawn(0, None, answer),)


def _billed(strategy: Strategy, calls: str) -> Mapping[str, Spent]:
    if not isinstance(strategy, Escalate):
        return {}
    return {one["id"]: Spent(*(one[name] for name in _SPENT)) for one in from_json(calls) if one["status"] != "open"}


@lru_cache(_MANY_TEXTS)
def _facts(text: str) -> dict[str, Any]:  # Any: what JSON holds
    found = from_json(text)
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def _counts(text: str | None) -> dict[int, int] | None:
    return None if text is None else {int(place): int(count) for place, count in _facts(text).items()}


def _scores(text: str | None) -> dict[str, float]:
    return {} if text is None else _facts(text)


@lru_cache(_MANY_TEXTS)
def _chances(text: str) -> dict[str, float]:
    found = _facts(text)
    if abs(sum(found.values()) - 1) > _SURE or min(found.values()) < 0:
        raise ValueError("propensities are no probabilities")
    return found


def _shadowed(text: str | None) -> Shadowed | None:
    if text is None:
        return None
    facts = _facts(text)
    return Shadowed(facts["policy_version"], facts["propensities"], facts["expected_cost"])
