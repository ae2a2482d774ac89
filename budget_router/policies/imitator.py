"""The oracle imitator: the paper's learner, with each task weighted by what a wrong choice costs it."""

import numpy as np

from budget_router.allocation import FloatArray, oracle_actions, solve
from budget_router.outcomes import OutcomeTable
from budget_router.policies.completion import completed
from budget_router.policies.contract import Prediction
from budget_router.policies.learned import LearnedPolicy

_NEVER = -10.0
"""Log-odds of an action that is no task's oracle."""
_STRENGTH = 10.0
"""Inverse penalty of the classifier; features have about unit length, so weaker ones could not bend."""


class OracleImitator(LearnedPolicy):
    """Classifies the oracle action, each task weighted by what a wrong choice costs it (the paper's learner, weighted).

    Labels are the oracle actions of the solved table. With class probabilities p_k and the label's shadow price λ*, the score is
    `τ log p_k + λ* cost_k`: priced at λ* the most probable action wins, and another price tilts the choice by the costs. τ is the
    mean weight, which brings log-odds to units of accuracy.
    """

    kind = "imitator"

    def _fit_score(self, features: FloatArray, table: OutcomeTable) -> None:
        from sklearn.linear_model import LogisticRegression

        accuracy, cost = completed(table, *self.expected(features))
        budget = self.budget if self.budget is not None else float(cost.mean(axis=1).mean())
        self.lam_ = solve(accuracy, cost, max(budget, float(cost.min(axis=1).mean()))).lam
        value = accuracy - self.lam_ * cost
        label = oracle_actions(accuracy, cost, self.lam_)
        n_others = max(len(table.menu) - 1, 1)
        weight = (value.max(axis=1, keepdims=True) - value).sum(axis=1) / n_others
        self.tau_ = float(weight.mean())
        self.weights_ = np.zeros((features.shape[1] + 1, len(table.menu)))
        self.weights_[-1] = _NEVER
        present = np.unique(label)
        if len(present) == 1 or self.tau_ == 0:
            self.weights_[-1, present[0]] = 0.0
            return
        model = LogisticRegression(C=_STRENGTH, max_iter=500).fit(features, label, sample_weight=weight / self.tau_)
        lines = np.column_stack([model.coef_, model.intercept_])
        if len(present) == 2:  # sklearn gives two classes one line: the second's log-odds
            lines = np.vstack([np.zeros_like(lines), lines])
        self.weights_[:, present] = lines.T

    def _unseen(self, features: FloatArray) -> Prediction:
        """Its own predictions: few classes leave little to learn by heart, and log-odds of twins lie far from its own."""
        return self._predict(features)

    def _score(self, features: FloatArray, cost: FloatArray, accuracy: FloatArray) -> FloatArray:  # noqa: ARG002  # the contract's
        logits = features @ self.weights_[:-1] + self.weights_[-1]
        logits -= logits.max(axis=1, keepdims=True)
        log_prob = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return np.asarray(self.tau_ * log_prob + self.lam_ * cost)
