"""The policies that serve: the one that was given, or those that the ledger's registry has rolled out.

Beside the active policy there may be a canary, which decides a share of the tasks, and a shadow, whose choice is only noted. Of
one thread or run all tasks are decided by one of the two: an agent does not change its mind in the middle of its work because a
coin fell otherwise. Whose turn it is follows from a hash of the thread's id, so every worker finds the same without asking.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from budget_router.allocation import FloatArray
from budget_router.averages import Averages
from budget_router.budget import Unit
from budget_router.errors import ArtifactError, LedgerUnavailable
from budget_router.ledger import Registry
from budget_router.menu import Menu
from budget_router.pacing import Pacer
from budget_router.policies.artifact import policy_from
from budget_router.policies.contract import Choice, Policy, Prediction
from budget_router.records import Shadow, hash_text
from budget_router.task import Task

_log = logging.getLogger("budget_router")


class Turn(NamedTuple):
    """What the policy whose turn it is makes of a task."""

    policy: Policy
    prediction: Prediction
    choice: Choice
    propensities: FloatArray
    """(n_strategies,) of being drawn, whichever policy had had the turn: the choices of both, each by its share."""
    shadow: Shadow | None
    table: str | None
    """Name of the policy's table for the pacer; `None`: the one that it goes by."""


class _Serves(NamedTuple):
    """All that decides at one moment."""

    active: Policy
    canary: Policy | None = None
    share: float = 0.0
    shadow: Policy | None = None


class _Look(NamedTuple):
    policy: Policy
    prediction: Prediction
    choice: Choice


class Serving:
    """Follows the registry's rollouts for a menu, and tells the pacers whose table to go by.

    Args:
        policy: that serves first, and as long as none was promoted.
        menu: of the router.
        unit: of its budgets.
        registry: of its ledger.
        averages: that go by the policy's table.
        draw: in [0, 1), for tasks of no thread, run or id.
        salt: of the ledger, for those that have one.
    """

    def __init__(
        self,
        policy: Policy,
        menu: Menu,
        *,
        unit: Unit,
        registry: Callable[[], Registry],
        averages: Averages,
        draw: Callable[[], float],
        salt: Callable[[], str],
    ) -> None:
        self._menu = menu
        self._unit = unit
        self._registry = registry
        self._averages = averages
        self._draw = draw
        self._salt = salt
        self._first = policy
        self._refused: set[str] = set()
        self._serves = _Serves(policy)
        self._go_by(policy)

    @property
    def policy(self) -> Policy:
        """The active one."""
        return self._serves.active

    def turn(self, task: Task, pacer: Pacer, *, per_task: float, floor: float, run: str | None) -> Turn:
        """Let the policy whose turn it is look at a task, and the shadow too.

        Args:
            task: to be decided.
            pacer: of its group.
            per_task: what the task is allowed on average, in the budget's unit.
            floor: least probability of every strategy.
            run: what it is part of, and decided by one policy with all the rest of; its own id where it is part of nothing.
        """
        serves = self._serves
        ratio = per_task / pacer.budget.per_task
        active = _looked(serves.active, task, pacer.target() * ratio, floor)
        propensities, look, table = active.choice.probabilities[0], active, None
        if serves.canary is not None:
            named = self._table(serves.canary)
            canary = self._tried(serves.canary, task, lambda: pacer.target(named) * ratio, floor)
            if canary is not None:
                propensities = (1 - serves.share) * propensities + serves.share * canary.choice.probabilities[0]
                if self._lot(run, serves.canary.version) < serves.share:
                    look, table = canary, named
        shadow = None if serves.shadow is None else self._tried(serves.shadow, task, lambda: per_task, floor)
        return Turn(*look, propensities, shadow and self._noted(shadow), table)

    def of(self, version: str) -> tuple[Policy, str | None]:
        """The policy that made a decision, and the name of its table as in `Turn`; the active one where it serves no longer."""
        canary = self._serves.canary
        if canary is not None and canary.version == version:
            return canary, self._table(canary)
        return self.policy, None

    def reload(self) -> bool:
        """Serve what was rolled out, if it is something else, and tell whether it changed.

        A policy that cannot be read, or a registry that does not answer, leaves what serves now, and is logged; a canary or a
        shadow that cannot be read is left out.
        """
        try:
            registry = self._registry()
            rollout = registry.rollout(self._menu.hash)
            serves = _Serves(
                self._first if rollout.active is None else self._found(registry, rollout.active) or self.policy,
                self._found(registry, rollout.canary),
                rollout.share,
                self._found(registry, rollout.shadow),
            )
        except LedgerUnavailable as error:
            _log.warning("policy %s goes on serving: %s", self.policy.version, error)
            return False
        before, self._serves = self._serves, serves
        if serves.active is not before.active:
            self._go_by(serves.active)
        return serves != before

    def _found(self, registry: Registry, version: str | None) -> Policy | None:
        """A policy by its version, from those that serve or from the registry; `None` if it cannot be served."""
        if version is None or version in self._refused:
            return None
        for known in (self._serves.active, self._serves.canary, self._serves.shadow):
            if known is not None and known.version == version:
                return known
        try:
            return policy_from(registry.load(version), self._menu, unit=self._unit)
        except ArtifactError as error:
            self._refused.add(version)  # what is saved stays as it is
            _log.warning("policy %s goes on serving, %s does not: %s", self.policy.version, version, error)
            return None

    def _tried(self, policy: Policy, task: Task, target: Callable[[], float], floor: float) -> _Look | None:
        """Let a candidate look at a task; one that fails is let go, and no decision hears of it."""
        try:
            return _looked(policy, task, target(), floor)
        except Exception:  # noqa: BLE001  # whatever a candidate does wrong must not reach the decision
            _log.exception("policy %s fails on a task: it is not served or shadowed by this worker any more", policy.version)
            self._refused.add(policy.version)
            serves = self._serves
            if serves.canary is policy:
                serves = serves._replace(canary=None, share=0.0)
            if serves.shadow is policy:
                serves = serves._replace(shadow=None)
            self._serves = serves
            return None

    def _noted(self, look: _Look) -> Shadow:
        chosen, prediction = look.choice.probabilities[0], look.prediction
        accuracy = None if prediction.accuracy is None else min(float(chosen @ prediction.accuracy[0]), 1.0)
        return Shadow(
            policy_version=look.policy.version,
            propensities=dict(zip(self._menu.names, chosen.tolist(), strict=True)),
            shadow_price=look.choice.lam,
            expected_cost=float(chosen @ prediction.cost[0]),
            expected_accuracy=accuracy,
        )

    def _lot(self, run: str | None, version: str) -> float:
        return self._draw() if run is None else lot_of(f"{version} {run}", salt=self._salt())

    def _table(self, policy: Policy) -> str:
        return f"{policy.version} of {self._menu.hash}"

    def _go_by(self, policy: Policy) -> None:
        self._averages.calibrated(self._table(policy))


def lot_of(name: str, *, salt: str) -> float:
    """A number in [0, 1) that a name always draws, under a ledger's salt: who draws again, draws the same."""
    return int(hash_text(name, salt=salt)[:13], 16) / 16**13


def _looked(policy: Policy, task: Task, target: float, floor: float) -> _Look:
    prediction = policy.predict([task])
    return _Look(policy, prediction, policy.choose(prediction, target, floor=floor))
