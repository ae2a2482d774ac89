"""Solves are kept, and one refresher works at a time: what each solve came to, and who held which lease when."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    create_solves()
    create_leases()


def create_solves() -> None:
    op.create_table(
        "solves",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("menu_hash", sa.Text, nullable=False),
        sa.Column("policy_version", sa.Text),
        sa.Column("budget_per_task", sa.Double, nullable=False),
        sa.Column("budget_unit", sa.Text, nullable=False),
        sa.Column("allowed_cost", sa.Double, nullable=False),
        sa.Column("shadow_price", sa.Double, nullable=False),
        sa.Column("duality_gap", sa.Double, nullable=False),
        sa.Column("expected_accuracy", sa.Double, nullable=False),
        sa.Column("expected_cost", sa.Double, nullable=False),
        sa.Column("n_decisions", sa.BigInteger, nullable=False),
        sa.Column("n_tasks", sa.BigInteger, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True)),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("solved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_solves")),
        sa.UniqueConstraint("id", name=op.f("uq_solves_id")),
        sa.CheckConstraint("budget_per_task > 0", name=op.f("ck_solves_budget_is_positive")),
        sa.CheckConstraint("allowed_cost >= 0 AND expected_cost >= 0", name=op.f("ck_solves_costs_are_not_negative")),
        sa.CheckConstraint("shadow_price >= 0", name=op.f("ck_solves_shadow_price_is_not_negative")),
        sa.CheckConstraint("duality_gap >= 0", name=op.f("ck_solves_duality_gap_is_not_negative")),
        sa.CheckConstraint(
            "expected_accuracy >= 0 AND expected_accuracy <= 1", name=op.f("ck_solves_expected_accuracy_is_a_score")
        ),
        sa.CheckConstraint("n_decisions >= 0 AND n_tasks >= 0", name=op.f("ck_solves_decisions_and_tasks_are_counted")),
        sa.ForeignKeyConstraint(["policy_version"], ["policies.version"], name=op.f("fk_solves_policy_version")),
    )
    op.create_index("which_solves_were_made_for_a_menu", "solves", ["menu_hash", "solved_at", "position"])


def create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("name", "fence", name=op.f("pk_leases")),
        sa.CheckConstraint("fence > 0", name=op.f("ck_leases_takings_are_counted")),
    )
    has_no_end = sa.text("ended_at IS NULL")
    op.create_index("who_holds_a_lease", "leases", ["name"], unique=True, sqlite_where=has_no_end, postgresql_where=has_no_end)
