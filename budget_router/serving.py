"""The policy that serves: the one that was given, or the one that the ledger's registry has promoted."""

import logging
from collections.abc import Callable

from budget_router.averages import Averages
from budget_router.budget import Unit
from budget_router.errors import ArtifactError, LedgerUnavailable
from budget_router.ledger import Registry
from budget_router.menu import Menu
from budget_router.policies.artifact import policy_from
from budget_router.policies.contract import Policy

_log = logging.getLogger("budget_router")


class Serving:
    """Follows the registry's promotions for a menu, and tells the pacers whose table to go by.

    Args:
        policy: that serves first.
        menu: of the router.
        unit: of its budgets.
        registry: of its ledger.
        averages: that go by the policy's table.
    """

    def __init__(self, policy: Policy, menu: Menu, *, unit: Unit, registry: Callable[[], Registry], averages: Averages) -> None:
        self._menu = menu
        self._unit = unit
        self._registry = registry
        self._averages = averages
        self._refused: str | None = None
        self.policy: Policy = policy
        self._go_by(policy)

    def reload(self) -> bool:
        """Serve the policy that was promoted, if it is another one, and tell whether it changed.

        One that cannot be read, or a registry that does not answer, leaves the present one serving, and is logged.
        """
        version = None
        try:
            registry = self._registry()
            version = registry.active_version(self._menu.hash)
            if version is None or version in {self.policy.version, self._refused}:
                return False
            self._go_by(policy_from(registry.load(version), self._menu, unit=self._unit))
        except (ArtifactError, LedgerUnavailable) as error:
            self._refused = version if isinstance(error, ArtifactError) else None  # what is saved stays as it is
            _log.warning("policy %s goes on serving: %s", self.policy.version, error)
            return False
        return True

    def _go_by(self, policy: Policy) -> None:
        self.policy = policy
        self._averages.calibrated(f"{policy.version} of {self._menu.hash}")
