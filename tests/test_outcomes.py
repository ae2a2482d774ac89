"""From logs to a table: one graded bundle prices every smaller vote, and nothing is claimed that was not seen."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import ExtendedCoT, Menu, SelfConsistency, SingleShot, Spend
from budget_router.errors import NotEnoughEvidence
from budget_router.features import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.outcomes import OutcomeTable, vote_accuracy
from budget_router.records import LoggedDecision, Sample
from budget_router.strategies import majority
from budget_router.testing import example_decision, example_outcome, example_settlement

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
        menu=menu,
        settlement=example_settlement(
            status=status,
            samples=[Sample(index=index, answer_key=answer) for index, answer in enumerate(samples)],
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


def test_where_text_is_not_kept_the_logged_structure_stands_in():
    table = table_of(logged(), logged(text=None))
    assert table.texts is None
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


def test_rows_of_a_table_are_a_table():
    table = table_of(logged(), logged("single_shot", ("5",), task_id="u"), logged("extended_cot_high", ("4",), task_id="v"))
    part = table.rows(np.array([2, 0]))
    assert part.task_ids == ("v", "t")
    assert part.is_observed.tolist() == table.is_observed[[2, 0]].tolist()
    assert part.is_forced.tolist() == [False, False]
