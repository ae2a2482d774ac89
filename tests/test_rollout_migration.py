"""A ledger of the version before rollouts keeps all it holds when it is migrated."""

from contextlib import closing

import pytest
from alembic import command
from sqlalchemy import select, text

from budget_router.testing import MENU, TASK, example_decision, example_policy, example_shadow
from budget_router_sql import SqlLedger, migrate
from budget_router_sql.backend import backend_of
from budget_router_sql.engine import Database
from budget_router_sql.migrate import _config
from budget_router_sql.rows import decision_row, menu_row, policy_row
from budget_router_sql.schema import REVISION, VERSION_TABLE, decisions, menus, policies, promotions

BEFORE = "0006"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/spend.db"
        return
    postgres = request.getfixturevalue("postgres")
    with postgres.empty() as database:
        yield postgres.url(database)


def test_what_was_promoted_and_decided_before_stands_and_more_can_follow(url):
    _older_ledger(url)
    assert migrate(url).found == BEFORE
    with SqlLedger(url) as ledger:
        registry = ledger.registry
        assert registry.promoted(MENU.hash) == ["a", "b", "a"]
        assert registry.rollout(MENU.hash).arms == ("a", None, 0.0)
        assert {one.reason for one in registry.rollouts(MENU.hash)} == {""}
        assert ledger.decision("d1").decision == example_decision()
        registry.promote("b", share=0.25)
        registry.withdraw("b", reason="worse")
        assert [one.arms[1] for one in registry.rollouts(MENU.hash)] == [None, None, None, "b", None]
        watched = example_decision("d2", shadow=example_shadow())
        assert ledger.record_decision(watched, TASK, MENU) == watched
        with ledger.database.read() as connection:
            positions = connection.execute(select(promotions.c.position).order_by(promotions.c.position)).scalars().all()
            assert positions == sorted(set(positions))
            assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == REVISION  # ours


def _older_ledger(url):
    """A ledger as the version before left it, by its own migrations."""
    with closing(Database(backend_of(url), durability="committed", busy_seconds=5)) as database, database.write() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
        connection.execute(text("INSERT INTO meta (key, value) VALUES ('salt', '0123456789abcdef')"))
        connection.execute(menus.insert(), menu_row(MENU))
        connection.execute(decisions.insert(), decision_row(example_decision(), TASK, with_text=True))
        for version in "ab":
            connection.execute(policies.insert(), policy_row(example_policy(version)))
        for version in "aba":
            kept = {"version": version, "menu_hash": MENU.hash, "promoted_at": example_decision().decided_at}
            connection.execute(promotions.insert().values(**kept))
