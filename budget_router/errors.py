"""Every error this package raises on purpose, in one family.

    BudgetRouterError
    ├── InvalidInput (ValueError)          a value at the border is out of range
    │   ├── InvalidTable                   accuracies or costs that cannot be solved
    │   └── InvalidTask                    a task that cannot be read, stored or counted
    ├── InfeasibleBudget (ValueError)      no assignment of strategies fits the budget
    │   └── ClashingBudgets                several budgets that no mixture of strategies fits at once
    ├── UnknownTariff (LookupError)        a model whose price nobody told us
    ├── UnknownDecision (LookupError)      an id that stands in no ledger
    ├── NoAnswer (RuntimeError)            every sample of a decision failed
    ├── ArtifactError (ValueError)         a saved policy that must not be served
    ├── NotEnoughEvidence (ValueError)     a log too thin to learn from
    └── LedgerError (RuntimeError)         the book of decisions cannot be used
        ├── ForeignLedger                  a database that is not ours
        ├── NewerLedger                    a database written by a newer version
        ├── OlderLedger                    a shared database that nobody has migrated to this version
        └── LedgerUnavailable              the database did not answer

Each message says what was found, the limit, and the mend.
"""

from collections.abc import Mapping


class BudgetRouterError(Exception):
    """Root of everything this package raises on purpose."""


class InvalidInput(BudgetRouterError, ValueError):
    """A value at the border is out of range."""


class InvalidTable(InvalidInput):
    """Accuracies or costs that cannot be solved: wrong shape, NaN, out of range."""


class InvalidTask(InvalidInput):
    """A task that cannot be read, stored or counted."""


class InfeasibleBudget(BudgetRouterError, ValueError):
    """No assignment of strategies fits the budget."""


class ClashingBudgets(InfeasibleBudget):
    """Several budgets that no mixture of strategies fits at once, with the proof."""

    def __init__(self, message: str, *, certificate: Mapping[str, float], mend: Mapping[str, float]) -> None:
        """Keep what proves it and what mends it, by the limit's name.

        Args:
            message: found, limit and mend.
            certificate: what a unit of each cost is worth, ≥ 0, such that the budgets together are worth at most 1 and even the
                cheapest strategy of every task costs more (Farkas' lemma).
            mend: budgets that would do, the least raise in all.
        """
        super().__init__(message)
        self.certificate, self.mend = dict(certificate), dict(mend)


class UnknownTariff(BudgetRouterError, LookupError):
    """A model whose price nobody told us; never billed as free."""


class UnknownDecision(BudgetRouterError, LookupError):
    """A decision id that stands in no ledger."""


class NoAnswer(BudgetRouterError, RuntimeError):
    """Every sample of a decision failed."""


class ArtifactError(BudgetRouterError, ValueError):
    """A saved policy that is corrupt, foreign, too large, or made for another menu."""


class NotEnoughEvidence(BudgetRouterError, ValueError):
    """A log too thin to learn from."""


class LedgerError(BudgetRouterError, RuntimeError):
    """The book of decisions cannot be used."""


class ForeignLedger(LedgerError):
    """A database that is not a ledger of ours."""


class NewerLedger(LedgerError):
    """A database written by a newer version of this package."""


class OlderLedger(LedgerError):
    """A shared database that nobody has migrated to this version."""


class LedgerUnavailable(LedgerError):
    """The database did not answer."""
