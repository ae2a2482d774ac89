"""Policies: even where nothing is known, right where something was learned, and never loaded from what cannot be trusted."""

import hashlib
import io
import json
import math
import pickle
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from budget_router import (
    Budget,
    EarlyStop,
    Escalate,
    ExtendedCoT,
    Menu,
    SelfConsistency,
    SingleShot,
    Spend,
    Task,
    load_policy,
    save_policy,
)
from budget_router.allocation import frontier
from budget_router.errors import ArtifactError, NotEnoughEvidence
from budget_router.features import structural_features
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ColdStart, Mixture, OracleImitator, Prediction, Uniform, ValuePolicy, sampling
from budget_router.policies.accuracy_model import MIN_TASKS
from budget_router.policies.artifact import MAX_BYTES, policy_from, record_of
from budget_router.policies.cold_start import maximum_entropy
from budget_router.policies.pricing import PriceCurve
from budget_router.policies.sampling import trained_rows
from budget_router.records import PolicyRecord

law = settings(derandomize=True, deadline=None, max_examples=80)

MENU = Menu(
    [
        SingleShot(typical_completion_tokens=20),
        SelfConsistency(k=3, typical_completion_tokens=20),
        ExtendedCoT(effort="high", typical_completion_tokens=200),
    ]
)
ADAPTIVE = Menu(
    [
        SingleShot(typical_completion_tokens=20),
        SelfConsistency(name="early", k=10, early_stop=EarlyStop(threshold=0.9, window=2), typical_completion_tokens=20),
        Escalate(
            name="doubt",
            first=SelfConsistency(k=3, typical_completion_tokens=20),
            then=ExtendedCoT(effort="high", typical_completion_tokens=200),
            agreement=1.0,
        ),
    ]
)
SHOT, VOTE, THINK = range(3)
LEARNERS = [ValuePolicy, OracleImitator]

costs = st.lists(st.floats(0.1, 1000), min_size=1, max_size=6).map(np.array)


# --- a world of two kinds of task: one glance settles the sums, only thinking settles the proofs

ACCURACY = {"sum": (0.9, 0.92, 0.93), "proof": (0.2, 0.15, 0.9)}
SAMPLE_COST = {"sum": (20.0, 150.0), "proof": (30.0, 250.0)}


def world(n_tasks, *, seed):
    """Texts of both kinds, and the kind, expected accuracy and cost of each."""
    rng = np.random.default_rng(seed)
    kinds = [("sum", "proof")[one] for one in rng.integers(0, 2, n_tasks)]
    numbers = rng.integers(10, 1000, (n_tasks, 2))
    asked = {"sum": "What is {} plus {} ?", "proof": "Prove that every graph of order {} has a cycle of length {} ."}
    texts = [asked[kind].format(*pair) for kind, pair in zip(kinds, numbers, strict=True)]
    accuracy = np.array([ACCURACY[kind] for kind in kinds])
    one, long = np.array([SAMPLE_COST[kind] for kind in kinds]).T * rng.lognormal(0, 0.1, n_tasks)
    return texts, np.array(kinds), accuracy, np.column_stack([one, 3 * one, long])


def observed_table(texts, accuracy, cost, *, menu=MENU, seed=0, propensities=None, keep_text=True):
    """Each task visited once, one strategy drawn and graded right or wrong; a vote reveals the single shot too."""
    rng = np.random.default_rng(seed)
    n_tasks, n_strategies = accuracy.shape
    drawn = rng.choice(n_strategies, n_tasks, p=propensities)
    seen = np.zeros(accuracy.shape, dtype=bool)
    for action, strategy in enumerate(menu):
        seen[np.ix_(drawn == action, menu.priced_by(strategy))] = True
    graded = (rng.random(accuracy.shape) < accuracy).astype(float)
    return OutcomeTable(
        menu=menu,
        unit="tokens",
        texts=tuple(texts) if keep_text else None,
        structure=np.array([structural_features(text) for text in texts]),
        task_ids=tuple(f"task {index:04}" for index in range(n_tasks)),
        accuracy=np.where(seen, graded, np.nan),
        standard_error=np.where(seen, 0.43, np.nan),
        observed_prob=np.full(accuracy.shape, 1 / n_strategies),
        cost=np.where(seen, cost, np.nan),
        is_forced=np.zeros(n_tasks, dtype=bool),
    )


def learned(learner, *, n_tasks=500, seed=1, **table):
    texts, _, accuracy, cost = world(n_tasks, seed=seed)
    return learner(n_components=6).fit(observed_table(texts, accuracy, cost, **table), rng=np.random.default_rng(seed))


@pytest.fixture(scope="module", params=LEARNERS, ids=lambda learner: learner.kind)
def policy(request):
    return learned(request.param)


@pytest.fixture(scope="module")
def fresh():
    texts, kinds, accuracy, cost = world(600, seed=99)
    return [Task(text) for text in texts], kinds, accuracy, cost


def test_each_kind_gets_the_strategy_that_is_worth_its_cost(policy, fresh):
    tasks, kinds, *_ = fresh
    chosen = policy.choose(policy.predict(tasks), 132).probabilities
    assert (chosen[kinds == "proof"].argmax(axis=1) == THINK).mean() > 0.9
    assert (chosen[kinds == "sum"].argmax(axis=1) == SHOT).mean() > 0.9


def test_one_policy_serves_every_budget_and_spends_it_on_fresh_tasks(policy, fresh):
    tasks, _, accuracy, cost = fresh
    prediction = policy.predict(tasks)
    reached = []
    for budget in (40.0, 70.0, 110.0, 140.0):
        chosen = policy.choose(prediction, budget).probabilities
        terms = (chosen * cost).sum(axis=1)
        # the price is solved on as many tasks as these: both samples vary
        standard_error = terms.std() / math.sqrt(len(tasks)) * math.sqrt(2)
        assert abs(terms.mean() - budget) < 4 * standard_error
        reached.append((chosen * accuracy).sum(axis=1).mean())
    assert reached == sorted(reached)


def test_a_learned_policy_beats_the_best_static_mix_at_its_own_spend(policy, fresh):
    tasks, _, accuracy, cost = fresh
    chosen = policy.choose(policy.predict(tasks), 132).probabilities
    spend, reached = (chosen * cost).sum(axis=1).mean(), (chosen * accuracy).sum(axis=1)
    mix = frontier(accuracy.mean(axis=0, keepdims=True), cost.mean(axis=0, keepdims=True)).at(spend).accuracy
    assert reached.mean() - 4 * reached.std() / math.sqrt(len(tasks)) > mix


@pytest.mark.parametrize("floor", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("budget", [60.0, 110.0, 500.0])
def test_the_floor_is_kept_and_its_cost_is_part_of_the_budget(policy, fresh, floor, budget):
    tasks, _, _, cost = fresh
    chosen = policy.choose(policy.predict(tasks), budget, floor=floor).probabilities
    assert chosen.min() >= floor
    assert chosen.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert chosen.max() <= 1 + 1e-12
    spent = (chosen * cost).sum(axis=1)
    assert spent.mean() <= budget + 4 * spent.std() * math.sqrt(2 / len(spent))  # the price is solved on another sample


@pytest.mark.parametrize("budget", [0.0, 1e-9, 10.0])
def test_a_budget_below_the_cheapest_buys_the_cheapest(policy, fresh, budget):
    tasks, *_ = fresh
    chosen = policy.choose(policy.predict(tasks), budget).probabilities
    assert chosen[:, SHOT].mean() > 0.99


def test_predictions_are_near_the_truth(policy, fresh):
    tasks, _, accuracy, cost = fresh
    prediction = policy.predict(tasks)
    assert np.abs(prediction.accuracy - accuracy).mean() < 0.1
    assert prediction.cost.mean(axis=0) == pytest.approx(cost.mean(axis=0), rel=0.1)
    assert (prediction.cost >= 0).all()


def test_no_task_has_no_prediction(policy):
    assert policy.predict([]).cost.shape == (0, len(MENU))


def test_fitting_again_with_the_same_seed_learns_the_same(policy, fresh):
    tasks, *_ = fresh
    again = learned(type(policy))
    assert again.predict(tasks).score.tobytes() == policy.predict(tasks).score.tobytes()
    assert again.curve_.spend.tobytes() == policy.curve_.spend.tobytes()


@pytest.mark.parametrize("learner", LEARNERS)
def test_without_any_text_structure_still_tells_the_kinds_apart(learner, fresh):
    tasks, kinds, *_ = fresh
    blind = learned(learner, keep_text=False)
    chosen = blind.choose(blind.predict(tasks), 132).probabilities
    assert (chosen[kinds == "proof"].argmax(axis=1) == THINK).mean() > 0.9


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_strategy_that_nobody_tried_is_not_bought(learner, fresh):
    tasks, *_ = fresh
    cautious = learned(learner, propensities=[0.5, 0.5, 0.0])
    prediction = cautious.predict(tasks)
    assert not prediction.accuracy[:, THINK].any()
    assert cautious.choose(prediction, 60).probabilities[:, THINK].max() == 0
    assert prediction.cost[:, THINK].min() > 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_too_few_graded_tasks_are_refused(learner):
    texts, _, accuracy, cost = world(MIN_TASKS - 1, seed=1)
    with pytest.raises(NotEnoughEvidence, match=f"{MIN_TASKS} are needed: call router.grade more often, or widen the window"):
        learner().fit(observed_table(texts, accuracy, cost), rng=np.random.default_rng(0))


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_log_without_a_single_known_cost_is_refused(learner):
    texts, _, accuracy, cost = world(30, seed=1)
    with pytest.raises(NotEnoughEvidence, match="cost is known in tokens: give the price"):
        learner().fit(observed_table(texts, accuracy, np.full_like(cost, np.nan)), rng=np.random.default_rng(0))


# --- a log too long to be learned from as a whole


def test_of_a_long_log_all_grades_of_a_rare_strategy_are_learned_from_and_even_shares_of_the_others():
    texts, _, accuracy, cost = world(2000, seed=3)
    table = observed_table(texts, accuracy, cost, propensities=(0.49, 0.49, 0.02)).by_task()
    rows = trained_rows(table, np.random.default_rng(0), most=600)
    is_rare = table.is_observed[:, THINK]
    assert len(rows) == len(set(rows.tolist())) == 600
    assert set(np.flatnonzero(is_rare)) <= set(rows.tolist())
    n_votes = table.is_observed[rows, VOTE].sum()
    assert abs(n_votes - (600 - is_rare.sum()) / 2) <= 1


def test_of_a_log_that_is_short_enough_everything_is_learned_from(policy):
    assert policy.n_trained_ == len(policy.table_.structure) == 500
    assert trained_rows(policy.table_, np.random.default_rng(0), most=500).tolist() == list(range(500))


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_is_not_learned_from_is_predicted_held_out_and_priced_all_the_same(monkeypatch, fresh, learner):
    monkeypatch.setattr(sampling, "MAX_TRAINED_TASKS", 400)
    monkeypatch.setattr("budget_router.features.tasks._AT_ONCE", 150)
    sampled = learned(learner, n_tasks=1000)
    texts, kinds, _, _ = world(1000, seed=1)
    assert (sampled.n_trained_, len(sampled.held_out_.cost)) == (400, 1000)
    assert np.isfinite(sampled.held_out_.cost).all()
    told = dict(zip(texts, kinds, strict=True))
    worth = sampled.held_out_.accuracy[:, THINK] - sampled.held_out_.accuracy[:, SHOT]
    is_proof = np.array([told[text] == "proof" for text in sampled.table_.texts])
    assert worth[is_proof].min() > worth[~is_proof].max()
    tasks, _, _, cost = fresh
    prediction = sampled.predict(tasks)
    spent = (sampled.choose(prediction, 100).probabilities * cost).sum(axis=1)
    assert abs(spent.mean() - 100) < 4 * spent.std() / np.sqrt(len(spent)) + 0.05 * 100


@law
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3), st.integers(0, 10_000))
def test_the_price_curve_tells_what_a_look_at_every_price_tells(n_tasks, n_strategies, n_levels, seed):
    rng = np.random.default_rng(seed)
    cells = (n_tasks, n_strategies)
    score, cost = (rng.random(cells) if not n_levels else rng.integers(0, n_levels + 1, cells) / 2 for _ in range(2))
    prediction = Prediction(cost, score)
    curve = PriceCurve.of(prediction)
    looked = [(curve.choose(prediction, spend, floor=0.0).probabilities * cost).sum(axis=1).mean() for spend in curve.spend]
    assert looked == pytest.approx(curve.spend, abs=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_least_that_can_be_learned_from_is_learned_from(learner):
    texts, _, accuracy, cost = world(MIN_TASKS, seed=1)
    table = observed_table(texts, accuracy, cost, propensities=[1.0, 0.0, 0.0])
    choice = (fitted := learner().fit(table, rng=np.random.default_rng(0))).choose(fitted.predict([Task("Prove it.")]), 30.0)
    assert choice.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("budget", [0.0, 20.0, 1e6])
def test_a_menu_of_one_strategy_leaves_no_choice(learner, budget):
    texts, _, accuracy, cost = world(40, seed=1)
    table = observed_table(texts, accuracy[:, :1], cost[:, :1], menu=Menu([SingleShot()]))
    only = learner().fit(table, rng=np.random.default_rng(0))
    assert only.choose(only.predict([Task("a")]), budget, floor=0.3).probabilities.tolist() == [[1.0]]


@pytest.mark.parametrize("learner", LEARNERS)
def test_where_all_strategies_are_always_right_the_cheapest_is_taken_at_any_budget(learner):
    texts, _, _, cost = world(60, seed=1)
    easy = learner().fit(observed_table(texts, np.ones(cost.shape), cost), rng=np.random.default_rng(0))
    for budget in (20.0, 100.0, 1e6):
        assert easy.choose(easy.predict([Task(text) for text in texts]), budget).probabilities[:, SHOT].min() > 0.99


@pytest.mark.parametrize("learner", LEARNERS)
def test_free_strategies_are_learned_too(learner):
    texts, _, accuracy, cost = world(60, seed=1)
    free = learner().fit(observed_table(texts, accuracy, 0 * cost), rng=np.random.default_rng(0))
    prediction = free.predict([Task("What is 3 plus 4 ?")])
    assert prediction.cost.tolist() == [[0, 0, 0]]
    assert np.isfinite(free.choose(prediction, 1.0).probabilities).all()


# --- cold start


@law
@given(costs, st.floats(0.001, 1.5))
def test_a_cold_start_keeps_the_budget_and_tries_what_it_can(cost, share):
    budget = float(cost.min() + share * (cost.max() - cost.min()))
    probabilities = maximum_entropy(cost, budget)
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert probabilities @ cost <= budget * (1 + 1e-9)
    if budget > cost.min() * (1 + 1e-12):
        reachable = np.log(1e-300) < -np.log(len(cost) / 0.001) * (cost - cost.min()) / (0.001 * np.ptp(cost))
        assert (probabilities[reachable] > 0).all()


@law
@given(st.tuples(*[st.integers(1, 20)] * 3).map(np.array), st.floats(0.05, 1))
def test_no_other_mixture_within_the_budget_is_more_even(cost, share):
    cost = cost.astype(float)
    budget = float(cost.min() + share * (cost.max() - cost.min()))

    def entropy(mixture):
        return -sum(p * math.log(p) for p in mixture if p > 0)

    ours = entropy(maximum_entropy(cost, budget))
    steps = [step / 20 for step in range(21)]
    for first, second in product(steps, steps):
        mixture = (first, second, 1 - first - second)
        if mixture[2] >= 0 and np.dot(mixture, cost) <= budget:
            assert entropy(mixture) <= ours + 1e-6


@law
@given(costs)
def test_a_budget_that_affords_everything_is_spent_evenly(cost):
    assert maximum_entropy(cost, float(cost.mean()) * 1.001) == pytest.approx(1 / len(cost))


@law
@given(costs, st.floats(0, 1))
def test_below_the_cheapest_only_the_cheapest_is_tried(cost, share):
    probabilities = maximum_entropy(cost, share * float(cost.min()))
    assert probabilities[cost > cost.min()].sum() == 0
    assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("cost", [[0.0, 1.0], [1.0, 1.0, 1.0], [100 / 3] * 3, [0.0], [1e-9, 1e-7], [1e12, 3e12]])
@pytest.mark.parametrize("room", [5e-324, 1e-310, 1e-30, 1e-12])
def test_a_budget_a_hair_above_the_cheapest_is_no_trouble(cost, room):
    cost = np.array(cost)
    probabilities = maximum_entropy(cost, float(np.nextafter(cost.min(), np.inf) + room))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)


@law
@given(st.floats(0, 2000), st.sampled_from([0.0, 0.005, 0.1, 0.3, 1 / 3]))
def test_a_cold_start_counts_the_floor_into_the_budget(budget, floor):
    cold = ColdStart(MENU)
    prediction = cold.predict([Task("What is 27 + 41?"), Task("Prove it. " * 40)])
    chosen = cold.choose(prediction, budget, floor=floor).probabilities
    least = floor * prediction.cost.sum(axis=1) + (1 - 3 * floor) * prediction.cost.min(axis=1)
    assert chosen.min() >= floor
    assert chosen.sum(axis=1) == pytest.approx(1)
    assert ((chosen * prediction.cost).sum(axis=1) <= np.maximum(budget, least) * (1 + 1e-9)).all()


def test_a_cold_start_counts_prompts_and_typical_answers():
    cost = ColdStart(MENU).predict([Task("What is 27 + 41?")]).cost[0]
    assert cost.tolist() == [28, 84, 208]


def test_a_cold_start_learns_answer_lengths_from_what_settles_and_shares_them_among_those_that_draw_alike():
    cold = ColdStart(MENU)
    for _ in range(99):
        cold.settled(MENU["self_consistency_3"], Spend(completion_tokens=300, n_calls=3))
    cost = cold.predict([Task("What is 27 + 41?")]).cost[0]
    assert cost[SHOT] == pytest.approx(8 + (20 + 99 * 300) / (1 + 99 * 3))
    assert cost[VOTE] == pytest.approx(3 * cost[SHOT])
    assert cost[THINK] == 208


def test_a_cold_start_learns_nothing_from_what_was_never_called_or_is_not_on_the_menu():
    cold = ColdStart(MENU)
    cold.settled(MENU["single_shot"], Spend())
    cold.settled(SingleShot(model="another"), Spend(completion_tokens=999, n_calls=1))
    assert cold.predict([Task("What is 27 + 41?")]).cost[0].tolist() == [28, 84, 208]


def test_samples_that_did_not_arrive_do_not_make_answers_look_short():
    cold = ColdStart(MENU)
    cold.settled(MENU["self_consistency_3"], Spend(completion_tokens=20, n_calls=3), n_answers=1)
    assert cold.predict([Task("What is 27 + 41?")]).cost[0, SHOT] == 28


def test_a_cold_start_expects_half_of_what_an_adaptive_strategy_may_draw():
    cost = ColdStart(ADAPTIVE, unit="completion_tokens").predict([Task("What is 27 + 41?")]).cost[0]
    assert cost.tolist() == [20, 20 * (2 + 10) / 2, 3 * 20 + 0.5 * 200]


def test_a_cold_start_in_seconds_waits_for_one_round_after_the_other():
    cost = ColdStart(ADAPTIVE, unit="seconds").predict([Task("What is 27 + 41?")]).cost[0]
    assert cost.tolist() == pytest.approx([0.4, 0.4 * 3, 0.4 + 0.5 * 4])


def test_a_cold_start_learns_how_many_answers_an_adaptive_strategy_draws():
    cold = ColdStart(ADAPTIVE, unit="completion_tokens")
    for _ in range(9):
        cold.settled(ADAPTIVE["early"], Spend(completion_tokens=40, n_calls=2), n_answers=2)
        cold.settled(ADAPTIVE["doubt"], Spend(completion_tokens=999, n_calls=3), n_answers=3)
    cost = cold.predict([Task("What is 27 + 41?")]).cost[0]
    # the bill of two kinds of answers is not taken for the length of one
    assert cost.tolist() == pytest.approx([20, 20 * (6 + 9 * 2) / 10, 3 * 20 + 0.5 / 10 * 200])


def test_a_cold_start_learns_nothing_of_an_adaptive_strategy_whose_answers_were_not_counted():
    cold = ColdStart(ADAPTIVE, unit="completion_tokens")
    before = cold.predict([Task("a")]).cost.tolist()
    cold.settled(ADAPTIVE["early"], Spend(completion_tokens=40, n_calls=2))
    assert cold.predict([Task("a")]).cost.tolist() == before


# --- baselines


@law
@given(
    st.integers(1, 5).flatmap(lambda k: st.tuples(st.tuples(*[st.floats(0, 1)] * k), st.tuples(*[st.floats(1, 100)] * k))),
    st.floats(0, 1.5),
)
@example(means=((0.0, 0.0, 1.9e-231), (1.0, 3.0, 2.0)), share=0.5)
def test_the_static_mix_lies_on_the_hull_and_spends_the_budget(means, share):
    accuracy, cost = map(np.array, means)
    mixture = Mixture(accuracy, cost)
    curve = frontier(accuracy[None], cost[None])
    budget = float(curve.spend[0] + share * (curve.spend[-1] - curve.spend[0]))
    chosen = mixture.choose(mixture.predict([Task("a"), Task("b")]), budget).probabilities
    assert chosen.sum(axis=1) == pytest.approx(1)
    assert chosen[0] @ cost <= budget * (1 + 1e-9)
    assert chosen[0] @ accuracy == pytest.approx(curve.at(budget).accuracy, abs=1e-6)
    assert (chosen > 0).sum(axis=1).max() <= 2


def test_the_static_mix_counts_the_floor_into_the_budget():
    mixture = Mixture(np.array([0.5, 0.9]), np.array([1.0, 3.0]))
    prediction = mixture.predict([Task("a")])
    assert mixture.choose(prediction, 2.0, floor=0.1).probabilities @ [1, 3] == pytest.approx(2.0)
    assert mixture.choose(prediction, 0.0, floor=0.1).probabilities[0].tolist() == pytest.approx([0.9, 0.1])
    assert mixture.choose(prediction, 2.0, floor=0.5).probabilities[0].tolist() == [0.5, 0.5]


def test_uniform_is_even_whatever_the_budget():
    uniform = Uniform(np.array([1.0, 9.0]))
    assert uniform.choose(uniform.predict([Task("a")]), 0.0, floor=0.2).probabilities.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    "baseline", [Uniform(np.ones(3)), Mixture(np.array([0.1, 0.5, 0.9]), np.array([1.0, 2.0, 3.0])), ColdStart(MENU)]
)
def test_every_policy_keeps_the_contract(baseline):
    tasks = [Task("a"), Task("b b b")]
    prediction = baseline.predict(tasks)
    choice = baseline.choose(prediction, 2.0, floor=0.1)
    assert prediction.cost.shape == prediction.score.shape == choice.probabilities.shape == (2, 3)
    assert isinstance(prediction, Prediction)
    assert choice.probabilities.sum(axis=1) == pytest.approx(1)
    assert choice.probabilities.min() >= 0.1 - 1e-12
    assert choice.lam >= 0
    assert baseline.version


# --- artifacts


def forged(policy, arrays=None, *, manifest=None, **fields):
    """A record whose hashes are right, whatever it holds: an attacker can compute them too."""
    record = record_of(policy, evidence={})
    packed = record.arrays if arrays is None else arrays
    if isinstance(packed, dict):
        file = io.BytesIO()
        np.savez_compressed(file, **packed)
        packed = file.getvalue()
    if manifest is None:
        manifest = json.dumps(json.loads(record.manifest) | {"sha256": hashlib.sha256(packed).hexdigest()} | fields)
    version = hashlib.sha256(manifest.encode()).hexdigest()[:12]
    return PolicyRecord(version=version, menu_hash=MENU.hash, manifest=manifest, arrays=packed)


def arrays_of(policy):
    with np.load(io.BytesIO(record_of(policy, evidence={}).arrays)) as packed:
        return dict(packed)


def refused(record, match=None, *, menu=MENU, unit="tokens"):
    with pytest.raises(ArtifactError, match=match):
        policy_from(record, menu, unit=unit)


def test_a_record_restores_the_policy_bit_by_bit(policy, fresh):
    tasks, *_ = fresh
    record = record_of(policy, evidence={"why": "test"})
    again = policy_from(record, MENU, unit="tokens")
    assert again.version == record.version == policy.version
    for ours, theirs in zip(policy.predict(tasks), again.predict(tasks), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    choices = [one.choose(one.predict(tasks), 90.0, floor=0.01) for one in (policy, again)]
    assert choices[0].probabilities.tobytes() == choices[1].probabilities.tobytes()
    assert choices[0].lam == choices[1].lam


def test_a_folder_restores_the_policy_bit_by_bit(policy, fresh, tmp_path):
    tasks, *_ = fresh
    version = save_policy(policy, tmp_path / "new" / "folder")
    again = load_policy(tmp_path / "new" / "folder")
    assert (again.version, again.menu.hash, again.unit) == (version, MENU.hash, "tokens")
    assert again.predict(tasks).score.tobytes() == policy.predict(tasks).score.tobytes()


def test_the_version_is_named_after_the_content(policy):
    assert record_of(policy, evidence={}).version == record_of(policy, evidence={"other": "evidence"}).version
    assert record_of(learned(type(policy), seed=2, n_tasks=60), evidence={}).version != record_of(policy, evidence={}).version


def test_a_policy_whose_words_are_not_ascii_is_restored(tmp_path):
    texts, _, accuracy, cost = world(40, seed=1)
    menu = Menu([SingleShot(instruction="Antworte kurz – höchstens ein Satz.")])
    one = ValuePolicy().fit(observed_table(texts, accuracy[:, :1], cost[:, :1], menu=menu), rng=np.random.default_rng(0))
    save_policy(one, tmp_path)
    assert load_policy(tmp_path).menu == menu


@pytest.mark.parametrize("seed", range(20))
def test_a_single_corrupt_byte_is_noticed(policy, seed):
    record = record_of(policy, evidence={})
    rng = np.random.default_rng(seed)
    arrays = bytearray(record.arrays)
    arrays[rng.integers(len(arrays))] ^= 1 << rng.integers(8)
    refused(record.model_copy(update={"arrays": bytes(arrays)}), "corrupt")
    place = int(rng.integers(len(record.manifest)))
    manifest = record.manifest[:place] + chr(ord(record.manifest[place]) ^ 1) + record.manifest[place + 1 :]
    refused(record.model_copy(update={"manifest": manifest}))


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -30])
def test_a_truncated_artifact_is_refused(policy, kept):
    packed = record_of(policy, evidence={}).arrays[:kept]
    refused(forged(policy, packed), "cannot be unpacked")


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"format": 1}',
        "[" * 100_000,
        '{"format": ' + "9" * 5000 + "}",
        '{"format": true}',
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_a_manifest_of_anything_else_is_refused(policy, manifest):
    refused(forged(policy, manifest=manifest))


@pytest.mark.parametrize("menu", [{"a": 1}, [], None, 5, [{"kind": "bribe"}], [{"kind": "single_shot", "self": 1}]])
def test_a_manifest_with_a_broken_menu_is_refused(policy, menu):
    refused(forged(policy, menu=menu))


def test_a_newer_format_is_refused_with_the_mend(policy):
    refused(forged(policy, format=4), "of format 4, this version reads 3: train it again, or update this package")


def test_a_policy_of_another_menu_is_refused_by_its_strategies(policy):
    refused(record_of(policy, evidence={}), "another menu, single_shot, self_consistency_3", menu=Menu([SingleShot()]))


def test_a_policy_of_another_unit_is_refused(policy):
    refused(record_of(policy, evidence={}), "counts tokens, the budget usd", unit="usd")


def test_a_policy_of_other_features_is_refused(policy):
    refused(forged(policy, features_version="structure-0+abc"), "reads features structure-0")


def test_a_policy_of_the_other_kind_lacks_its_arrays(policy):
    other = "imitator" if policy.kind == "value" else "value"
    record = forged(policy, kind=other)
    if other == "imitator":
        refused(record, "imitator.score")
    else:
        assert policy_from(record, MENU, unit="tokens").kind == "value"  # it has all that the plainer one needs


def test_someone_elses_arrays_are_refused(policy):
    refused(forged(policy, {"weights": np.ones(3)}), "lacks")


def test_a_member_that_is_no_array_is_refused(policy):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "hello")
    refused(forged(policy, file.getvalue()), "cannot be unpacked")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_refused_by_name(policy, number):
    arrays = arrays_of(policy)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and array.size:
            broken = array.copy()
            broken.flat[-1] = number
            refused(forged(policy, arrays | {name: broken}), name)


def test_each_array_is_missed(policy):
    arrays = arrays_of(policy)
    for name in arrays:
        refused(forged(policy, {one: array for one, array in arrays.items() if one != name}))


@pytest.mark.parametrize(
    "reshape",
    [
        lambda array: array[:-1],
        lambda array: array[..., :-1],
        lambda array: array[..., None],
        lambda array: array.ravel()[:1],
        lambda array: array.ravel()[0],
        lambda array: np.concatenate([array, array]),
        lambda array: array[:0],
    ],
    ids=["shorter", "narrower", "deeper", "one", "scalar", "doubled", "empty"],
)
def test_arrays_of_the_wrong_width_are_refused(policy, reshape):
    arrays = arrays_of(policy)
    for name, array in arrays.items():
        wrong = reshape(array)
        if wrong.shape != array.shape:
            refused(forged(policy, arrays | {name: wrong}))


@pytest.mark.parametrize("name", ["cost.bounds", "cost.rest", "curve.mean_cost", "curve.spend", "curve.price", "features.scale"])
def test_costs_prices_and_scales_below_zero_are_refused(policy, name):
    refused(forged(policy, arrays_of(policy) | {name: -1 - arrays_of(policy)[name]}), f"{name} is n")


@pytest.mark.parametrize("dtype", [complex, bool, "S8", "M8[s]", [("a", "f8")]])
def test_arrays_of_anything_but_numbers_are_refused(policy, dtype):
    refused(forged(policy, arrays_of(policy) | {"cost.rest": np.zeros(3, dtype=dtype)}), "cannot be unpacked")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(policy, tmp_path):
    trap = tmp_path / "sprung"
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **(arrays_of(policy) | {"cost.rest": np.array([Payload(trap)], dtype=object)}))
    refused(forged(policy, file.getvalue()), "cannot be unpacked")
    refused(forged(policy, pickle.dumps(Payload(trap))), "cannot be unpacked")
    with zipfile.ZipFile(bare := io.BytesIO(), "w") as archive:
        archive.writestr("cost.rest.npy", pickle.dumps(Payload(trap)))
    refused(forged(policy, bare.getvalue()), "cannot be unpacked")
    assert not trap.exists()


def test_a_small_file_that_unpacks_large_is_refused_before_it_is_unpacked(policy):
    bomb = forged(policy, {"cost.rest": np.zeros(MAX_BYTES // 8 + 1)})
    assert len(bomb.arrays) < 10**6
    refused(bomb, "unpacks to .* bytes, over 67,108,864")


def test_a_header_that_promises_more_than_there_is_is_not_believed(policy):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("cost.rest.npy", header.getvalue())
    refused(forged(policy, file.getvalue()), "stands on 0 bytes")


def test_a_member_that_lies_about_its_size_is_refused(policy):
    packed = bytearray(forged(policy, {"cost.rest": np.zeros(10_000)}).arrays)
    place = packed.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    packed[place : place + 4] = (200).to_bytes(4, "little")
    refused(forged(policy, bytes(packed)), "cannot be unpacked")


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="holds no policy that can be read"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "arrays.npz").write_bytes(b"")
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="holds no policy that can be read"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_a_huge_file_is_refused_unread(policy, tmp_path, name):
    save_policy(policy, tmp_path)
    with (tmp_path / name).open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(ArtifactError, match=f"{name} is larger than"):
        load_policy(tmp_path)


def test_a_budgets_unit_is_the_tables(policy):
    assert policy.unit == Budget(per_task=1).unit
