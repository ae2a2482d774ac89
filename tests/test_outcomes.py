"""From logs to a table: one graded bundle prices every smaller vote, and nothing is claimed that was not seen."""

import math
from dataclasses import fields
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import EarlyStop, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot, Spend
from budget_router.errors import NotEnoughEvidence
from budget_router.features import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.outcomes import OutcomeTable, early_stop_value, escalation_value, vote_accuracy
from budget_router.records import LoggedDecision, Sample
from budget_router.strategies import majority
from budget_router.testing import example_call, example_decision, example_outcome, example_settlement

law = settings(derandomize=True, deadline=None, max_examples=60)

MENU = Menu(
    [
        SingleShot(temperature=0.7),
        SelfConsistency(k=3, temperature=0.7),
        SelfConsistency(k=5, temperature=0.7),
        ExtendedCoT(effort="high"),
    ]
)
SHOT, THREE, FIVE, THINK = range(4)
EVEN = dict.fromkeys(MENU.names, 0.25)

answers = st.sampled_from(["4", "5", "6", None])
scores = st.fixed_dictionaries({"4": st.floats(0, 1), "5": st.floats(0, 1), "6": st.sampled_from([0.0, 1.0])})


def logged(
    strategy="self_consistency_5",
    samples=("4", "4", "5", "4", "5"),
    *,
    answer_scores=None,
    score=1.0,
    graded=True,
    menu=MENU,
    propensities=None,
    task_id="t",
    text="What is 2 + 2?",
    spend=None,
    settled=True,
    status="ok",
    calls=(),
    metadata=None,
    **fields,
):
    """One decision with its end and its grade."""
    return LoggedDecision(
        decision=example_decision(
            strategy=menu[strategy],
            propensities=propensities or dict.fromkeys(menu.names, 1 / len(menu)),
            menu_hash=menu.hash,
            task_id=task_id,
            features=structural_features("What is 2 + 2?"),
            features_version=fields.pop("features_version", STRUCTURE_VERSION),
            **fields,
        ),
        task_text=text,
        metadata=metadata or {},
        menu=menu,
        calls=calls,
        settlement=example_settlement(
            status=status,
            samples=[
                Sample(index=index, answer_key=answer, call_id=f"c{index}" if calls else None)
                for index, answer in enumerate(samples)
            ],
            spend=spend or Spend(prompt_tokens=50, completion_tokens=50, nano_usd=1000, seconds=3.0, n_calls=5),
        )
        if settled
        else None,
        outcome=example_outcome(score=score, answer_scores={"4": 1.0, "5": 0.0} if answer_scores is None else answer_scores)
        if graded
        else None,
    )


def table_of(*entries, menu=MENU, unit="tokens"):
    return OutcomeTable.from_log(entries, menu, unit=unit)


def test_a_row_knows_when_and_for_whom_it_was_decided():
    entries = [logged(minutes=minutes, group=group) for minutes, group in ((0.5, "north"), (7, None), (3, "south"))]
    other = logged(strategy="other", menu=Menu([ExtendedCoT(effort="low", name="other")]))  # tells nothing, so it is left out
    table = table_of(entries[0], other, *entries[1:])
    assert table.groups == ("north", None, "south")
    moments = [entry.decision.decided_at.replace(tzinfo=None) for entry in entries]
    assert table.decided_at.tolist() == moments
    assert table.rows(np.array([2])).decided_at.tolist() == moments[2:]


# --- smaller votes


@law
@given(st.lists(answers, min_size=1, max_size=6), scores, st.integers(1, 6))
def test_a_smaller_vote_scores_what_all_subsets_in_all_orders_score_on_average(given_answers, given_scores, k):
    k = min(k, len(given_answers))
    votes = [(subset, majority(subset).winner) for subset in (order[:k] for order in permutations(given_answers))]
    expected = sum(0.0 if winner is None else given_scores[subset[winner]] for subset, winner in votes) / len(votes)
    assert vote_accuracy(given_answers, given_scores, k) == pytest.approx(expected, abs=1e-12)


@law
@given(st.lists(answers, min_size=1, max_size=40), scores, st.integers(1, 40))
def test_a_vote_scores_between_its_worst_and_its_best_answer(given_answers, given_scores, k):
    value = vote_accuracy(given_answers, given_scores, min(k, len(given_answers)))
    assert -1e-12 <= value <= max((given_scores[one] for one in given_answers if one), default=0.0) + 1e-12


@law
@given(st.lists(answers, min_size=1, max_size=12), scores)
def test_a_vote_of_one_scores_the_mean(given_answers, given_scores):
    mean = np.mean([given_scores.get(one, 0.0) for one in given_answers])
    assert vote_accuracy(given_answers, given_scores, 1) == pytest.approx(mean, abs=1e-12)


def test_more_votes_help_where_most_are_right_and_hurt_where_most_are_wrong():
    right, wrong = ["4"] * 6 + ["5"] * 3, ["5"] * 6 + ["4"] * 3
    score = {"4": 1.0, "5": 0.0}
    assert vote_accuracy(right, score, 1) < vote_accuracy(right, score, 3) < vote_accuracy(right, score, 5)
    assert vote_accuracy(wrong, score, 1) > vote_accuracy(wrong, score, 3) > vote_accuracy(wrong, score, 5)


def test_a_large_bundle_is_counted_in_less_than_a_second():
    many = ["4"] * 30 + ["5"] * 20 + [f"{index}" for index in range(100, 114)]
    assert 0.5 < vote_accuracy(many, {one: float(one == "4") for one in set(many)}, 33) < 1


# --- what one bundle reveals


def test_a_graded_bundle_fills_all_smaller_votes_of_the_same_sampling_and_only_those():
    table = table_of(logged())
    assert table.is_observed.tolist() == [[True, True, True, False]]
    scores = {"4": 1.0, "5": 0.0}
    expected = [vote_accuracy(["4", "4", "5", "4", "5"], scores, k) for k in (1, 3, 5)]
    assert table.accuracy[0, :3].tolist() == pytest.approx(expected)


def test_a_small_bundle_tells_nothing_of_larger_votes():
    table = table_of(logged("self_consistency_3", ("4", "5", "4")))
    assert table.is_observed.tolist() == [[True, True, False, False]]
    assert np.isnan(table.cost).tolist() == [[False, False, True, True]]


def test_a_smaller_vote_is_known_more_surely_than_the_whole():
    error = table_of(logged()).standard_error[0]
    assert error[SHOT] < error[THREE] < error[FIVE]
    assert math.isnan(error[THINK])
    assert (error[:3] > 0).all()


def test_one_unanimous_bundle_is_not_certain():
    assert table_of(logged(samples=("4",) * 5)).standard_error[0, FIVE] > 0.2


def test_without_scores_of_each_answer_only_the_executed_vote_is_graded():
    table = table_of(logged(answer_scores={}, score=0.75))
    assert table.is_observed.tolist() == [[False, False, True, False]]
    assert table.accuracy[0, FIVE] == 0.75


def test_one_answer_without_a_score_leaves_smaller_votes_unknown():
    table = table_of(logged(samples=("4", "4", "7", "4", "5"), score=1.0))
    assert table.is_observed.tolist() == [[False, False, True, False]]


def test_samples_that_failed_are_not_votes():
    table = table_of(logged(samples=("4", "5", "4"), score=1.0))
    assert table.accuracy[0, THREE] == vote_accuracy(["4", "5", "4"], {"4": 1.0, "5": 0.0}, 3)
    assert table.accuracy[0, FIVE] == 1.0


def test_a_grade_without_any_extracted_answer_still_counts():
    table = table_of(logged("extended_cot_high", (None,), answer_scores={}, score=0.8))
    assert table.accuracy[0, THINK] == 0.8


def test_where_no_reply_holds_an_answer_the_first_one_stands_for_any_number_of_samples():
    table = table_of(logged(samples=(None,) * 5, answer_scores={}, score=0.6))
    assert table.accuracy[0, :3].tolist() == [0.6, 0.6, 0.6]


def test_a_grade_without_any_sample_on_record_is_of_the_executed_strategy_alone():
    table = table_of(logged(samples=(), answer_scores={}, score=1.0))
    assert table.is_observed.tolist() == [[False, False, True, False]]


# --- what was billed


@pytest.mark.parametrize(
    ("unit", "cost"),
    [
        ("tokens", [20, 60, 100]),
        ("completion_tokens", [10, 30, 50]),
        ("usd", [2e-7, 6e-7, 1e-6]),
        ("seconds", [3.0, 3.0, 3.0]),
    ],
)
def test_a_smaller_vote_costs_its_share_but_takes_as_long(unit, cost):
    table = table_of(logged(), unit=unit)
    assert table.cost[0, :3].tolist() == pytest.approx(cost)
    assert math.isnan(table.cost[0, THINK])


@pytest.mark.parametrize(
    ("unit", "cost"),
    [("tokens", [60, 80, 100]), ("completion_tokens", [10, 30, 50]), ("usd", [math.nan, math.nan, 1e-6]), ("seconds", [3.0] * 3)],
)
def test_samples_of_one_request_have_its_prompt_in_common(unit, cost):
    table = table_of(in_one_request(logged()), unit=unit)
    assert table.cost[0, :3].tolist() == pytest.approx(cost, nan_ok=True)


def in_one_request(entry, *, until=1000):
    """The same, with the samples before `until` out of one call."""
    samples = [
        sample.model_copy(update={"call_id": "c0" if sample.index < until else f"c{sample.index}"})
        for sample in entry.settlement.samples
    ]
    return entry.model_copy(update={"settlement": entry.settlement.model_copy(update={"samples": tuple(samples)})})


def test_what_nobody_graded_has_a_cost_and_no_accuracy():
    table = table_of(logged(graded=False))
    assert not table.is_observed.any()
    assert table.cost[0, FIVE] == 100


def test_a_failed_decision_has_a_cost_and_no_accuracy():
    table = table_of(logged(status="failed", samples=()))
    assert not table.is_observed.any()
    assert table.cost[0, FIVE] == 100


def test_an_unknown_price_is_an_unknown_cost():
    assert np.isnan(table_of(logged(spend=Spend(n_calls=5)), unit="usd").cost).all()


# --- votes that stop early, and escalations

RULE = EarlyStop(threshold=0.85, window=2)
ADAPTIVE = Menu(
    [
        SingleShot(name="one"),
        SelfConsistency(name="three", k=3),
        SelfConsistency(name="six", k=6),
        SelfConsistency(name="early", k=6, early_stop=RULE),
        ExtendedCoT(name="think", effort="high"),
        Escalate(
            name="doubt", first=SelfConsistency(name="quick", k=3), then=ExtendedCoT(name="slow", effort="high"), agreement=1.0
        ),
    ]
)
ONE, TRIPLE, SIX, EARLY, SLOW, DOUBT = range(6)
SCORES = {"4": 1.0, "5": 0.0}
BILL = Spend(prompt_tokens=60, completion_tokens=60, seconds=6.0, n_calls=6)


def adaptive(strategy, samples, **fields):
    return logged(strategy, samples, menu=ADAPTIVE, **fields)


def known(table):
    return [ADAPTIVE.names[column] for column in np.flatnonzero(table.is_observed[0])]


def test_a_whole_bundle_prices_the_vote_that_would_have_stopped():
    samples = ("4", "4", "5", "4", "4", "5")
    table = table_of(adaptive("six", samples, spend=BILL), menu=ADAPTIVE)
    value = early_stop_value(samples, SCORES, RULE, 6)
    assert known(table) == ["one", "three", "six", "early"]
    assert table.accuracy[0, EARLY] == pytest.approx(value.accuracy)
    assert table.cost[0, EARLY] == pytest.approx(20 * value.mean_samples)
    assert table.standard_error[0, TRIPLE] < table.standard_error[0, EARLY] < table.standard_error[0, SIX]


def test_rounds_of_a_stopped_vote_take_time_one_after_the_other():
    samples = ("4", "4", "5", "4", "4", "5")
    table = table_of(adaptive("six", samples, spend=BILL), menu=ADAPTIVE, unit="seconds")
    assert table.cost[0, EARLY] == pytest.approx(6.0 * early_stop_value(samples, SCORES, RULE, 6).mean_samples / 2)


def test_what_a_stopped_vote_would_have_billed_is_known_before_it_is_graded():
    samples = ("4", "4", "5", "4", "4", "5")
    graded, ungraded = (table_of(adaptive("six", samples, spend=BILL, graded=graded), menu=ADAPTIVE) for graded in (True, False))
    assert ungraded.cost[0].tolist() == pytest.approx(graded.cost[0].tolist(), nan_ok=True)
    assert not ungraded.is_observed.any()


def test_a_vote_that_stopped_prices_itself_and_what_its_first_window_holds():
    table = table_of(adaptive("early", ("5", "4", "4", "4"), spend=BILL, score=1.0), menu=ADAPTIVE)
    assert known(table) == ["one", "early"]
    assert table.accuracy[0, [ONE, EARLY]].tolist() == [0.5, 1.0]  # of one sample: not what came of the disagreement
    assert table.cost[0, [ONE, EARLY]].tolist() == [30, 120]


def test_samples_that_failed_at_the_end_of_a_round_were_billed_as_well():
    table = table_of(adaptive("early", ("5", "4", "4"), spend=BILL), menu=ADAPTIVE)
    assert table.cost[0, ONE] == 30


def test_a_stopped_vote_without_any_sample_on_record_tells_of_itself_alone():
    table = table_of(adaptive("early", (), spend=BILL, score=1.0), menu=ADAPTIVE)
    assert known(table) == ["early"]
    assert np.isnan(table.cost[0]).tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize(("unit", "one", "whole"), [("tokens", 30, 220), ("completion_tokens", 10, 120), ("seconds", 2.0, 9.0)])
def test_an_escalation_prices_itself_and_what_its_first_stage_holds(unit, one, whole):
    calls = [
        example_call(f"c{index}", completion_tokens=tokens, prompt_tokens=20, seconds=seconds)
        for index, (tokens, seconds) in enumerate([(5, 1.0), (10, 2.0), (15, 1.5), (90, 7.0)])
    ]
    spend = Spend(prompt_tokens=100, completion_tokens=120, seconds=9.0, n_calls=4)
    table = table_of(adaptive("doubt", ("5", "5", "4", "4"), spend=spend, score=1.0, calls=calls), menu=ADAPTIVE, unit=unit)
    assert known(table) == ["one", "three", "doubt"]
    assert table.accuracy[0, [ONE, TRIPLE, DOUBT]].tolist() == pytest.approx([1 / 3, 0.0, 1.0])
    assert table.cost[0, [ONE, DOUBT]].tolist() == pytest.approx([one, whole])


def test_a_first_stage_of_one_request_bills_its_prompt_once():
    calls = [
        example_call("c0", completion_tokens=30, prompt_tokens=20),
        example_call("c3", completion_tokens=90, prompt_tokens=40),
    ]
    spend = Spend(prompt_tokens=60, completion_tokens=120, n_calls=2)
    entry = in_one_request(adaptive("doubt", ("5", "5", "4", "4"), spend=spend, calls=calls), until=3)
    assert table_of(entry, menu=ADAPTIVE).cost[0, [ONE, TRIPLE, DOUBT]].tolist() == pytest.approx([30, 50, 180])


def test_a_vote_that_stops_bills_the_prompt_once_a_round():
    samples = ("4", "4", "5", "4", "4", "5")
    table = table_of(in_one_request(adaptive("six", samples, spend=BILL, calls=[example_call("c0")])), menu=ADAPTIVE)
    mean_samples = early_stop_value(samples, SCORES, RULE, 6).mean_samples
    assert table.cost[0, EARLY] == pytest.approx(10 * mean_samples + 60 * mean_samples / 2)


def test_an_escalation_whose_calls_are_not_on_record_has_one_known_cost():
    table = table_of(adaptive("doubt", ("5", "5", "4", "4"), spend=BILL), menu=ADAPTIVE)
    assert np.isnan(table.cost[0]).tolist() == [True] * 5 + [False]


def test_an_escalation_is_priced_from_both_its_stages_where_other_decisions_show_them():
    bundle = adaptive("six", ("4", "4", "5", "4", "4", "5"), spend=BILL)
    thought = adaptive("think", ("4",), spend=Spend(completion_tokens=500, n_calls=1))
    assert not table_of(bundle, menu=ADAPTIVE).by_task().is_observed[0, DOUBT]
    table = table_of(bundle, thought, menu=ADAPTIVE)
    assert not table.is_observed[:, DOUBT].any()

    pooled = table.by_task()
    first = escalation_value(["4", "4", "5", "4", "4", "5"], SCORES, 3, 1.0)
    assert pooled.accuracy[0, DOUBT] == pytest.approx(first.accepted_right + (1 - first.accepted) * 1.0)
    assert pooled.cost[0, DOUBT] == pytest.approx(3 * 20 + (1 - first.accepted) * 500)
    assert pooled.standard_error[0, DOUBT] > (1 - first.accepted) * pooled.standard_error[0, SLOW]


def test_a_first_vote_tells_its_doubt_whatever_it_was_drawn_for_and_ungraded_too():
    first = escalation_value(["4", "4", "5", "4", "4", "5"], SCORES, 3, 1.0)
    bundle = adaptive("six", ("4", "4", "5", "4", "4", "5"), spend=BILL)
    tried = adaptive("doubt", ("5", "5", "4", "4"), spend=BILL, score=1.0)
    thought = adaptive("think", ("4",))
    blind = adaptive("six", ("4", "4", "5", "4", "4", "5"), spend=BILL, graded=False)
    table = table_of(bundle, tried, thought, blind, menu=ADAPTIVE)
    seen = [1 - first.accepted, 1.0, math.nan, 1 - first.accepted]
    assert table.doubt[:, DOUBT].tolist() == pytest.approx(seen, nan_ok=True)
    assert table.by_task().doubt[0, DOUBT] == pytest.approx(np.nanmean(seen))
    assert np.isnan(table.doubt[:, ONE]).all()
    assert table_of(bundle, menu=Menu([ADAPTIVE["one"]])).doubt is None


def test_an_escalation_that_was_tried_stands_for_itself():
    rows = adaptive("six", ("4",) * 6), adaptive("think", ("4",)), adaptive("doubt", ("4", "5", "4", "5"), score=0.0)
    assert table_of(*rows, menu=ADAPTIVE).by_task().accuracy[0, DOUBT] == 0.0


def test_an_escalation_is_seen_with_the_probability_that_it_or_both_its_stages_were_tried():
    propensities = dict(zip(ADAPTIVE.names, (0.1, 0.2, 0.15, 0.05, 0.3, 0.2), strict=True))
    rows = [adaptive("six", ("4",) * 6, propensities=propensities), adaptive("think", ("4",), propensities=propensities)]
    firsts, itself, then = {"three", "six"}, {"doubt"}, {"think"}
    seen = sum(
        propensities[a] * propensities[b]
        for a in propensities
        for b in propensities
        if {a, b} & itself or ({a, b} & firsts and {a, b} & then)
    )
    assert table_of(*rows, menu=ADAPTIVE).by_task().observed_prob[0, DOUBT] == pytest.approx(seen)


def test_stages_that_draw_alike_are_not_taken_for_independent():
    menu = Menu(
        [
            SelfConsistency(k=9),
            Escalate(name="more", first=SelfConsistency(k=3), then=SelfConsistency(k=9), agreement=1.0),
        ]
    )
    table = table_of(logged("self_consistency_9", ("4", "5", "4") * 3, menu=menu), menu=menu)
    assert table.by_task().is_observed.tolist() == [[True, False]]


def test_a_stage_counts_though_the_strategy_that_showed_it_left_the_menu():
    menu = Menu([SingleShot(name="cold", temperature=0.0), ADAPTIVE["doubt"]])
    table = table_of(adaptive("six", ("4",) * 6), adaptive("think", ("4",)), menu=menu)
    assert table.by_task().accuracy[0].tolist() == pytest.approx([math.nan, 1.0], nan_ok=True)


# --- with which probability it was revealed


def test_a_cell_is_observed_with_the_summed_propensity_of_all_that_would_reveal_it():
    propensities = dict(zip(MENU.names, (0.4, 0.3, 0.2, 0.1), strict=True))
    assert table_of(logged(propensities=propensities)).observed_prob[0].tolist() == pytest.approx([0.9, 0.5, 0.2, 0.1])


def test_an_older_menu_contributes_where_its_strategies_draw_alike():
    older = Menu(
        [SelfConsistency(k=4, temperature=0.7), SingleShot(name="cold", temperature=0.0), SelfConsistency(k=2, temperature=0.7)]
    )
    propensities = {"self_consistency_4": 0.5, "cold": 0.2, "self_consistency_2": 0.3}
    table = table_of(logged("self_consistency_4", ("4", "5", "4", "4"), menu=older, propensities=propensities))
    assert table.is_observed.tolist() == [[True, True, False, False]]
    assert table.observed_prob[0].tolist() == pytest.approx([0.8, 0.5, 0, 0])


def test_a_strategy_that_today_nothing_draws_like_tells_nothing():
    older = Menu([SingleShot(name="cold", temperature=0.0), SingleShot(temperature=0.7)])
    table = table_of(logged("cold", ("4",), menu=older), logged("single_shot", ("4",), menu=older))
    assert len(table.task_ids) == 1


def test_a_forced_decision_is_marked():
    one_hot = {"self_consistency_5": 1.0}
    table = table_of(logged(), logged(reason="forced", propensities=one_hot))
    assert table.is_forced.tolist() == [False, True]
    assert table.observed_prob[1].tolist() == [1, 1, 1, 0]


# --- the table


@pytest.mark.parametrize("entries", [[], [logged(settled=False)]])
def test_a_log_without_a_settled_decision_is_too_thin(entries):
    with pytest.raises(NotEnoughEvidence, match="serve and settle some first"):
        OutcomeTable.from_log(entries, MENU, unit="tokens")


def test_a_task_that_was_forgotten_leaves_the_others_their_words():
    counted = logged(text=None).model_copy(update={"task_ngrams": {7: 2}})
    table = table_of(logged(), logged(text=None), counted)
    assert table.texts == (logged().task_text, {}, {7: 2})


def test_where_text_is_not_kept_the_logged_structure_stands_in():
    assert table_of(logged(text=None), logged(text=None)).texts is None
    table = table_of(logged(), logged(text=None))
    assert table.structure.shape == (2, len(STRUCTURE_NAMES))
    assert table.structure[0].tolist() == table.structure[1].tolist()


@pytest.mark.parametrize("fault", [{"features_version": "structure-0"}])
def test_structure_logged_by_another_version_is_not_mixed_in(fault):
    with pytest.raises(NotEnoughEvidence):
        table_of(logged(text=None, **fault))
    assert len(table_of(logged(**fault)).task_ids) == 1  # the text tells it anew


def test_tasks_are_pooled_by_precision():
    table = table_of(logged(), logged("single_shot", ("5",)), logged(task_id="other", samples=("5",) * 5))
    pooled = table.by_task()
    assert sorted(pooled.task_ids) == ["other", "t"]
    row = pooled.task_ids.index("t")
    precision = 1 / table.standard_error[:2, SHOT] ** 2
    assert pooled.accuracy[row, SHOT] == pytest.approx((precision * table.accuracy[:2, SHOT]).sum() / precision.sum())
    assert pooled.standard_error[row, SHOT] == pytest.approx(precision.sum() ** -0.5)
    assert pooled.standard_error[row, SHOT] < table.standard_error[0, SHOT]
    assert pooled.accuracy[row, FIVE] == table.accuracy[0, FIVE]
    assert math.isnan(pooled.accuracy[row, THINK])


def test_costs_of_a_task_are_averaged_plainly_and_graded_or_not():
    table = table_of(logged(spend=Spend(completion_tokens=100)), logged(spend=Spend(completion_tokens=300), graded=False))
    pooled = table.by_task()
    assert pooled.cost[0, FIVE] == 200
    assert math.isnan(pooled.cost[0, THINK])


def test_a_task_seen_twice_is_observed_with_the_probability_of_at_least_once():
    table = table_of(logged(), logged("extended_cot_high", ("4",)))
    assert table.by_task().observed_prob[0].tolist() == pytest.approx([1 - 0.25**2, 0.75, 1 - 0.75**2, 1 - 0.75**2])


@law
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(MENU.names), st.booleans()), min_size=1, max_size=12))
def test_pooling_keeps_every_task_and_every_cell_that_was_seen(visits):
    entries = [
        logged(name, ("4",) * MENU[name].n_samples, task_id=task_id, graded=graded, text=f"task {task_id}")
        for task_id, name, graded in visits
    ]
    table = table_of(*entries)
    pooled = table.by_task()
    assert sorted(pooled.task_ids) == sorted(set(table.task_ids))
    assert pooled.texts == tuple(f"task {task_id}" for task_id in pooled.task_ids)
    for row, task_id in enumerate(pooled.task_ids):
        mine = np.array([one == task_id for one in table.task_ids])
        assert pooled.is_observed[row].tolist() == table.is_observed[mine].any(axis=0).tolist()
        assert (~np.isnan(pooled.cost[row])).tolist() == (~np.isnan(table.cost[mine])).any(axis=0).tolist()


def states(*metadata, task_id="t"):
    """A log in which each state of one task is visited by many other tasks too, so that it tells tasks apart."""
    others = [logged(task_id=f"other {one}", metadata=facts) for facts in metadata for one in range(20)]
    return [*(logged(task_id=task_id, metadata=facts) for facts in metadata), *others]


def test_a_task_in_another_state_is_learned_from_as_another_one_in_the_same_cluster():
    table = table_of(*states({"step": 1}, {"step": 9}, {"step": 1}))
    pooled = table.by_task()
    mine = [row for row, task_id in enumerate(pooled.task_ids) if task_id == "t"]
    assert sorted(pooled.metadata[row]["step"] for row in mine) == [1, 9]
    assert len(set(pooled.cluster[mine])) == 1
    assert pooled.task_ids[table.pool[0]] == "t"
    assert table.pool[0] == table.pool[2] != table.pool[1]


def test_facts_that_tell_no_tasks_apart_do_not_part_the_rows_of_one():
    entries = [logged(metadata={"request_id": f"r{one}"}) for one in range(40)]
    assert len(table_of(*entries).by_task().task_ids) == 1


def test_a_table_holds_the_facts_that_are_asked_for():
    entry = logged(metadata={"team": "north", "turn": 3})
    for columns, told in ((None, {"team": "north", "turn": 3}), (["turn"], {"turn": 3}), ((), {})):
        assert OutcomeTable.from_log([entry], MENU, unit="tokens", columns=columns).metadata == (told,)


def test_rows_of_a_table_are_a_table():
    table = table_of(logged(), logged("single_shot", ("5",), task_id="u"), logged("extended_cot_high", ("4",), task_id="v"))
    part = table.rows(np.array([2, 0]))
    assert part.task_ids == ("v", "t")
    assert part.is_observed.tolist() == table.is_observed[[2, 0]].tolist()
    assert part.is_forced.tolist() == [False, False]


def test_parts_of_a_table_are_joined_to_the_whole():
    doubtful = Escalate(first=SelfConsistency(k=3, temperature=0.7), then=ExtendedCoT(effort="high"), agreement=1.0)
    menu = Menu([*MENU, doubtful])
    table = OutcomeTable.from_log(
        [logged(menu=menu, task_id=f"{row % 4}", metadata={"turn": row}, text=f"What is {row}?") for row in range(9)],
        menu,
        unit="tokens",
        weak_labels=True,
    )
    joined = OutcomeTable.joined([table.rows(rows) for rows in np.split(np.arange(9), [2, 2, 7])])
    for field in fields(table):
        whole, found = getattr(table, field.name), getattr(joined, field.name)
        if field.name == "stages":
            assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(whole, found, strict=True))
        elif isinstance(whole, np.ndarray):
            assert np.array_equal(whole, found, equal_nan=whole.dtype.kind == "f")
        else:
            assert whole == found
