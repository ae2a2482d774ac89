"""The words of the trade: what is refused at the border, and that what is accepted can be kept and read back."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import (
    Budget,
    Call,
    Decision,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    Menu,
    Outcome,
    SelfConsistency,
    Settlement,
    SingleShot,
    Spend,
    Task,
)
from budget_router.errors import BudgetRouterError, InvalidInput, InvalidTask
from budget_router.menu import MAX_NAME_CHARACTERS
from budget_router.records import LoggedDecision, PolicyRecord, Sample, hash_text, usd
from budget_router.task import MAX_TASK_CHARACTERS
from budget_router.testing import example_call, example_decision, example_outcome, example_policy, example_settlement

law = settings(derandomize=True, deadline=None)

BROKEN_TEXTS = {"NUL": "a\0b", "lone surrogate": "a\ud800b"}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50)
tasks_texts = texts.filter(str.strip)
positive = st.floats(1e-300, 1e300)
sampling = {
    "model": st.none() | texts,
    "temperature": st.none() | st.floats(0, 2),
    "max_tokens": st.none() | st.integers(1, 10**6),
    "instruction": st.none() | texts,
    "typical_completion_tokens": positive,
}
rules = st.builds(EarlyStop, threshold=st.floats(0.5, 1, exclude_min=True), window=st.integers(1, 1000))
whole = st.one_of(
    st.builds(SingleShot, **sampling),
    st.builds(SelfConsistency, k=st.integers(1, 1000), early_stop=st.none() | rules, **sampling),
    st.builds(ExtendedCoT, effort=st.sampled_from(["minimal", "low", "medium", "high"]), **sampling),
)
votes = st.builds(SelfConsistency, k=st.integers(2, 1000), **sampling)
strategies = whole | st.builds(Escalate, first=votes, then=whole, agreement=st.floats(0, 1, exclude_min=True))
menus = st.lists(strategies, min_size=1, max_size=4, unique_by=lambda strategy: strategy.name).map(Menu)
facts = st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts | st.just("")


# --- tasks


def test_a_sampling_copied_with_another_setting_has_a_key_of_its_own():
    one = SingleShot(temperature=0.5).sampling
    assert one.key != one.model_copy(update={"temperature": None}).key == SingleShot().sampling.key


@pytest.mark.parametrize("text", ["", "   ", "\n\t", 7, None, b"bytes", ["a"]])
def test_a_task_without_text_is_refused_with_the_mend(text):
    with pytest.raises(InvalidTask, match=r"pass (what is to be reasoned about|the text itself)"):
        Task(text)


def test_a_task_that_was_given_nothing_is_refused():
    with pytest.raises(InvalidTask, match="pass what is to be reasoned about"):
        Task()


def test_ten_megabytes_of_text_are_refused_with_the_limit():
    with pytest.raises(InvalidTask, match=f"10,000,000 characters is over the limit of {MAX_TASK_CHARACTERS:,}: shorten"):
        Task("a" * 10_000_000)


def test_the_longest_text_is_accepted():
    assert len(Task("a" * MAX_TASK_CHARACTERS).text) == MAX_TASK_CHARACTERS


@pytest.mark.parametrize(("fault", "text"), BROKEN_TEXTS.items())
def test_text_that_no_database_holds_is_refused_by_name(fault, text):
    with pytest.raises(InvalidTask, match=f"{fault}.* at 1: (remove|decode)"):
        Task(text)


@pytest.mark.parametrize("field", ["id", "group"])
@pytest.mark.parametrize(("fault", "text"), BROKEN_TEXTS.items())
def test_names_that_no_database_holds_are_refused(field, fault, text):
    with pytest.raises(InvalidInput, match=f"{field}.*{fault}.*: (remove|decode)"):
        Task("a", **{field: text})


@pytest.mark.parametrize("field", ["id", "group"])
@pytest.mark.parametrize("name", ["", "a" * 201, 7])
def test_a_name_has_one_to_two_hundred_characters(field, name):
    with pytest.raises(InvalidInput, match=field):
        Task("a", **{field: name})


@pytest.mark.parametrize(
    "metadata",
    [{"a": "x\0"}, {"a\0": 1}, {"a": "\ud800"}, {"": 1}, {"a": math.nan}, {"a": math.inf}, {"a": [1]}, {"a": None}, {1: 2}],
)
def test_metadata_that_cannot_be_kept_is_refused(metadata):
    with pytest.raises(InvalidInput, match="metadata"):
        Task("a", metadata=metadata)


def test_metadata_may_be_empty_text():
    assert Task("a", metadata={"language": ""}).metadata == {"language": ""}


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"Task: grup: .*not permitted"):
        Task("a", grup="support")


@pytest.mark.parametrize(
    "document", ["", "null", "[]", "{}", "5", '{"text": null}', '{"text": "a", "self": 1}', '{"text": "\\ud800"}', "{"]
)
def test_a_document_that_is_no_task_is_refused_in_our_terms(document):
    with pytest.raises(InvalidInput):
        Task.from_json(document)


def test_a_tasks_text_stays_out_of_its_repr():
    assert "secret" not in repr(Task("secret"))


@law
@given(tasks_texts, st.none() | texts, st.none() | texts, st.dictionaries(tasks_texts, facts, max_size=4))
def test_a_task_is_read_back_equal(text, task_id, group, metadata):
    task = Task(text, id=task_id, group=group, metadata=metadata)

    again = Task.from_json(task.model_dump_json())

    assert again == task
    assert [type(fact) for fact in again.metadata.values()] == [type(fact) for fact in task.metadata.values()]


# --- budgets


@pytest.mark.parametrize("per_task", [0, -1, math.nan, math.inf, -math.inf, "many", None])
def test_a_budget_is_a_positive_finite_number(per_task):
    with pytest.raises(InvalidInput, match="per_task"):
        Budget(per_task=per_task)


def test_an_unknown_unit_is_refused_with_those_that_exist():
    with pytest.raises(InvalidInput, match=r"unit.*'tokens', 'completion_tokens', 'usd' or 'seconds'"):
        Budget(per_task=1, unit="euros")


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("800:tokens", Budget(per_task=800)),
        ("0.002:usd", Budget(per_task=0.002, unit="usd")),
        ("2.5:seconds", Budget(per_task=2.5, unit="seconds")),
        ("1e3", Budget(per_task=1000)),
    ],
)
def test_a_budget_is_read_from_text(text, budget):
    assert Budget.parse(text) == budget


def test_a_bare_number_takes_the_given_unit():
    assert Budget.parse("12", unit="completion_tokens") == Budget(per_task=12, unit="completion_tokens")


@pytest.mark.parametrize(
    "text", ["", ":", "tokens", "800:dollars", "800:tokens:usd", "nan", "inf:usd", "-5:tokens", "0", "1e999"]
)
def test_text_that_is_no_budget_is_refused(text):
    with pytest.raises(InvalidInput):
        Budget.parse(text)


@law
@given(positive, st.sampled_from(["tokens", "completion_tokens", "usd", "seconds"]), st.none() | texts)
def test_a_budget_is_read_back_equal(per_task, unit, group):
    budget = Budget(per_task=per_task, unit=unit, group=group)
    assert Budget.from_json(budget.model_dump_json()) == budget
    assert Budget.parse(f"{per_task!r}:{unit}").per_task == per_task


# --- strategies and menus


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        (SingleShot(), "single_shot"),
        (SingleShot(model="gpt-4o"), "single_shot_gpt_4o"),
        (SelfConsistency(k=5), "self_consistency_5"),
        (SelfConsistency(k=5.0), "self_consistency_5"),
        (ExtendedCoT(effort="high"), "extended_cot_high"),
        (ExtendedCoT(max_thinking_tokens=2000), "extended_cot_2000"),
        (ExtendedCoT(instruction="Think."), "extended_cot"),
        (ExtendedCoT(max_tokens=4000), "extended_cot_4000"),
        (ExtendedCoT(max_tokens=4000, model="o3"), "extended_cot_4000_o3"),
        (ExtendedCoT(max_tokens=4000, effort="high"), "extended_cot_high"),
        (ExtendedCoT(max_tokens=4000, max_thinking_tokens=2000), "extended_cot_2000"),
        (ExtendedCoT(max_tokens=4000, instruction="Think."), "extended_cot"),
        (SelfConsistency(k=5, name="vote"), "vote"),
    ],
)
def test_a_strategy_is_named_by_its_kind_and_settings(strategy, name):
    assert strategy.name == name


def test_a_default_name_is_cut_to_the_length_of_a_name():
    assert len(SingleShot(model="m" * 200).name) == MAX_NAME_CHARACTERS


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: SelfConsistency(k=0), "k"),
        (lambda: SelfConsistency(k=1001), "k"),
        (SelfConsistency, "k"),
        (lambda: SingleShot(temperature=-1), "temperature"),
        (lambda: SingleShot(temperature=math.nan), "temperature"),
        (lambda: SingleShot(max_tokens=0), "max_tokens"),
        (lambda: SingleShot(typical_completion_tokens=0), "typical_completion_tokens"),
        (lambda: SingleShot(typical_completion_tokens=math.inf), "typical_completion_tokens"),
        (lambda: SingleShot(k=3), "k"),
        (lambda: SingleShot(name="n" * 201), "name"),
        (lambda: ExtendedCoT(effort="huge"), "effort"),
    ],
)
def test_a_strategy_out_of_range_is_refused_by_field(make, place):
    with pytest.raises(InvalidInput, match=f": {place}: "):
        make()


@pytest.mark.parametrize("field", ["name", "model", "instruction"])
@pytest.mark.parametrize(("fault", "text"), BROKEN_TEXTS.items())
def test_a_strategy_holds_no_text_that_cannot_be_kept(field, fault, text):
    with pytest.raises(InvalidInput, match=f"{field}: text holds a {fault}"):
        SingleShot(**{field: text})


def test_extended_thinking_says_how_it_thinks():
    with pytest.raises(InvalidInput, match="set effort, max_thinking_tokens, max_tokens or instruction"):
        ExtendedCoT()


def test_an_empty_menu_is_refused():
    with pytest.raises(InvalidInput, match=r"at least one strategy: add SingleShot\(\)"):
        Menu([])


def test_two_strategies_of_one_name_are_refused():
    with pytest.raises(InvalidInput, match="share the name 'single_shot': give one of them name="):
        Menu([SingleShot(), SingleShot(temperature=0.5)])


@pytest.mark.parametrize("strategies", [None, 7, "abc", [7], [{"kind": "bribe"}], [None]])
def test_a_menu_of_anything_else_is_refused(strategies):
    with pytest.raises(InvalidInput, match="Menu"):
        Menu(strategies)


@pytest.mark.parametrize("menu", ['{"a": 1}', '{"strategies": 5}', "5", "null", "[]", '[{"kind": "single_shot", "self": 1}]'])
def test_a_logged_menu_of_anything_else_is_refused_in_our_terms(menu):
    logged = LoggedDecision(decision=example_decision(), menu=[SingleShot()]).model_dump_json()
    start = logged.index('"menu":') + len('"menu":')
    end = logged.index(',"calls"')
    with pytest.raises(InvalidInput):
        LoggedDecision.from_json(logged[:start] + menu + logged[end:])


def test_a_menu_is_asked_by_name():
    menu = Menu([SingleShot(), SelfConsistency(k=3)])
    assert (len(menu), menu.action("self_consistency_3"), menu["single_shot"]) == (2, 1, SingleShot())
    assert list(menu) == [SingleShot(), SelfConsistency(k=3)]
    with pytest.raises(InvalidInput, match="no strategy 'x' on the menu: it has single_shot, self_consistency_3"):
        menu.action("x")


def test_content_hashes_are_the_same_for_ever():
    menu = Menu(
        [
            SingleShot(),
            SelfConsistency(k=5, temperature=0.7),
            ExtendedCoT(effort="high", model="gpt-4o", max_tokens=9, instruction="Think."),
        ]
    )
    assert menu.hash == "c45aab2d762d2732"
    assert [strategy.sampling.key for strategy in menu] == ["44136fa355b3678a", "c083976164c1b2dd", "70dc5d81bf6a6d45"]
    assert hash_text("68", salt="salt") == "49d37ab24473805c190492f9"


@law
@given(menus)
def test_a_menu_is_read_back_equal_and_keeps_its_hash(menu):
    again = Menu.model_validate_json(menu.model_dump_json())
    assert again == menu
    assert again.hash == menu.hash


@law
@given(menus, menus)
def test_menus_of_one_hash_are_equal(one, other):
    assert (one.hash == other.hash) == (one == other)


@law
@given(strategies)
def test_a_strategy_is_read_back_equal(strategy):
    assert type(strategy).from_json(strategy.model_dump_json()) == strategy


def test_a_bundle_prices_those_that_draw_alike_and_no_more_of_them():
    warm = {"temperature": 0.7}
    menu = Menu(
        [
            SingleShot(**warm),
            SingleShot(name="cold", temperature=0.0),
            SelfConsistency(k=3, **warm),
            SelfConsistency(k=5, **warm),
            SelfConsistency(k=9, **warm),
            ExtendedCoT(effort="high", **warm),
        ]
    )
    assert menu.priced_by(SelfConsistency(k=5, **warm)) == [0, 2, 3]
    assert menu.priced_by(SingleShot(**warm)) == [0]
    assert menu.priced_by(SelfConsistency(k=7, name="retired", **warm)) == [0, 2, 3]
    assert menu.priced_by(SelfConsistency(k=5, model="another", **warm)) == []


@law
@given(strategies)
def test_name_and_typical_length_do_not_change_how_answers_are_drawn(strategy):
    renamed = strategy.model_copy(update={"name": "other", "typical_completion_tokens": 1.0})
    assert renamed.sampling == strategy.sampling


# --- records


@pytest.mark.parametrize(
    ("word", "field", "found"),
    [
        (Task("a"), "text", "b"),
        (Budget(per_task=1), "per_task", 2),
        (SingleShot(), "name", "x"),
        (example_decision(), "strategy", SingleShot()),
        (example_call(), "nano_usd", 0),
        (example_outcome(), "score", 0),
        (Menu([SingleShot()]), "root", ()),
    ],
)
def test_a_word_is_frozen(word, field, found):
    with pytest.raises(ValueError, match="frozen"):
        setattr(word, field, found)


@pytest.mark.parametrize(
    "word",
    [example_decision(), example_call(), example_settlement(), example_outcome(), Spend(nano_usd=2**60), Sample(index=0)],
    ids=lambda word: type(word).__name__,
)
def test_a_record_is_read_back_equal(word):
    assert type(word).from_json(word.model_dump_json()) == word


@law
@given(strategies, st.lists(st.floats(1e-6, 1), min_size=1, max_size=4), positive, st.floats(0, 1))
def test_a_decision_is_read_back_equal(strategy, weights, cost, accuracy):
    names = [strategy.name, *(f"other {index}" for index in range(len(weights) - 1))]
    decision = example_decision(
        strategy=strategy,
        propensities={name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)},
        expected_cost=cost,
        expected_accuracy=accuracy,
    )
    assert Decision.from_json(decision.model_dump_json()) == decision


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"propensities": {"single_shot": 1.0}}, "'self_consistency_5' has no positive propensity"),
        ({"propensities": {"self_consistency_5": 0.9}}, "add up to 0.9, not 1"),
        ({"propensities": {"self_consistency_5": 1.1, "single_shot": -0.1}}, "propensities"),
        ({"propensities": {}}, "add up to 0, not 1"),
        ({"shadow_price": math.nan}, "shadow_price"),
        ({"shadow_price": -1}, "shadow_price"),
        ({"expected_cost": math.inf}, "expected_cost"),
        ({"expected_accuracy": 1.5}, "expected_accuracy"),
        ({"decided_at": datetime(2026, 1, 1)}, "decided_at"),  # noqa: DTZ001  # the fault
        ({"thread_id": "a\0"}, "thread_id"),
        ({"run_id": "a\ud800"}, "run_id"),
        ({"reason": "whim"}, "reason"),
    ],
)
def test_a_decision_out_of_range_is_refused_by_field(fields, fault):
    with pytest.raises(InvalidInput, match=fault):
        example_decision(**fields)


@pytest.mark.parametrize(
    "make",
    [
        lambda: example_call(prompt_tokens=-1),
        lambda: example_call(nano_usd=-1),
        lambda: example_call(nano_usd=1.5),
        lambda: example_call(seconds=math.nan),
        lambda: example_call(model="a\0"),
        lambda: example_outcome(score=1.01),
        lambda: example_outcome(score=math.nan),
        lambda: example_outcome(answer_scores={"68": -0.1}),
        lambda: example_settlement(agreement=2),
        lambda: example_policy(version=""),
        lambda: Outcome(decision_id="d", score=True, source="a\ud800"),
    ],
)
def test_a_record_out_of_range_is_refused(make):
    with pytest.raises(BudgetRouterError):
        make()


def test_spend_adds_calls_and_counts_reasoning_and_cache_once():
    calls = [
        example_call("a", prompt_tokens=100, cached_tokens=90, completion_tokens=50, reasoning_tokens=40, nano_usd=3),
        example_call("b", prompt_tokens=10, completion_tokens=5, nano_usd=4),
    ]
    spend = Spend.of(calls, seconds=1.5)
    assert (spend.in_unit("tokens"), spend.in_unit("completion_tokens"), spend.in_unit("seconds")) == (165, 55, 1.5)
    assert spend.in_unit("usd") == usd(7) == 7e-9
    assert spend.n_calls == 2


def test_a_sum_with_an_unknown_price_is_unknown():
    spend = Spend.of([example_call("a", nano_usd=3), example_call("b", nano_usd=None)])
    assert spend.nano_usd is None
    assert math.isnan(spend.in_unit("usd"))


def test_words_of_the_same_content_are_equal_whatever_was_asked_of_them():
    one, other = SelfConsistency(k=3), SelfConsistency(k=3)
    assert one.sampling.key
    assert one == other
    assert hash(one) == hash(other)


def test_now_is_told_in_utc():
    assert Call(id="c", decision_id="d", model="m").started_at.tzinfo is UTC
    assert Settlement(decision_id="d", spend=Spend()).settled_at.tzinfo is UTC
    assert PolicyRecord(version="v", menu_hash="h", manifest="{}", arrays=b"").created_at.tzinfo is UTC
