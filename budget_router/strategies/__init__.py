"""Strategies as plans: a generator yields the requests it wants and is sent the replies; two short drivers do the I/O."""

from budget_router.answers import AnswerRule, choice_letter, final_answer, last_number, normalise
from budget_router.strategies.plans import Draw, Failure, Plan, Reply, Request, Result, arun, first_round, plan, run
from budget_router.strategies.vote import Vote, majority

__all__ = [
    "AnswerRule",
    "Draw",
    "Failure",
    "Plan",
    "Reply",
    "Request",
    "Result",
    "Vote",
    "arun",
    "choice_letter",
    "final_answer",
    "first_round",
    "last_number",
    "majority",
    "normalise",
    "plan",
    "run",
]
