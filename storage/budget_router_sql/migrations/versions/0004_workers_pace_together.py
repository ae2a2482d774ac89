"""Workers pace together: what was spent of each average, added up for all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    sums = ("n_tasks", "allowed", "spent", "billed", "expected", "chosen", "promised")
    op.create_table(
        "paces",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("policy", sa.Text, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in sums),
        sa.PrimaryKeyConstraint("account", "policy", name=op.f("pk_paces")),
        sa.CheckConstraint("n_tasks >= 0 AND allowed >= 0", name=op.f("ck_paces_what_is_allowed_is_not_negative")),
    )
