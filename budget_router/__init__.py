"""Decide, before each reasoning step, how much test-time compute a task deserves."""

from budget_router.budget import Budget
from budget_router.drifting import Drift, drift
from budget_router.errors import BudgetRouterError
from budget_router.evaluating import Evaluation, evaluate
from budget_router.evaluation import Gate, Verdict
from budget_router.explaining import Explanation, explain
from budget_router.exported import Export, LogFile, ParquetLog, export
from budget_router.live_check import Limits, LiveVerdict, check_rollout
from budget_router.memory import MemoryLedger
from budget_router.menu import EarlyStop, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot, Strategy
from budget_router.policies import load_policy, save_policy
from budget_router.records import Call, Decision, Outcome, Settlement, Spend
from budget_router.refresher import Refresher
from budget_router.refreshing import Refresh, refresh, train
from budget_router.reporting import report
from budget_router.rolling_back import rollback
from budget_router.router import BudgetRouter
from budget_router.shadowing import ShadowResult, shadow, shadowed
from budget_router.shelf import SavedPolicy, promote, saved_policies
from budget_router.solving import LoggedFrontier, Solved, frontier, solve
from budget_router.tariffs import Tariff, Tariffs
from budget_router.task import Task
from budget_router.triggers import Every, EveryOutcomes, OnDrift

__all__ = [
    "Budget",
    "BudgetRouter",
    "BudgetRouterError",
    "Call",
    "Decision",
    "Drift",
    "EarlyStop",
    "Escalate",
    "Evaluation",
    "Every",
    "EveryOutcomes",
    "Explanation",
    "Export",
    "ExtendedCoT",
    "Gate",
    "Limits",
    "LiveVerdict",
    "LogFile",
    "LoggedFrontier",
    "MemoryLedger",
    "Menu",
    "OnDrift",
    "Outcome",
    "ParquetLog",
    "Refresh",
    "Refresher",
    "SavedPolicy",
    "SelfConsistency",
    "Settlement",
    "ShadowResult",
    "SingleShot",
    "Solved",
    "Spend",
    "Strategy",
    "Tariff",
    "Tariffs",
    "Task",
    "Verdict",
    "check_rollout",
    "drift",
    "evaluate",
    "explain",
    "export",
    "frontier",
    "load_policy",
    "promote",
    "refresh",
    "report",
    "rollback",
    "save_policy",
    "saved_policies",
    "shadow",
    "shadowed",
    "solve",
    "train",
]
