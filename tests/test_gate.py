"""A candidate serves only where every condition is met, and the verdict says which were not, with their figures."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import Gate, Verdict
from budget_router.errors import InvalidInput
from budget_router.evaluation import Judgement, OffPolicyEstimate, Revealed, Rivals, dr
from budget_router.features.ranges import UNKNOWN as NOT_KNOWN
from budget_router.features.ranges import OutOfRange

law = settings(derandomize=True, deadline=None, max_examples=30)


def estimate(value, error=0.005, *, n=5000, effective=2000.0, reason=""):
    half = math.nan if reason else 1.96 * error
    return OffPolicyEstimate(value, error, value - half, value + half, effective, n, n, reason=reason)


GOOD = Judgement(
    accuracy=estimate(0.8),
    gain=estimate(0.023, 0.004),
    gain_over_mix=estimate(0.03, 0.004),
    spend=estimate(796.0, 3.0),
    budget=800.0,
    unit="tokens",
    held_out="later",
    incumbent="v13",
    groups={"support": estimate(0.03), "research": estimate(-0.001)},
    out_of_range=OutOfRange(0.01),
)
UNKNOWN = estimate(0.02, reason="effective sample size is 4.0 of 9 decisions, limit 10: log more decisions")

BAD = {
    "gain": replace(GOOD, gain=estimate(0.005, 0.004)),
    "spend": replace(GOOD, spend=estimate(817.0, 3.0)),
    "spend_bound": replace(GOOD, spend=estimate(810.0, 60.0)),
    "effective_sample": replace(GOOD, accuracy=estimate(0.8, effective=99.0)),
    "groups": replace(GOOD, groups={"support": estimate(0.05), "research": estimate(-0.03)}),
    "range": replace(GOOD, out_of_range=OutOfRange(0.06)),
    "held_out": replace(GOOD, held_out="seen"),
}


def failed(judgement, gate=None):
    return [condition.name for condition in (gate or Gate()).judge(judgement).failed]


# --- the verdict


def test_a_candidate_that_meets_all_is_promoted_and_the_verdict_says_by_how_much():
    verdict = Gate().judge(GOOD)
    assert verdict.is_passed
    assert str(verdict) == (
        "promoted: gain's lower bound +1.6 points ≥ 0 · spend 796 tokens ≤ 816 · spend's upper bound 801 tokens ≤ 880"
        " · effective sample 2,000 ≥ 100 · 2 of 2 groups unharmed · out of range 1.0 % ≤ 5.0 %"
        " · judged on later tasks than trained it"
    )


@pytest.mark.parametrize("name", BAD)
def test_each_condition_can_fail_alone_and_is_named(name):
    verdict = Gate().judge(BAD[name])
    assert [condition.name for condition in verdict.failed] == [name]
    assert not verdict.is_passed
    assert str(verdict) == f"kept: {verdict.failed[0].sentence}"


def test_what_was_found_and_what_was_asked_stand_beside_each_other():
    gain, spend, *_ = Gate(margin=0.02).judge(BAD["spend"]).conditions
    assert (gain.sentence, gain.limit, gain.is_met) == ("gain's lower bound +1.6 points < +2.0", 0.02, False)
    assert gain.found == pytest.approx(0.023 - 1.645 * 0.004, abs=1e-5)
    assert (spend.sentence, spend.found, spend.limit) == ("spend 817 tokens > 816", 817.0, 816.0)


def test_figures_that_would_look_alike_get_more_digits():
    assert Gate(margin=0.01642).judge(GOOD).failed[0].sentence == "gain's lower bound +1.6418 points < +1.6420"
    cheap = replace(GOOD, budget=0.002, unit="usd", spend=estimate(0.0020401, 1e-6))
    assert Gate().judge(cheap).failed[0].sentence == "spend 0.0020401 usd > 0.00204"


def test_an_estimate_that_concludes_nothing_fails_its_condition_with_its_reason():
    for judgement, name in ((replace(GOOD, gain=UNKNOWN), "gain"), (replace(GOOD, spend=UNKNOWN), "spend_bound")):
        (condition,) = Gate().judge(judgement).failed
        assert condition.name == name
        assert condition.found is None
        assert condition.sentence.endswith(f"not known: {UNKNOWN.reason}")


@pytest.mark.parametrize("judgement", [GOOD, *BAD.values(), replace(GOOD, gain=UNKNOWN, spend=estimate(math.nan))])
def test_a_verdict_and_its_grounds_go_through_json_and_come_back(judgement):
    verdict = Gate().judge(judgement)
    assert Verdict.from_json(verdict.model_dump_json()) == verdict
    told = json.loads(json.dumps(verdict.facts(), allow_nan=False))
    assert (told["is_passed"], told["summary"]) == (verdict.is_passed, str(verdict))
    grounds = json.loads(json.dumps(judgement.facts(), allow_nan=False))
    assert grounds["gain"]["reason"] == judgement.gain.reason
    assert grounds["incumbent"] == "v13"


# --- laws


@law
@given(st.floats(-0.1, 0.1), st.floats(0.0, 0.05), st.floats(-0.2, 0.2), st.floats(0, 0.2))
def test_a_larger_margin_never_promotes_what_a_smaller_one_kept(value, error, margin, more):
    judgement = replace(GOOD, gain=estimate(value, error))
    if Gate(margin=margin + more).judge(judgement).is_passed:
        assert Gate(margin=margin).judge(judgement).is_passed


@law
@given(st.floats(-0.1, 0.1), st.floats(0.0, 0.05), st.floats(0.6, 0.99), st.integers(2, 10**6))
def test_more_confidence_and_more_looks_never_promote_what_less_kept(value, error, confidence, n):
    judgement = replace(GOOD, gain=estimate(value, error, n=n, effective=float(n)), groups={})
    passed = Gate(confidence=confidence).judge(judgement).is_passed
    if Gate(confidence=(1 + confidence) / 2).judge(judgement).is_passed:
        assert passed
    if Gate(confidence=confidence, looks="often").judge(judgement).is_passed:
        assert passed


@law
@given(st.floats(1e-6, 1e6))
def test_the_budgets_unit_changes_nothing(scale):
    scaled = replace(GOOD, budget=GOOD.budget * scale, spend=estimate(796.0 * scale, 3.0 * scale))
    assert Gate().judge(scaled).is_passed


@law
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(-0.05, 0.05), max_size=8))
def test_another_group_that_fares_well_never_makes_a_group_look_hurt(gains):
    groups = {name: estimate(gain) for name, gain in gains.items()}
    if "groups" not in failed(replace(GOOD, groups=groups)):
        assert "groups" not in failed(replace(GOOD, groups={**groups, "another": estimate(0.01)}))


# --- groups


def test_a_group_has_to_be_clearly_hurt_for_the_number_of_groups_looked_at():
    doubtful = estimate(-0.01, 0.005)  # two standard errors below zero: clear if alone, one of forty is not
    assert failed(replace(GOOD, groups={"support": doubtful})) == ["groups"]
    others = {f"group {number}": estimate(0.0) for number in range(39)}
    assert failed(replace(GOOD, groups={"support": doubtful, **others})) == []


def test_all_hurt_groups_are_named_the_worst_first_each_found_among_those_left():
    # of two, a bound takes 1.96 standard errors, of the one that is left 1.64
    groups = {"support": estimate(-0.009, 0.005), "research": estimate(-0.05, 0.005)}
    (condition,) = Gate().judge(replace(GOOD, groups=groups)).failed
    assert condition.sentence == "2 of 2 groups hurt (research by 5.0 points, support by 0.9 points)"


def test_a_group_with_too_little_evidence_is_untested_not_unharmed():
    groups = {"support": estimate(0.01), "legal": UNKNOWN}
    condition = next(one for one in Gate().judge(replace(GOOD, groups=groups)).conditions if one.name == "groups")
    assert condition.is_met
    assert condition.sentence == "1 of 2 groups unharmed, too little known of legal"
    nothing = Gate().judge(replace(GOOD, groups={"legal": UNKNOWN}))
    assert "no group tested, too little known of legal" in str(nothing)
    assert "no groups to compare" in str(Gate().judge(replace(GOOD, groups={})))


# --- range


def ranged(found):
    return next(one for one in Gate().judge(replace(GOOD, out_of_range=found)).conditions if one.name == "range")


def test_the_verdict_names_in_what_tasks_are_out_of_range_the_most_frequent_first():
    by = {"words": 0.11, "metadata 'team' (a new value)": 0.009, "structure 'lines'": 0.004, "structure 'latex'": 0.001}
    assert ranged(OutOfRange(0.12, by)).sentence == (
        "out of range 12.0 % > 5.0 % (words 11.0 %, metadata 'team' (a new value) 0.9 %, structure 'lines' 0.4 %, 1 more)"
        ": let it learn from such tasks first"
    )
    assert ranged(OutOfRange(0.004, {"words": 0.004})).sentence == "out of range 0.4 % ≤ 5.0 % (words 0.4 %)"


def test_of_few_tasks_as_many_may_be_out_of_range_as_chance_puts_there():
    assert ranged(OutOfRange(0.08, {}, chance=0.1)).is_met
    assert not ranged(OutOfRange(0.11, {}, chance=0.1)).is_met
    assert not ranged(OutOfRange(0.06, {}, chance=0.02)).is_met


def test_a_candidate_that_does_not_tell_what_trained_it_is_not_within_range():
    condition = ranged(NOT_KNOWN)
    assert (condition.is_met, condition.found) == (False, None)
    assert condition.sentence == "out of range not known: nothing was judged, or the candidate does not tell what trained it"
    assert json.loads(json.dumps(replace(GOOD, out_of_range=NOT_KNOWN).facts(), allow_nan=False))["out_of_range"] is None


# --- settings


@pytest.mark.parametrize(
    ("setting", "value"), [("confidence", 1.0), ("margin", math.nan), ("max_spend", 0.0), ("looks", "always"), ("max_spend", 1.2)]
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(setting, value):
    with pytest.raises(InvalidInput, match=setting):
        Gate(**{setting: value})


# --- from arrays


@pytest.fixture(scope="module")
def logged():
    """Three strategies drawn alike, the dearer the better; one task in ten is not graded."""
    rng = np.random.default_rng(0)
    n = 3000
    prob, expected = np.full((n, 3), 1 / 3), np.clip(rng.random((n, 1)) * 0.6 + [0.0, 0.1, 0.2], 0, 1)
    is_seen = np.arange(3) == rng.integers(0, 3, (n, 1))
    score = np.where(is_seen, (rng.random((n, 3)) < expected).astype(float), np.nan)
    spend = np.where(is_seen, np.array([100.0, 300.0, 900.0]) * rng.lognormal(0, 0.2, (n, 3)), np.nan)
    ids, names = tuple(map(str, range(n))), ("cheap", "middle", "dear")
    spends = Revealed(spend, prob, ids, names, rows=np.arange(n))
    scores = Revealed(score, prob, ids, names, rows=np.arange(n)).part(np.flatnonzero(np.arange(n) % 10))
    return scores, spends, expected, np.tile([102.0, 306.0, 918.0], (n, 1))


def judged(logged, **more):
    scores, spends, expected, cost = logged
    candidate, incumbent, mix = (np.tile(one, (len(cost), 1)) for one in ([0.0, 0.5, 0.5], [0.6, 0.2, 0.2], [0.25, 0, 0.75]))
    rivals = more.pop("rivals", Rivals(candidate, incumbent, mix))
    settings = {"predicted_accuracy": expected, "predicted_cost": cost, "budget": 612.0, "unit": "tokens", "held_out": "later"}
    return Judgement.of(scores, spends, rivals, **{**settings, "incumbent": "v3", **more})


def test_a_judgement_is_made_of_doubly_robust_estimates_on_the_rows_that_tell(logged):
    scores, spends, expected, cost = logged
    found = judged(logged)
    chosen, before = np.tile([0.0, 0.5, 0.5], (2700, 1)), np.tile([0.6, 0.2, 0.2], (2700, 1))
    assert found.gain == dr(scores, target_prob=chosen, predicted=expected[scores.rows], against=before)
    assert found.spend == dr(spends, target_prob=np.tile([0.0, 0.5, 0.5], (3000, 1)), predicted=cost)
    assert found.n_judged == 2700
    assert abs(found.gain.value - 0.09) < 4 * found.gain.standard_error  # 0.15 - 0.06 by the strategies' scores
    assert abs(found.gain_over_mix.value) < 4 * found.gain_over_mix.standard_error
    assert Gate().judge(found).is_passed


def test_each_group_is_judged_on_its_own_tasks_and_the_gain_is_their_mean(logged):
    groups = [["support", "research", None][row % 3] for row in range(3000)]
    found = judged(logged, groups=groups)
    assert set(found.groups) == {"support", "research", "(no group)"}
    mean = sum(gain.value * gain.n for gain in found.groups.values()) / sum(gain.n for gain in found.groups.values())
    assert mean == pytest.approx(found.gain.value)
    assert judged(logged, groups=[None] * 3000).groups == {}


def test_without_an_active_policy_the_incumbent_is_the_static_mix(logged):
    mix = np.tile([0.25, 0, 0.75], (3000, 1))
    found = judged(logged, rivals=Rivals(np.tile([0.0, 0.5, 0.5], (3000, 1)), mix, mix), incumbent=None)
    assert found.incumbent == "the best static mix"
    assert found.gain == found.gain_over_mix


def test_a_candidate_that_chooses_like_the_incumbent_loses_nothing(logged):
    same = np.tile([0.2, 0.3, 0.5], (3000, 1))
    assert "gain" not in failed(judged(logged, rivals=Rivals(same, same, same)))


def test_arrays_of_other_tables_are_refused_by_name(logged):
    scores, spends, expected, cost = logged
    with pytest.raises(InvalidInput, match="predicted_cost has shape"):
        judged(logged, predicted_cost=cost[:5])
    with pytest.raises(InvalidInput, match="groups has 2 rows"):
        judged(logged, groups=["a", "b"])
    with pytest.raises(InvalidInput, match="scores came from no table"):
        judged((replace(scores, rows=np.zeros(0, dtype=np.intp)), spends, expected, cost))
