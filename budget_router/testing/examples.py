"""Example records, complete and valid: what exams and tests write into ledgers."""

from datetime import UTC, datetime, timedelta
from typing import Any

from budget_router.budget import Budget
from budget_router.ledger import Ledger
from budget_router.menu import ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.records import Call, Decision, Outcome, PolicyRecord, Sample, Settlement, Shadow, Solve, Spend
from budget_router.task import Task

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MENU = Menu([SingleShot(), SelfConsistency(k=5), ExtendedCoT(effort="high", instruction="Think in steps.")])
TASK = Task("What is 27 + 41?", metadata={"turn": 3, "share": 0.25, "is_new": True, "team": "süd"})


def example_decision(
    decision_id: str = "d1", *, minutes: float = 0, **fields: Any
) -> Decision:  # Any: pydantic checks the fields
    """A decision from `MENU`, some minutes after `NOON`."""
    facts: dict[str, Any] = {
        "task_id": "t1",
        "group": "support",
        "strategy": MENU["self_consistency_5"],
        "propensities": {"single_shot": 0.6, "self_consistency_5": 0.3, "extended_cot_high": 0.1},
        "shadow_price": 0.1 / 3,
        "expected_cost": 1520.5,
        "expected_accuracy": 0.8125,
        "budget": Budget(per_task=800, unit="tokens", group="support"),
        "policy_version": "cold-start",
        "menu_hash": MENU.hash,
        "features": (0.1, 2.0, -1e-9),
        "features_version": "structure-1",
        "run_id": "run",
        "thread_id": "thread",
        "decided_at": NOON + timedelta(minutes=minutes),
    }
    return Decision(id=decision_id, **{**facts, **fields})


def example_shadow(policy_version: str = "p1", **fields: Any) -> Shadow:  # Any: pydantic checks the fields
    """What a candidate would have made of a decision."""
    facts: dict[str, Any] = {
        "propensities": {"single_shot": 0.1 / 3, "self_consistency_5": 1 - 0.1 / 3, "extended_cot_high": 0.0},
        "shadow_price": 0.2 / 3,
        "expected_cost": 1024.25,
        "expected_accuracy": 0.875,
    }
    return Shadow(policy_version=policy_version, **{**facts, **fields})


def example_call(call_id: str = "c1", decision_id: str = "d1", **fields: Any) -> Call:  # Any: pydantic checks the fields
    """A call that was billed."""
    facts: dict[str, Any] = {
        "model": "small-model",
        "started_at": NOON,
        "prompt_tokens": 120,
        "completion_tokens": 300,
        "reasoning_tokens": 200,
        "cached_tokens": 100,
        "nano_usd": 2**53 + 1,
        "tariff": "list 2026-01",
        "seconds": 1.7,
    }
    return Call(id=call_id, decision_id=decision_id, **{**facts, **fields})


def example_settlement(decision_id: str = "d1", **fields: Any) -> Settlement:  # Any: pydantic checks the fields
    """A vote of three samples."""
    facts: dict[str, Any] = {
        "samples": tuple(Sample(index=index, call_id="c1", answer_key=key) for index, key in enumerate(["68", "68", None])),
        "answer_key": "68",
        "agreement": 2 / 3,
        "spend": Spend(prompt_tokens=120, completion_tokens=900, nano_usd=7, seconds=2.5, n_calls=1),
        "settled_at": NOON + timedelta(seconds=3),
    }
    return Settlement(decision_id=decision_id, **{**facts, **fields})


def example_outcome(decision_id: str = "d1", **fields: Any) -> Outcome:  # Any: pydantic checks the fields
    """A grade of each distinct answer."""
    facts: dict[str, Any] = {"score": 1.0, "source": "grader", "answer_scores": {"68": 1.0, "67": 0.0}, "graded_at": NOON}
    return Outcome(decision_id=decision_id, **{**facts, **fields})


def example_policy(version: str = "p1", **fields: Any) -> PolicyRecord:  # Any: pydantic checks the fields
    """A candidate for `MENU`."""
    facts: dict[str, Any] = {
        "menu_hash": MENU.hash,
        "manifest": '{"kind": "test"}',
        "arrays": bytes(range(256)),
        "evidence": {"gain": {"value": 0.03, "standard_error": 0.01}, "n": 900, "passed": True, "notes": ["a", None]},
        "created_at": NOON,
    }
    return PolicyRecord(version=version, **{**facts, **fields})


def example_solve(solve_id: str = "s1", *, minutes: float = 0, **fields: Any) -> Solve:  # Any: pydantic checks the fields
    """A solve for `MENU`, some minutes after `NOON`, from which nothing was learned."""
    facts: dict[str, Any] = {
        "menu_hash": MENU.hash,
        "budget_per_task": 800,
        "budget_unit": "tokens",
        "allowed_cost": 800,
        "shadow_price": 0.1 / 3,
        "duality_gap": 1e-9,
        "expected_accuracy": 0.8125,
        "expected_cost": 799.5,
        "n_decisions": 900,
        "n_tasks": 300,
        "since": NOON - timedelta(days=30),
        "solved_at": NOON + timedelta(minutes=minutes),
    }
    return Solve(id=solve_id, **{**facts, **fields})


def recorded(ledger: Ledger, *decisions: Decision) -> None:
    """Record decisions about `TASK` from `MENU`."""
    for decision in decisions or (example_decision(),):
        ledger.record_decision(decision, TASK, MENU)
