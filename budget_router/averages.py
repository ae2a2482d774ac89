"""The averages of one router: a pacer for each group, which all who share the ledger keep together."""

import logging

from budget_router.budget import Budget
from budget_router.errors import BudgetRouterError, InvalidInput
from budget_router.lending import borrowers
from budget_router.paces import Paces
from budget_router.pacing import Pacer

_log = logging.getLogger("budget_router")


class Averages:
    """Pacers by group.

    Args:
        budgets: by group; the one of `None` is for all groups without their own.
        lend: share of its own budget that a group may lend or borrow; with 0 each keeps its own.
        horizon: decisions over which a deviation is worked off.
        paces: where pasts are kept.
    """

    def __init__(self, budgets: dict[str | None, Budget], *, lend: float, horizon: int, paces: Paces) -> None:
        if horizon < 1:
            raise InvalidInput(f"horizon is {horizon}: give at least one decision")
        if not 0 <= lend <= 1:
            raise InvalidInput(f"lend is {lend:g}: give the share of its own budget that a group may lend or borrow, in [0, 1]")
        self._paces = paces
        self._is_alone = False
        self._pacers: dict[str | None, Pacer] = (
            borrowers([*budgets.values()], lend=lend, horizon=horizon, paces=paces)
            if lend
            else {group: Pacer(one, horizon=horizon, paces=paces) for group, one in budgets.items()}
        )

    def of(self, group: str | None) -> Pacer:
        """The pacer of a group; raises InvalidInput where it has no budget."""
        if group in self._pacers:
            return self._pacers[group]
        if None in self._pacers:
            return self._pacers[None]
        named = ", ".join(repr(name) for name in self._pacers)
        raise InvalidInput(
            f"no budget for group {group!r}: there are {named}; add one, or a budget without a group for all others"
        )

    def calibrated(self, table: str) -> None:
        """Go by another policy's table, whatever was found wrong with the last one."""
        for pacer in self._pacers.values():
            pacer.calibrated(table)

    def share(self) -> None:
        """Tell what was spent here, and hear what others spent; a ledger that is away is told the next time."""
        try:
            self._paces.exchange()
            self._is_alone = False
        except BudgetRouterError as error:
            if not self._is_alone:  # said once
                self._is_alone = True
                _log.warning("this worker paces by its own spend alone: %s", error)
