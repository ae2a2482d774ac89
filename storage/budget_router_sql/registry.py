"""The shelf of policies, in the ledger's own database."""

from collections.abc import Callable

from sqlalchemy import RowMapping, select
from sqlalchemy.dialects.postgresql import insert

from budget_router.errors import ArtifactError
from budget_router.records import PolicyRecord, now
from budget_router.rollout import Rollout, actives
from budget_router_sql.engine import Database
from budget_router_sql.rows import policy_of, policy_row, rollout_of, rollout_row
from budget_router_sql.schema import policies, promotions

_KEEP_POLICY = insert(policies).on_conflict_do_nothing(index_elements=["version"])
_KEEP_PROMOTION = insert(promotions)
_POLICY = select(*[policies.c[name] for name in PolicyRecord.model_fields])
_LATEST = select(promotions).order_by(promotions.c.position.desc()).limit(1)


class SqlRegistry:
    """Policies as rows, promoted or not; what stands after each promotion is a row too, so who served when can be told."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, policy: PolicyRecord) -> None:
        """Keep a candidate; saving the same version again changes nothing."""
        row = policy_row(policy)
        with self._database.write() as connection:
            connection.execute(_KEEP_POLICY, row)

    def promote(self, version: str, *, share: float = 1.0, reason: str = "", after: Rollout | None = None) -> Rollout:
        """Make a saved version the active one of its menu or, with a share below 1, its canary."""
        return self._change(version, lambda stands: stands.promoted(version, share=share, reason=reason, after=after, at=now()))

    def shadow(self, version: str, *, reason: str = "") -> Rollout:
        """Let a saved version decide in silence."""
        return self._change(version, lambda stands: stands.shadowed(version, reason=reason, at=now()))

    def withdraw(self, version: str, *, reason: str = "") -> Rollout:
        """Let a canary or a shadow go."""
        return self._change(version, lambda stands: stands.withdrawn(version, reason=reason, at=now()))

    def rollout(self, menu_hash: str) -> Rollout:
        """Who decides the menu's tasks now; one look into an index."""
        with self._database.read() as connection:
            row = connection.execute(_LATEST.where(promotions.c.menu_hash == menu_hash)).mappings().first()
            return _stands(row, menu_hash)

    def rollouts(self, menu_hash: str) -> list[Rollout]:
        """All that was rolled out for a menu, oldest first."""
        in_order = select(promotions).where(promotions.c.menu_hash == menu_hash).order_by(promotions.c.position)
        with self._database.read() as connection:
            return [rollout_of(row) for row in connection.execute(in_order).mappings()]

    def active_version(self, menu_hash: str) -> str | None:
        """Version that serves the menu now, beside a canary if there is one; `None` before the first promotion."""
        return self.rollout(menu_hash).active

    def promoted(self, menu_hash: str) -> list[str]:
        """Versions in the order in which they were made to serve a menu, the active one last."""
        return actives(self.rollouts(menu_hash))

    def load(self, version: str) -> PolicyRecord:
        """The saved policy; raises ArtifactError if there is none of that version."""
        with self._database.read() as connection:
            row = connection.execute(_POLICY.where(policies.c.version == version)).mappings().first()
        if row is None:
            raise ArtifactError(never_saved(version))
        return policy_of(row)

    def versions(self, menu_hash: str) -> list[str]:
        """All versions saved for a menu, oldest first."""
        oldest_first = policies.c.created_at, policies.c.position
        with self._database.read() as connection:
            saved = select(policies.c.version).where(policies.c.menu_hash == menu_hash).order_by(*oldest_first)
            return list(connection.execute(saved).scalars())

    def _change(self, version: str, step: Callable[[Rollout], Rollout]) -> Rollout:
        """Put the next state behind the present one, while nobody else does."""
        with self._database.write() as connection:
            self._database.backend.keep_others_from_promoting(connection)
            menu_hash = connection.execute(select(policies.c.menu_hash).where(policies.c.version == version)).scalar()
            if menu_hash is None:
                raise ArtifactError(never_saved(version))
            row = connection.execute(_LATEST.where(promotions.c.menu_hash == menu_hash)).mappings().first()
            stands = _stands(row, menu_hash)
            changed = step(stands)
            if changed is not stands:
                connection.execute(_KEEP_PROMOTION, rollout_row(changed))
            return changed


def _stands(row: RowMapping | None, menu_hash: str) -> Rollout:
    return Rollout(menu_hash=menu_hash) if row is None else rollout_of(row)


def never_saved(version: str) -> str:
    """Found and mend of a version that is asked for and not there."""
    return f"no policy {version!r} was saved: save it first, or take one of versions()"
