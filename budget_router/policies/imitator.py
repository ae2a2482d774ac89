"""The oracle imitator: the paper's learner, at several prices at once, each choice weighted by what a wrong one costs."""

import numpy as np

from budget_router.allocation import FloatArray, oracle_actions, trace
from budget_router.outcomes import OutcomeTable
from budget_router.policies.completion import completed
from budget_router.policies.conditional_logit import conditional_logit
from budget_router.policies.learned import LearnedPolicy

N_PRICES = 5
"""Budgets, evenly between the cheapest and the dearest oracle's spend, at whose prices the oracle is imitated."""
_NEVER = -10.0
"""Score of an action that is no task's oracle at any price, in accuracy: below what any other is worth."""


class OracleImitator(LearnedPolicy):
    """Classifies the oracle action (the paper's learner), at several shadow prices in one fit.

    The price is an input of the classifier: `P(k | x, λ) ∝ exp((score_k(x) - λ cost_k(x)) / τ)`. So at any λ the most probable
    action is the one that a price λ picks by these scores, and one artifact serves every budget: fitted at one price alone, it
    would know only the actions that are an oracle there. Each task counts by what a wrong choice costs it at that price.
    """

    kind = "imitator"
    is_priced_on_its_own = True  # few classes leave little to learn by heart, and scores of twins lie far from its own

    def _fit_score(self, features: FloatArray, table: OutcomeTable) -> None:
        expected = self.expected(features)
        accuracy, cost = completed(table, *expected)
        frontier = trace(accuracy, cost)
        shares = (np.arange(N_PRICES) + 0.5) / N_PRICES
        lams = [frontier.price(float(frontier.spend[0] + share * np.ptp(frontier.spend))).lam for share in shares]
        value = accuracy - np.array(lams)[:, None, None] * cost
        label = np.array([oracle_actions(accuracy, cost, lam) for lam in lams])
        regret = (value.max(axis=2, keepdims=True) - value).sum(axis=2) / max(len(table.menu) - 1, 1)
        mean = regret.mean(axis=1, keepdims=True)
        weight = np.divide(regret, mean, out=np.zeros_like(regret), where=mean > 0) / N_PRICES
        present = np.unique(label)
        self.weights_ = np.zeros((features.shape[1] + 1, len(table.menu)))
        self.weights_[-1] = _NEVER
        self.weights_[:, present] = 0.0
        if len(present) > 1 and weight.any():
            paid = np.array(lams)[:, None, None] * expected[1][:, present]
            logit = conditional_logit(features, paid, np.searchsorted(present, label), weight, temperature=float(mean.mean()))
            self.weights_[:, present] = logit.lines

    def _score(self, features: FloatArray, cost: FloatArray, accuracy: FloatArray) -> FloatArray:  # noqa: ARG002  # the contract's
        return np.asarray(features @ self.weights_[:-1] + self.weights_[-1])
