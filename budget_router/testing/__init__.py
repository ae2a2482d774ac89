"""Exams for one's own parts: whatever keeps the promises of a Protocol may stand in its place."""

from budget_router.testing import caps, evidence, leases, paces, rollout, solves  # noqa: F401  # their promises are those of every ledger
from budget_router.testing.answer_rule import ANSWER_RULE_PROMISES, check_answer_rule
from budget_router.testing.examples import (
    MENU,
    NOON,
    TASK,
    example_call,
    example_decision,
    example_outcome,
    example_policy,
    example_settlement,
    example_shadow,
    example_solve,
    recorded,
)
from budget_router.testing.ledger import LEDGER_PROMISES, check_ledger

__all__ = [
    "ANSWER_RULE_PROMISES",
    "LEDGER_PROMISES",
    "MENU",
    "NOON",
    "TASK",
    "check_answer_rule",
    "check_ledger",
    "example_call",
    "example_decision",
    "example_outcome",
    "example_policy",
    "example_settlement",
    "example_shadow",
    "example_solve",
    "recorded",
]
