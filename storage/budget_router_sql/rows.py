"""Records as rows, and rows as the records they were: the one place that knows both shapes."""

import hashlib
import json
from datetime import UTC
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy import RowMapping

from budget_router.budget import Budget
from budget_router.errors import InvalidInput
from budget_router.menu import Menu, Strategy
from budget_router.records import Call, Decision, Outcome, PolicyRecord, Sample, Settlement, Shadow, Spend
from budget_router.remembered import strategy_of
from budget_router.rollout import Rollout
from budget_router.task import MetadataValue, Task

Row = dict[str, Any]
"""Values by column; each column has its own type."""

_PROBABILITIES = TypeAdapter(dict[str, float])
_FEATURES = TypeAdapter(tuple[float, ...])
_METADATA = TypeAdapter(dict[str, MetadataValue])
_EVIDENCE = TypeAdapter(dict[str, object])

_MANY_STRATEGIES = 1024


class _Texts:
    """What words that come again and again are as JSON: by which one it is, or by its facts, where it is made anew each time.

    pydantic takes longer to tell whether it knows a word. One that is known by itself is held, lest another come to its place.
    """

    def __init__(self, n_most: int) -> None:
        self._held: dict[int, tuple[object, str]] = {}
        self._texts: dict[tuple[object, ...], str] = {}
        self._n_most = n_most

    def of(self, word: Strategy | Budget) -> str:
        """A word as JSON."""
        held = self._held.get(id(word))
        if held is not None:
            return held[1]
        facts = (*vars(word).values(),)
        text = self._texts.get(facts)
        if text is None:
            if len(self._texts) >= self._n_most:
                self._held, self._texts = {}, {}
            text = self._texts[facts] = word.model_dump_json()
            self._held[id(word)] = word, text
        return text


_settings_of = _Texts(_MANY_STRATEGIES).of
_text_of = _Texts(_MANY_STRATEGIES).of


def decision_row(decision: Decision, task: Task, *, with_text: bool) -> Row:
    """A decision, and of its task what is kept in clear."""
    row = vars(decision).copy()  # most of it as it is, and looked up in a third of an attribute's time
    strategy, propensities = row["strategy"], row["propensities"]
    del row["shadow"]  # a row of its own
    row["task_text"] = task.text if with_text else None
    row["metadata"] = _json(task.metadata)
    row["strategy"] = strategy.name
    row["strategy_settings"] = _settings_of(strategy)
    row["propensities"] = _json(propensities)
    row["propensity"] = decision.propensity
    row["budget"] = _text_of(row["budget"])
    row["features"] = _json(row["features"])
    return row


def decision_of(row: RowMapping, shadow: Shadow | None = None) -> Decision:
    """The decision that `decision_row` wrote, and what stands beside it."""
    return Decision(
        id=row["id"],
        task_id=row["task_id"],
        group=row["group"],
        strategy=strategy_of(row["strategy_settings"]),
        propensities=_PROBABILITIES.validate_json(row["propensities"]),
        shadow_price=row["shadow_price"],
        expected_cost=row["expected_cost"],
        expected_accuracy=row["expected_accuracy"],
        budget=budget_of(row["budget"]),
        policy_version=row["policy_version"],
        menu_hash=row["menu_hash"],
        features=_FEATURES.validate_json(row["features"]),
        features_version=row["features_version"],
        run_id=row["run_id"],
        thread_id=row["thread_id"],
        decided_at=row["decided_at"],
        reason=row["reason"],
        shadow=shadow,
    )


def shadow_row(decision_id: str, shadow: Shadow) -> Row:
    """What a candidate would have done beside a decision."""
    return {"decision_id": decision_id, **vars(shadow), "propensities": _json(shadow.propensities)}


def shadow_of(row: RowMapping) -> Shadow:
    """What `shadow_row` wrote."""
    facts = {name: row[name] for name in Shadow.model_fields}
    return Shadow(**{**facts, "propensities": _PROBABILITIES.validate_json(row["propensities"])})


def metadata_of(row: RowMapping) -> dict[str, MetadataValue]:
    """The task's metadata that `decision_row` wrote."""
    return _METADATA.validate_json(row["metadata"])


def menu_row(menu: Menu) -> Row:
    """A menu under its hash."""
    return {"hash": menu.hash, "strategies": menu.model_dump_json()}


def call_row(call: Call) -> Row:
    """A call, opened or closed."""
    return {**vars(call)}  # what `model_dump` gives of flat fields, for an eighth of its time


def call_of(row: RowMapping | Row) -> Call:
    """The call that `call_row` wrote; one that was never closed is open."""
    return Call(**{"status": "open", **row})


def settlement_row(settlement: Settlement) -> Row:
    """A settlement without its samples."""
    row = {**vars(settlement.spend), **vars(settlement)}
    del row["spend"], row["samples"]  # rows of their own
    return row


def sample_rows(settlement: Settlement) -> list[Row]:
    """The samples of a settlement, in their places."""
    return [
        {"decision_id": settlement.decision_id, "place": place, **vars(sample)} for place, sample in enumerate(settlement.samples)
    ]


def settlement_of(row: RowMapping, samples: tuple[Sample, ...]) -> Settlement:
    """The settlement that `settlement_row` and `sample_rows` wrote."""
    spend = Spend(**{name: row[name] for name in Spend.model_fields})
    facts = {name: row[name] for name in ("decision_id", "status", "answer_key", "agreement", "settled_at")}
    return Settlement(**facts, samples=samples, spend=spend)


def outcome_row(outcome: Outcome) -> Row:
    """An outcome under a digest of all it says, so that the same one given twice is one row."""
    scores = _json(dict(sorted(outcome.answer_scores.items())))
    graded_at = outcome.graded_at.astimezone(UTC)
    said = json.dumps([outcome.decision_id, outcome.score, outcome.source, graded_at.isoformat(), scores])
    return {
        "digest": hashlib.sha256(said.encode()).hexdigest(),
        "decision_id": outcome.decision_id,
        "score": outcome.score,
        "source": outcome.source,
        "answer_scores": scores,
        "graded_at": graded_at,
    }


def outcome_of(row: RowMapping) -> Outcome:
    """The outcome that `outcome_row` wrote."""
    scores = _PROBABILITIES.validate_json(row["answer_scores"])
    return Outcome(
        decision_id=row["decision_id"],
        score=row["score"],
        source=row["source"],
        answer_scores=scores,
        graded_at=row["graded_at"],
    )


def policy_row(policy: PolicyRecord) -> Row:
    """A policy with its evidence."""
    return {**policy.model_dump(exclude={"evidence"}), "evidence": _json(dict(policy.evidence))}


def policy_of(row: RowMapping | Row) -> PolicyRecord:
    """The policy that `policy_row` wrote."""
    return PolicyRecord(**{**row, "evidence": _EVIDENCE.validate_json(row["evidence"])})


def rollout_row(rollout: Rollout) -> Row:
    """Who decides a menu's tasks."""
    return {
        "version": rollout.active,
        "menu_hash": rollout.menu_hash,
        "promoted_at": rollout.began_at,
        "canary": rollout.canary,
        "share": rollout.share or None,
        "shadow": rollout.shadow,
        "reason": rollout.reason,
    }


def rollout_of(row: RowMapping) -> Rollout:
    """What `rollout_row` wrote."""
    return Rollout(
        menu_hash=row["menu_hash"],
        active=row["version"],
        canary=row["canary"],
        share=row["share"] or 0.0,
        shadow=row["shadow"],
        reason=row["reason"],
        began_at=row["promoted_at"],
    )


def _json(value: object) -> str:
    # a feature or a fact may be infinite, and is read back as it was
    try:
        return to_json(value, inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:
        raise InvalidInput(f"a record cannot be written as JSON ({error}): give numbers, text, lists and dicts") from error


@lru_cache(_MANY_STRATEGIES)
def budget_of(text: str) -> Budget:
    """The budget that `decision_row` wrote."""
    return Budget.from_json(text)
