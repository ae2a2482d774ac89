"""Policies: from what is known before the answer to a probability for every strategy."""

from budget_router.policies.artifact import load_policy, save_policy
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Choice, Policy, Prediction
from budget_router.policies.imitator import OracleImitator
from budget_router.policies.static import Mixture, Uniform
from budget_router.policies.value import ValuePolicy

__all__ = [
    "Choice",
    "ColdStart",
    "Mixture",
    "OracleImitator",
    "Policy",
    "Prediction",
    "Uniform",
    "ValuePolicy",
    "load_policy",
    "save_policy",
]
