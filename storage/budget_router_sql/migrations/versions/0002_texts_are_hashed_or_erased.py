"""Texts are hashed, or erased: n-gram counts beside a decision, and the record of what was erased."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "task_ngrams",
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("counts", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_task_ngrams")),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name=op.f("fk_task_ngrams_decision_id")),
    )
    op.create_table(
        "erasures",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("n_decisions", sa.BigInteger, nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_erasures")),
        sa.CheckConstraint("n_decisions >= 0", name=op.f("ck_erasures_decisions_are_counted")),
    )
    op.create_index("which_decisions_are_about_a_task", "decisions", ["task_id"])
