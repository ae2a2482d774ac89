"""The shelf of policies, in the ledger's own database."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from budget_router.errors import ArtifactError
from budget_router.records import PolicyRecord, now
from budget_router_sql.engine import Database
from budget_router_sql.rows import policy_of, policy_row
from budget_router_sql.schema import policies, promotions

_KEEP_POLICY = insert(policies).on_conflict_do_nothing(index_elements=["version"])
_KEEP_PROMOTION = insert(promotions)
_POLICY = select(*[policies.c[name] for name in PolicyRecord.model_fields])
_LAST_PROMOTION = select(promotions.c.version).order_by(promotions.c.position.desc()).limit(1)


class SqlRegistry:
    """Policies as rows, promoted or not; a promotion is a row too, so who served when can be told afterwards."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, policy: PolicyRecord) -> None:
        """Keep a candidate; saving the same version again changes nothing."""
        row = policy_row(policy)
        with self._database.write() as connection:
            connection.execute(_KEEP_POLICY, row)

    def promote(self, version: str) -> None:
        """Make a saved version the active one of its menu; raises ArtifactError if it was never saved."""
        with self._database.write() as connection:
            menu_hash = connection.execute(select(policies.c.menu_hash).where(policies.c.version == version)).scalar()
            if menu_hash is None:
                raise ArtifactError(never_saved(version))
            active = connection.execute(_LAST_PROMOTION.where(promotions.c.menu_hash == menu_hash)).scalar()
            if active != version:
                connection.execute(_KEEP_PROMOTION, {"version": version, "menu_hash": menu_hash, "promoted_at": now()})

    def active_version(self, menu_hash: str) -> str | None:
        """Version that serves the menu now, `None` before the first promotion; one look into an index."""
        with self._database.read() as connection:
            return connection.execute(_LAST_PROMOTION.where(promotions.c.menu_hash == menu_hash)).scalar()

    def promoted(self, menu_hash: str) -> list[str]:
        """Versions in the order in which they were made to serve a menu, the active one last."""
        in_order = select(promotions.c.version).where(promotions.c.menu_hash == menu_hash).order_by(promotions.c.position)
        with self._database.read() as connection:
            return list(connection.execute(in_order).scalars())

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


def never_saved(version: str) -> str:
    """Found and mend of a version that is asked for and not there."""
    return f"no policy {version!r} was saved: save it first, or take one of versions()"
