"""Decisions are found by the run they were made in, so that a verdict on the run reaches all of them."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("what_was_decided_in_a_run", "decisions", ["run_id"])
