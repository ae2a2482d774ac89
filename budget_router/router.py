"""The router: decide before a reasoning step, settle after it, grade when the truth is known.

`decide` is pure but for a random draw and one ledger write. The way of the data is
`Task → policy → price → Decision → ledger`, and back `Spend → pacer`, `Outcome → ledger`.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np

from budget_router.averages import Averages
from budget_router.billing import Billing
from budget_router.budget import Budget
from budget_router.budgets import by_group, check_feasible
from budget_router.capping import Ask, Capping, Patience
from budget_router.deciding import Deciding
from budget_router.errors import (
    InvalidInput,
)
from budget_router.ledger import Ledger
from budget_router.memory import MemoryLedger
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.pacing import DEFAULT_HORIZON
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Policy
from budget_router.policies.learned import LearnedPolicy
from budget_router.records import now
from budget_router.serving import Serving
from budget_router.tariffs import Tariffs
from budget_router.upkeep import Upkeep
from budget_router.watching import Watchers

DEFAULT_EXPLORATION = 0.005
"""Least probability of every strategy: what makes tomorrow's evaluation possible costs about its share of the dearest one."""
DEFAULT_RELOAD_SECONDS = 2.0
"""How often a serving router asks the registry whether another policy was promoted."""
DEFAULT_SHARE_SECONDS = 1.0
"""How often a serving router tells the ledger what it has spent, and hears what others have."""


class BudgetRouter(Deciding):
    """Chooses a strategy per task so that the most accuracy is bought within an average budget.

    >>> from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Task
    >>> router = BudgetRouter(Menu([SingleShot(), SelfConsistency(k=5)]), Budget(per_task=800), seed=7)
    >>> decision = router.decide(Task("What is 27 + 41?"))
    >>> decision.strategy.name in decision.propensities
    True

    Args:
        menu: strategies to choose from.
        budget: the average that tasks without a group of their own draw on.
        budgets: averages of named groups.
        lend: share of its own budget that a group may lend to the others or borrow from them, at one price for all, while their
            joint average holds; when not given, each keeps its own.
        ledger: where decisions and spend are kept; in memory when not given.
        policy: serve this one, and never another; when not given, the one that the ledger's registry has promoted for this menu,
            `ColdStart` until there is one.
        tariffs: prices of models; asked before anything is paid when a budget is in USD.
        model: name of the model that strategies without one of their own run on; needed for budgets in USD.
        exploration: least probability of every strategy.
        horizon: decisions over which a deviation from the average is worked off.
        patience: of budgets with `on_shortage="wait"`.
        ask: whom budgets with `on_shortage="ask"` ask, in the thread that decides.
        reload_seconds: how often the registry is asked for a newer policy; with 0, before each decision.
        share_seconds: how old the spend of others who serve the same budget from the same ledger may be when it is told: all keep
            the average together, from the first of them on; with 0, before each decision. `None`: this router keeps it alone.
        seed: of the random draws.
        clock: tells when decisions are made and settled; of a simulation its own.
    """

    def __init__(
        self,
        menu: Menu,
        budget: Budget | None = None,
        *,
        budgets: Sequence[Budget] = (),
        ledger: Ledger | None = None,
        policy: Policy | None = None,
        tariffs: Tariffs | None = None,
        model: str | None = None,
        exploration: float = DEFAULT_EXPLORATION,
        lend: float = 0.0,
        horizon: int = DEFAULT_HORIZON,
        patience: Patience | None = None,
        ask: Ask | None = None,
        reload_seconds: float = DEFAULT_RELOAD_SECONDS,
        share_seconds: float | None = DEFAULT_SHARE_SECONDS,
        seed: int | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.menu = menu
        self.budgets = by_group([*([] if budget is None else [budget]), *budgets])
        if not 0 <= exploration <= 1 / len(menu):
            raise InvalidInput(
                f"exploration is {exploration:g}: a floor for {len(menu)} strategies lies in [0, {1 / len(menu):g}]"
            )
        self.ledger: Ledger = MemoryLedger() if ledger is None else ledger  # an empty ledger may be false
        self.tariffs = Tariffs() if tariffs is None else tariffs
        self.model = model
        self.exploration = exploration
        self.watchers = Watchers()
        """Told what it decides, opens, closes and settles; see `budget_router.watching`."""
        self._unit = next(iter(self.budgets.values())).unit
        check_feasible([*self.budgets.values()], menu, tariffs=self.tariffs, model=model)
        self._billing = Billing(self.tariffs)
        self._capping = Capping(
            lambda: self.ledger.caps,
            menu,
            [*self.budgets.values()],
            tariffs=self.tariffs,
            model=model,
            patience=patience or Patience(),
            ask=ask,
        )
        if isinstance(policy, LearnedPolicy) and (policy.menu.hash, policy.unit) != (menu.hash, self._unit):
            raise InvalidInput(
                f"policy {policy.version!r} was trained in {policy.unit} for {', '.join(policy.menu.names)}: "
                f"give it that menu and a budget in {policy.unit}, or train it for this one"
            )
        paces = Paces() if share_seconds is None else self.ledger.paces
        self._averages = Averages(self.budgets, lend=lend, horizon=horizon, paces=paces)
        self._cold_start = ColdStart(menu, unit=self._unit, tariffs=self.tariffs, model=model)
        self._is_pinned = policy is not None
        self._serving = Serving(
            self._cold_start if policy is None else policy,
            menu,
            unit=self._unit,
            registry=lambda: self.ledger.registry,
            averages=self._averages,
            draw=self._drawn,
            salt=lambda: self.ledger.salt,
        )
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._has_decided = False
        """Whether what a first decision loads, a tokenizer, is there."""
        self._promotions = Upkeep(self.reload, every_seconds=reload_seconds)
        self._shares = share_seconds is not None
        self._others = Upkeep(self._averages.share, every_seconds=share_seconds or 0.0)
        self.reload()
        self._averages.share()

    @property
    def policy(self) -> Policy:
        """The policy that serves now, beside a canary if there is one."""
        return self._serving.policy

    def reload(self) -> bool:
        """Serve what the registry has rolled out, if it is something else; tell whether it changed.

        A policy that cannot be read, or a registry that does not answer, leaves what serves now, and is logged.
        """
        return False if self._is_pinned else self._serving.reload()
