"""Find the answer in a reply, and tell answers that mean the same, so that they can be counted."""

from budget_router.answers.choice import choice_letter
from budget_router.answers.final import final_answer, final_number, last_number, normalise
from budget_router.answers.formula import formula_answer, normalise_formula
from budget_router.answers.meaning import FreeText, embedded, pairwise, whole_reply
from budget_router.answers.quick import are_quick
from budget_router.answers.rule import AnswerRule, GroupingRule, groups
from budget_router.answers.structured import ToolCall, canonical_calls, canonical_json, json_answer, structured

__all__ = [
    "AnswerRule",
    "FreeText",
    "GroupingRule",
    "ToolCall",
    "are_quick",
    "canonical_calls",
    "canonical_json",
    "choice_letter",
    "embedded",
    "final_answer",
    "final_number",
    "formula_answer",
    "groups",
    "json_answer",
    "last_number",
    "normalise",
    "normalise_formula",
    "pairwise",
    "structured",
    "whole_reply",
]
