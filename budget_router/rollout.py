"""Who decides a menu's tasks: the active policy, a canary that gets a share of them, a candidate that decides in silence.

Each change is a new state behind the last one, which says what changed and why; so who decided when can be told afterwards.
"""

from datetime import datetime

from pydantic import Field, model_validator

from budget_router.errors import InvalidInput
from budget_router.records import now
from budget_router.words import Name, Probability, Text, Time, Word


class Rollout(Word):
    """What stands from one moment until the next one of its menu; a step that changes nothing gives back what it began at."""

    menu_hash: Name
    active: Name | None = None
    """Version that decides; `None` before the first promotion: routers then serve what they began with."""
    canary: Name | None = None
    """Version that decides a share of the tasks in its stead."""
    share: Probability = 0.0
    """Of the canary, in (0, 1); 0 without one."""
    shadow: Name | None = None
    """Version whose choice is noted beside each decision, and never executed."""
    reason: Text = ""
    """Why this state came to be, with the figures where a check brought it about."""
    began_at: Time = Field(default_factory=now)

    @model_validator(mode="after")
    def _is_shared(self) -> "Rollout":
        if (self.canary is None) != (self.share == 0) or self.share == 1:
            raise ValueError(f"canary {self.canary!r} with a share of {self.share:g}: a canary has one above 0 and below 1")
        return self

    @property
    def arms(self) -> tuple[str | None, str | None, float]:
        """Who decides how much: active, canary, share."""
        return self.active, self.canary, self.share

    def promoted(
        self, version: str, *, share: float = 1.0, reason: str = "", after: "Rollout | None" = None, at: datetime
    ) -> "Rollout":
        """Let a version decide all tasks, or a share of them as the canary; raises InvalidInput.

        `after` is what the version was judged by: where others decide by now, nothing is changed.
        """
        if after is not None and after.arms != self.arms:
            return self
        if not 0 < share <= 1:
            raise InvalidInput(
                f"share is {share:g}: give one above 0 and at most 1; a candidate that decides nothing is a shadow, not a canary"
            )
        if share == 1:
            next_arms: tuple[str | None, str | None, float] = (version, None, 0.0)
        elif version == self.active:
            raise InvalidInput(f"{version!r} decides all tasks: promote it with share 1 to end a canary, or give another version")
        else:
            next_arms = self.active, version, share
        if next_arms == self.arms:
            return self
        active, canary, share = next_arms
        shadow = None if self.shadow == version else self.shadow
        return Rollout(
            menu_hash=self.menu_hash, active=active, canary=canary, share=share, shadow=shadow, reason=reason, began_at=at
        )

    def shadowed(self, version: str, *, reason: str = "", at: datetime) -> "Rollout":
        """Let a version decide in silence, in place of the one that does; raises InvalidInput if it decides aloud."""
        if version in {self.active, self.canary}:
            raise InvalidInput(f"{version!r} decides tasks already: a shadow is a version that decides none, or rollback first")
        if version == self.shadow:
            return self
        return self.model_copy(update={"shadow": version, "reason": reason, "began_at": at})

    def withdrawn(self, version: str, *, reason: str = "", at: datetime) -> "Rollout":
        """Let a canary or a shadow go; the active policy cannot be withdrawn, another one is promoted in its stead."""
        if version == self.active:
            raise InvalidInput(f"{version!r} is the active policy: promote another one, or rollback")
        gone: dict[str, object] = {}
        if version == self.canary:
            gone = {"canary": None, "share": 0.0}
        if version == self.shadow:
            gone = {**gone, "shadow": None}
        return self.model_copy(update={**gone, "reason": reason, "began_at": at}) if gone else self


def actives(rollouts: list[Rollout]) -> list[str]:
    """Versions in the order in which they were made to serve."""
    line: list[str] = []
    for one in rollouts:
        if one.active is not None and line[-1:] != [one.active]:
            line.append(one.active)
    return line
