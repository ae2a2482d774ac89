"""Candidates are tried live: a canary decides a share of the tasks, a shadow decides in silence, and why it ended is told."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BEFORE = "promotions_before"
_HAS_A_SHARE, _IS_A_PART = "(canary IS NULL) = (share IS NULL)", "share > 0 AND share < 1"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        write_promotions_anew()
    else:
        widen_promotions()
    create_shadows()


def write_promotions_anew() -> None:
    """SQLite cannot let a column be empty that could not be."""
    op.drop_index("which_policy_serves_a_menu", "promotions")
    op.rename_table("promotions", _BEFORE)
    op.create_table(
        "promotions",
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("menu_hash", sa.Text, nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        *live_columns(),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_promotions")),
        sa.CheckConstraint(_HAS_A_SHARE, name=op.f("ck_promotions_a_canary_has_a_share")),
        sa.CheckConstraint(_IS_A_PART, name=op.f("ck_promotions_share_is_a_part")),
        *(
            sa.ForeignKeyConstraint([name], ["policies.version"], name=op.f(f"fk_promotions_{name}"))
            for name in ("version", "canary", "shadow")
        ),
    )
    kept: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in ("position", "version", "menu_hash", "promoted_at")
    ]  # Any: of each column's own type
    promotions = sa.table("promotions", *(sa.column(one.name) for one in kept))
    op.execute(promotions.insert().from_select([one.name for one in kept], sa.select(*kept).select_from(sa.table(_BEFORE))))
    op.drop_table(_BEFORE)
    op.create_index("which_policy_serves_a_menu", "promotions", ["menu_hash", "position"])


def widen_promotions() -> None:
    op.alter_column("promotions", "version", existing_type=sa.Text, nullable=True)
    for column in live_columns():
        op.add_column("promotions", column)
    op.create_check_constraint(op.f("ck_promotions_a_canary_has_a_share"), "promotions", _HAS_A_SHARE)
    op.create_check_constraint(op.f("ck_promotions_share_is_a_part"), "promotions", _IS_A_PART)
    for name in ("canary", "shadow"):
        op.create_foreign_key(op.f(f"fk_promotions_{name}"), "promotions", "policies", [name], ["version"])


def live_columns() -> list[sa.Column[str] | sa.Column[float]]:
    return [
        sa.Column("canary", sa.Text),
        sa.Column("share", sa.Double),
        sa.Column("shadow", sa.Text),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
    ]


def create_shadows() -> None:
    op.create_table(
        "shadows",
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("propensities", sa.Text, nullable=False),
        sa.Column("shadow_price", sa.Double, nullable=False),
        sa.Column("expected_cost", sa.Double, nullable=False),
        sa.Column("expected_accuracy", sa.Double),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_shadows")),
        sa.CheckConstraint("shadow_price >= 0", name=op.f("ck_shadows_shadow_price_is_not_negative")),
        sa.CheckConstraint("expected_cost >= 0", name=op.f("ck_shadows_expected_cost_is_not_negative")),
        sa.CheckConstraint(
            "expected_accuracy >= 0 AND expected_accuracy <= 1", name=op.f("ck_shadows_expected_accuracy_is_a_score")
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name=op.f("fk_shadows_decision_id")),
    )
