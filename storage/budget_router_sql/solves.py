"""What was solved on the ledger's outcomes, in its database; never queued: it stands, or the refresh is told."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from budget_router.errors import ArtifactError
from budget_router.records import Solve
from budget_router_sql.engine import Database
from budget_router_sql.registry import never_saved
from budget_router_sql.schema import policies, solves

_KEEP = insert(solves).on_conflict_do_nothing(index_elements=["id"])
_SOLVES = select(*(solves.c[name] for name in Solve.model_fields)).order_by(solves.c.solved_at, solves.c.position)


class SqlSolves:
    """Solves as rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, solve: Solve) -> None:
        """Keep a solve, once by its id; raises ArtifactError if it names a policy that was never saved."""
        version = solve.policy_version
        with self._database.write() as connection:
            known = select(policies.c.version).where(policies.c.version == version)
            if version is not None and connection.execute(known).first() is None:
                raise ArtifactError(never_saved(version))
            connection.execute(_KEEP, solve.model_dump())

    def of_menu(self, menu_hash: str) -> list[Solve]:
        """What was solved for a menu, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(_SOLVES.where(solves.c.menu_hash == menu_hash)).mappings()
            return [Solve(**row) for row in rows]
