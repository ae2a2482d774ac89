"""Let the policy serve again that served before."""

from budget_router.errors import ArtifactError
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.policies.cold_start import ColdStart


def rollback(ledger: Ledger, *, menu: Menu, reason: str = "") -> str:
    """Let a canary go, or else promote the policy that served the menu before the present one; return the version that serves.

    Called again, it goes further back. Routers pick it up as they do any promotion. Who promotes the last policy but one by name
    has rolled back as well.

    Args:
        ledger: whose registry is asked.
        menu: of the policy.
        reason: kept with the rollout.

    Raises:
        ArtifactError: no policy served before: there is nothing to go back to.
    """
    canary = ledger.registry.rollout(menu.hash).canary
    if canary is not None:
        return ledger.registry.withdraw(canary, reason=reason).active or ColdStart.version
    line: list[str] = []
    for version in ledger.registry.promoted(menu.hash):
        if line[-2:-1] == [version]:
            line.pop()
        else:
            line.append(version)
    if len(line) < 2:
        served = f"{line[0]!r} is the first that serves" if line else "none was promoted"
        raise ArtifactError(f"no earlier policy to roll back to: {served}; promote a saved one by its version")
    ledger.registry.promote(line[-2], reason=reason)
    return line[-2]
