"""The shelf of policies that a ledger keeps: what was learned for a menu, who decides now, and letting another one decide."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.rollout import Rollout

Role = Literal["active", "canary", "shadow"]


@dataclass(frozen=True)
class SavedPolicy:
    """One that was learned, and what it does now."""

    version: str
    role: Role | None
    """What it decides: all tasks that no canary gets, a share of them, or in silence; `None`: nothing."""
    created_at: datetime
    evidence: Mapping[str, object]
    """What spoke for it when it was learned, the gate's verdict among it."""


def saved_policies(ledger: Ledger, *, menu: Menu) -> list[SavedPolicy]:
    """List the policies that were learned for a menu, the oldest first, with their evidence and what each does now.

    Args:
        ledger: whose registry holds them.
        menu: of the policies.
    """
    registry = ledger.registry
    stands = registry.rollout(menu.hash)
    roles: dict[str | None, Role] = {stands.shadow: "shadow", stands.canary: "canary", stands.active: "active"}
    records = [registry.load(version) for version in registry.versions(menu.hash)]
    return [SavedPolicy(one.version, roles.get(one.version), one.created_at, one.evidence) for one in records]


def promote(ledger: Ledger, version: str, *, share: float = 1.0, reason: str = "") -> Rollout:
    """Let a saved policy decide all tasks of its menu, or a share of them as a canary; return what stands then.

    Args:
        ledger: whose registry holds it; routers pick it up within seconds.
        version: of the policy; naming an older one rolls back.
        share: of the tasks, in (0, 1].
        reason: kept with the rollout.

    Raises:
        ArtifactError: it was never saved.
        InvalidInput: the share lies elsewhere, or the active policy is to be its own canary.
    """
    return ledger.registry.promote(version, share=share, reason=reason)
