"""The tables of the ledger. Rows are added, never changed: what corrects a row is another row, what closes one stands beside it.

There are four exceptions. What a task said may be erased, and `erasures` records that it was. What hard caps are charged with
now stands in three tables beside their book, `cap_events`, for nobody could add that up before each call. `paces` holds what
workers steer by, no record of anything. And a lease in `leases` ends later than was said when it was taken: see `leases`.

Times are UTC, money is integer nano-USD, and whatever has an inner shape (a strategy, propensities, features) is JSON as the
words of the trade serialise themselves. A change here is a new migration, and a new `REVISION`.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

REVISION = "0007"
"""Migration that the tables below are the result of."""
VERSION_TABLE = "budget_router_version"


class UtcTime(TypeDecorator[datetime]):
    """A moment: any time zone goes in, UTC comes out, also from databases that keep none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Turn a moment into UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Give the moment its time zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[str]):
    """A text that is JSON, so no control character stands in it."""

    impl = Text
    cache_ok = True


def _position() -> Column[int]:
    # SQLite numbers rows by itself only under the exact type INTEGER
    return Column("position", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)


def _of_a_decision(*, primary_key: bool = False) -> Column[str]:
    return Column("decision_id", Text, ForeignKey("decisions.id"), nullable=False, primary_key=primary_key)


def _call_facts() -> list[Column[str] | Column[int] | Column[float] | Column[datetime]]:
    return [
        Column("id", Text, primary_key=True),
        _of_a_decision(),
        Column("model", Text, nullable=False),
        Column("started_at", UtcTime, nullable=False),
        Column("prompt_tokens", BigInteger, nullable=False),
        Column("completion_tokens", BigInteger, nullable=False),
        Column("reasoning_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),
        Column("nano_usd", BigInteger),
        Column("tariff", Text),
        Column("seconds", Double, nullable=False),
        Column("source", Text, nullable=False),
    ]


def _call_truths() -> list[CheckConstraint]:
    return [
        CheckConstraint("prompt_tokens >= 0 AND completion_tokens >= 0", name="billed_tokens_are_counts"),
        CheckConstraint("reasoning_tokens >= 0 AND cached_tokens >= 0", name="parts_of_tokens_are_counts"),
        CheckConstraint("nano_usd >= 0", name="money_is_spent"),
        CheckConstraint("seconds >= 0", name="time_passes"),
    ]


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))
"""The ledger's salt, and the package version that made it."""

menus = Table("menus", metadata, Column("hash", Text, primary_key=True), Column("strategies", Json, nullable=False))

decisions = Table(
    "decisions",
    metadata,
    _position(),
    Column("id", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("task_text", Text),
    Column("metadata", Json, nullable=False),
    Column("group", Text),
    Column("strategy", Text, nullable=False),
    Column("strategy_settings", Json, nullable=False),
    Column("propensities", Json, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("shadow_price", Double, nullable=False),
    Column("expected_cost", Double, nullable=False),
    Column("expected_accuracy", Double),
    Column("budget", Json, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("menu_hash", Text, ForeignKey("menus.hash"), nullable=False),
    Column("features", Json, nullable=False),
    Column("features_version", Text, nullable=False),
    Column("run_id", Text),
    Column("thread_id", Text),
    Column("decided_at", UtcTime, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("id"),
    CheckConstraint("propensity > 0 AND propensity <= 1", name="propensity_is_positive"),
    CheckConstraint("shadow_price >= 0", name="shadow_price_is_not_negative"),
    CheckConstraint("expected_cost >= 0", name="expected_cost_is_not_negative"),
    CheckConstraint("expected_accuracy >= 0 AND expected_accuracy <= 1", name="expected_accuracy_is_a_score"),
    Index("which_decisions_fall_in_a_window", "decided_at", "position"),
    Index("what_was_last_decided_in_a_thread", "thread_id", "decided_at", "position"),
    Index("which_decisions_are_about_a_task", "task_id"),
    Index("what_was_decided_in_a_run", "run_id"),
)

task_ngrams = Table("task_ngrams", metadata, _of_a_decision(primary_key=True), Column("counts", LargeBinary, nullable=False))
"""Of decisions whose task's text is stored hashed alone; see `hashed_text`."""

shadows = Table(
    "shadows",
    metadata,
    _of_a_decision(primary_key=True),
    Column("policy_version", Text, nullable=False),
    Column("propensities", Json, nullable=False),
    Column("shadow_price", Double, nullable=False),
    Column("expected_cost", Double, nullable=False),
    Column("expected_accuracy", Double),
    CheckConstraint("shadow_price >= 0", name="shadow_price_is_not_negative"),
    CheckConstraint("expected_cost >= 0", name="expected_cost_is_not_negative"),
    CheckConstraint("expected_accuracy >= 0 AND expected_accuracy <= 1", name="expected_accuracy_is_a_score"),
)
"""What a candidate that is tried in silence would have done, beside the decisions that it watched."""

erasures = Table(
    "erasures",
    metadata,
    _position(),
    Column("task_id", Text, nullable=False),
    Column("n_decisions", BigInteger, nullable=False),
    Column("erased_at", UtcTime, nullable=False),
    CheckConstraint("n_decisions >= 0", name="decisions_are_counted"),
)

call_openings = Table(
    "call_openings", metadata, *_call_facts(), *_call_truths(), Index("which_calls_did_a_decision_open", "decision_id")
)

call_closings = Table(
    "call_closings",
    metadata,
    *_call_facts(),
    Column("status", Text, nullable=False),
    *_call_truths(),
    Index("what_did_a_decision_bill", "decision_id"),
)

settlements = Table(
    "settlements",
    metadata,
    _of_a_decision(primary_key=True),
    Column("status", Text, nullable=False),
    Column("answer_key", Text),
    Column("agreement", Double),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("nano_usd", BigInteger),
    Column("seconds", Double, nullable=False),
    Column("n_calls", BigInteger, nullable=False),
    Column("settled_at", UtcTime, nullable=False),
    CheckConstraint("agreement >= 0 AND agreement <= 1", name="agreement_is_a_share"),
    CheckConstraint("prompt_tokens >= 0 AND completion_tokens >= 0 AND n_calls >= 0", name="spend_is_counted"),
    CheckConstraint("nano_usd >= 0", name="money_is_spent"),
    CheckConstraint("seconds >= 0", name="time_passes"),
)

samples = Table(
    "samples",
    metadata,
    Column("decision_id", Text, ForeignKey("settlements.decision_id"), nullable=False, primary_key=True),
    Column("place", Integer, nullable=False, primary_key=True, autoincrement=False),
    Column("index", BigInteger, nullable=False),
    Column("call_id", Text),
    Column("answer_key", Text),
    CheckConstraint('"index" >= 0', name="index_is_a_count"),
)

outcomes = Table(
    "outcomes",
    metadata,
    _position(),
    Column("digest", Text, nullable=False),
    _of_a_decision(),
    Column("score", Double, nullable=False),
    Column("source", Text, nullable=False),
    Column("answer_scores", Json, nullable=False),
    Column("graded_at", UtcTime, nullable=False),
    UniqueConstraint("digest"),
    CheckConstraint("score >= 0 AND score <= 1", name="score_is_a_score"),
    Index("how_was_a_decision_graded", "decision_id", "graded_at", "position"),
)

policies = Table(
    "policies",
    metadata,
    _position(),
    Column("version", Text, nullable=False),
    Column("menu_hash", Text, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("arrays", LargeBinary, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("version"),
    Index("which_policies_were_saved_for_a_menu", "menu_hash", "created_at", "position"),
)

promotions = Table(
    "promotions",
    metadata,
    _position(),
    Column("version", Text, ForeignKey("policies.version")),
    Column("menu_hash", Text, nullable=False),
    Column("promoted_at", UtcTime, nullable=False),
    Column("canary", Text, ForeignKey("policies.version")),
    Column("share", Double),
    Column("shadow", Text, ForeignKey("policies.version")),
    Column("reason", Text, nullable=False, server_default=""),
    CheckConstraint("(canary IS NULL) = (share IS NULL)", name="a_canary_has_a_share"),
    CheckConstraint("share > 0 AND share < 1", name="share_is_a_part"),
    Index("which_policy_serves_a_menu", "menu_hash", "position"),
)
"""Who decides a menu's tasks, from each row until the next: its active version, which is none while routers serve what they began
with, the canary that decides a share of them, and who decides in silence. See `budget_router.rollout`."""

solves = Table(
    "solves",
    metadata,
    _position(),
    Column("id", Text, nullable=False),
    Column("menu_hash", Text, nullable=False),
    Column("policy_version", Text, ForeignKey("policies.version")),
    Column("budget_per_task", Double, nullable=False),
    Column("budget_unit", Text, nullable=False),
    Column("allowed_cost", Double, nullable=False),
    Column("shadow_price", Double, nullable=False),
    Column("duality_gap", Double, nullable=False),
    Column("expected_accuracy", Double, nullable=False),
    Column("expected_cost", Double, nullable=False),
    Column("n_decisions", BigInteger, nullable=False),
    Column("n_tasks", BigInteger, nullable=False),
    Column("since", UtcTime),
    Column("until", UtcTime),
    Column("solved_at", UtcTime, nullable=False),
    UniqueConstraint("id"),
    CheckConstraint("budget_per_task > 0", name="budget_is_positive"),
    CheckConstraint("allowed_cost >= 0 AND expected_cost >= 0", name="costs_are_not_negative"),
    CheckConstraint("shadow_price >= 0", name="shadow_price_is_not_negative"),
    CheckConstraint("duality_gap >= 0", name="duality_gap_is_not_negative"),
    CheckConstraint("expected_accuracy >= 0 AND expected_accuracy <= 1", name="expected_accuracy_is_a_score"),
    CheckConstraint("n_decisions >= 0 AND n_tasks >= 0", name="decisions_and_tasks_are_counted"),
    Index("which_solves_were_made_for_a_menu", "menu_hash", "solved_at", "position"),
)
"""What the allocation came to, each time it was solved on what was logged."""

cap_events = Table(
    "cap_events",
    metadata,
    _position(),
    Column("event", Text, nullable=False),
    Column("reservation_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("at", UtcTime, nullable=False),
    CheckConstraint("amount >= 0", name="amounts_are_counts"),
)
"""The book of hard caps: what was set aside, and what it ended with. A decision reserves before it stands in `decisions`."""

cap_accounts = Table(
    "cap_accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("held", BigInteger, nullable=False),
    Column("latest", UtcTime, nullable=False),
    CheckConstraint("held >= 0", name="what_is_held_is_a_count"),
)
"""What is set aside now; whoever sets aside locks the row."""

cap_reservations = Table(
    "cap_reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("decision_id", Text, nullable=False),
    Column("account", Text, ForeignKey("cap_accounts.account"), nullable=False),
    Column("window", Text, nullable=False),
    Column("is_call", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    CheckConstraint("amount >= 0 AND paid >= 0", name="amounts_are_counts"),
    CheckConstraint("state = 'open' OR amount = 0", name="what_is_over_holds_nothing"),
    Index("which_reservations_are_overdue", "account", "state", "expires_at"),
    Index("what_did_a_decision_pay", "decision_id"),
)

cap_buckets = Table(
    "cap_buckets",
    metadata,
    Column("account", Text, ForeignKey("cap_accounts.account"), nullable=False, primary_key=True),
    Column("bucket", BigInteger, nullable=False, primary_key=True, autoincrement=False),
    Column("paid", BigInteger, nullable=False),
    CheckConstraint("paid >= 0", name="what_is_paid_is_a_count"),
)
"""What was paid, by stretches of time: a window is the sum of a hundred rows, not of a million."""

paces = Table(
    "paces",
    metadata,
    Column("account", Text, nullable=False, primary_key=True),
    Column("policy", Text, nullable=False, primary_key=True),
    Column("n_tasks", Double, nullable=False),
    Column("allowed", Double, nullable=False),
    Column("spent", Double, nullable=False),
    Column("billed", Double, nullable=False),
    Column("expected", Double, nullable=False),
    Column("chosen", Double, nullable=False),
    Column("promised", Double, nullable=False),
    CheckConstraint("n_tasks >= 0 AND allowed >= 0", name="what_is_allowed_is_not_negative"),
)
"""What a budget's workers have spent together, under no policy's name, and how far each policy's table was off."""

_HAS_NO_END = text("ended_at IS NULL")
leases = Table(
    "leases",
    metadata,
    Column("name", Text, nullable=False, primary_key=True),
    Column("fence", BigInteger, nullable=False, primary_key=True, autoincrement=False),
    Column("holder", Text, nullable=False),
    Column("taken_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    CheckConstraint("fence > 0", name="takings_are_counted"),
    Index("who_holds_a_lease", "name", unique=True, sqlite_where=_HAS_NO_END, postgresql_where=_HAS_NO_END),
)
"""Who worked alone at what, and when: a row for each taking. Renewing moves `expires_at`, and `ended_at` is written once."""
