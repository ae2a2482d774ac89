"""The book is opened: decisions, calls, settlements, outcomes, policies and promotions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("meta", text("key"), text("value"), primary_key("meta", "key"))
    op.create_table("menus", text("hash"), text("strategies"), primary_key("menus", "hash"))
    create_decisions()
    create_calls()
    create_settlements()
    create_outcomes()
    create_policies()


def create_decisions() -> None:
    op.create_table(
        "decisions",
        position(),
        text("id"),
        text("task_id"),
        text("task_text", nullable=True),
        text("metadata"),
        text("group", nullable=True),
        text("strategy"),
        text("strategy_settings"),
        text("propensities"),
        real("propensity"),
        real("shadow_price"),
        real("expected_cost"),
        real("expected_accuracy", nullable=True),
        text("budget"),
        text("policy_version"),
        text("menu_hash"),
        text("features"),
        text("features_version"),
        text("run_id", nullable=True),
        text("thread_id", nullable=True),
        time("decided_at"),
        text("reason"),
        primary_key("decisions", "position"),
        sa.UniqueConstraint("id", name=op.f("uq_decisions_id")),
        check("decisions", "propensity_is_positive", "propensity > 0 AND propensity <= 1"),
        check("decisions", "shadow_price_is_not_negative", "shadow_price >= 0"),
        check("decisions", "expected_cost_is_not_negative", "expected_cost >= 0"),
        check("decisions", "expected_accuracy_is_a_score", "expected_accuracy >= 0 AND expected_accuracy <= 1"),
        foreign_key("decisions", "menu_hash", "menus.hash"),
    )
    op.create_index("which_decisions_fall_in_a_window", "decisions", ["decided_at", "position"])
    op.create_index("what_was_last_decided_in_a_thread", "decisions", ["thread_id", "decided_at", "position"])


def create_calls() -> None:
    for name in ("call_openings", "call_closings"):
        op.create_table(
            name,
            text("id"),
            text("decision_id"),
            text("model"),
            time("started_at"),
            count("prompt_tokens"),
            count("completion_tokens"),
            count("reasoning_tokens"),
            count("cached_tokens"),
            count("nano_usd", nullable=True),
            text("tariff", nullable=True),
            real("seconds"),
            text("source"),
            *([text("status")] if name == "call_closings" else []),
            primary_key(name, "id"),
            check(name, "billed_tokens_are_counts", "prompt_tokens >= 0 AND completion_tokens >= 0"),
            check(name, "parts_of_tokens_are_counts", "reasoning_tokens >= 0 AND cached_tokens >= 0"),
            check(name, "money_is_spent", "nano_usd >= 0"),
            check(name, "time_passes", "seconds >= 0"),
            foreign_key(name, "decision_id", "decisions.id"),
        )
    op.create_index("which_calls_did_a_decision_open", "call_openings", ["decision_id"])
    op.create_index("what_did_a_decision_bill", "call_closings", ["decision_id"])


def create_settlements() -> None:
    op.create_table(
        "settlements",
        text("decision_id"),
        text("status"),
        text("answer_key", nullable=True),
        real("agreement", nullable=True),
        count("prompt_tokens"),
        count("completion_tokens"),
        count("nano_usd", nullable=True),
        real("seconds"),
        count("n_calls"),
        time("settled_at"),
        primary_key("settlements", "decision_id"),
        check("settlements", "agreement_is_a_share", "agreement >= 0 AND agreement <= 1"),
        check("settlements", "spend_is_counted", "prompt_tokens >= 0 AND completion_tokens >= 0 AND n_calls >= 0"),
        check("settlements", "money_is_spent", "nano_usd >= 0"),
        check("settlements", "time_passes", "seconds >= 0"),
        foreign_key("settlements", "decision_id", "decisions.id"),
    )
    op.create_table(
        "samples",
        text("decision_id"),
        sa.Column("place", sa.Integer, nullable=False, autoincrement=False),
        count("index"),
        text("call_id", nullable=True),
        text("answer_key", nullable=True),
        primary_key("samples", "decision_id", "place"),
        check("samples", "index_is_a_count", '"index" >= 0'),
        foreign_key("samples", "decision_id", "settlements.decision_id"),
    )


def create_outcomes() -> None:
    op.create_table(
        "outcomes",
        position(),
        text("digest"),
        text("decision_id"),
        real("score"),
        text("source"),
        text("answer_scores"),
        time("graded_at"),
        primary_key("outcomes", "position"),
        sa.UniqueConstraint("digest", name=op.f("uq_outcomes_digest")),
        check("outcomes", "score_is_a_score", "score >= 0 AND score <= 1"),
        foreign_key("outcomes", "decision_id", "decisions.id"),
    )
    op.create_index("how_was_a_decision_graded", "outcomes", ["decision_id", "graded_at", "position"])


def create_policies() -> None:
    op.create_table(
        "policies",
        position(),
        text("version"),
        text("menu_hash"),
        text("manifest"),
        sa.Column("arrays", sa.LargeBinary, nullable=False),
        text("evidence"),
        time("created_at"),
        primary_key("policies", "position"),
        sa.UniqueConstraint("version", name=op.f("uq_policies_version")),
    )
    op.create_index("which_policies_were_saved_for_a_menu", "policies", ["menu_hash", "created_at", "position"])
    op.create_table(
        "promotions",
        position(),
        text("version"),
        text("menu_hash"),
        time("promoted_at"),
        primary_key("promotions", "position"),
        foreign_key("promotions", "version", "policies.version"),
    )
    op.create_index("which_policy_serves_a_menu", "promotions", ["menu_hash", "position"])


def position() -> sa.Column[int]:
    return sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def real(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


def count(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def primary_key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def foreign_key(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [other], name=op.f(f"fk_{table}_{column}"))


def check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
