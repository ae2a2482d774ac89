"""Caps are kept: what is set aside and paid under them, and the book of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_events()
    op.create_table(
        "cap_accounts",
        text("account"),
        count("held"),
        time("latest"),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_cap_accounts")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_cap_accounts_what_is_held_is_a_count")),
    )
    create_reservations()
    op.create_table(
        "cap_buckets",
        text("account"),
        sa.Column("bucket", sa.BigInteger, nullable=False, autoincrement=False),
        count("paid"),
        sa.PrimaryKeyConstraint("account", "bucket", name=op.f("pk_cap_buckets")),
        sa.CheckConstraint("paid >= 0", name=op.f("ck_cap_buckets_what_is_paid_is_a_count")),
        sa.ForeignKeyConstraint(["account"], ["cap_accounts.account"], name=op.f("fk_cap_buckets_account")),
    )


def create_events() -> None:
    op.create_table(
        "cap_events",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        text("event"),
        text("reservation_id"),
        text("decision_id"),
        text("account"),
        count("amount"),
        time("at"),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_cap_events")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_cap_events_amounts_are_counts")),
    )


def create_reservations() -> None:
    table = "cap_reservations"
    op.create_table(
        table,
        text("id"),
        text("decision_id"),
        text("account"),
        text("window"),
        sa.Column("is_call", sa.Boolean, nullable=False),
        text("state"),
        count("amount"),
        count("paid"),
        time("expires_at"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.CheckConstraint("amount >= 0 AND paid >= 0", name=op.f(f"ck_{table}_amounts_are_counts")),
        sa.CheckConstraint("state = 'open' OR amount = 0", name=op.f(f"ck_{table}_what_is_over_holds_nothing")),
        sa.ForeignKeyConstraint(["account"], ["cap_accounts.account"], name=op.f(f"fk_{table}_account")),
    )
    op.create_index("which_reservations_are_overdue", table, ["account", "state", "expires_at"])
    op.create_index("what_did_a_decision_pay", table, ["decision_id"])


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)
