"""What has changed since a policy was learned is found, and what has not, or by too little to matter, is left alone."""

import json
from copy import copy
from datetime import UTC, datetime

import numpy as np
import pytest
from typer.testing import CliRunner
from world import MENU, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, Task, drift, refresh
from budget_router.errors import NotEnoughEvidence
from budget_router.evaluation import Revealed
from budget_router.evaluation.drift import DriftLimits, Estimate, Finding, Shown, accuracy_drift, concluded, cost_drift
from budget_router.evaluation.inputs import category_moved, number_moved, told_apart
from budget_router.memory import MemoryRegistry
from budget_router.policies.artifact import policy_from, record_of
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=110, unit="completion_tokens")
STRATEGIES = ("quick", "vote", "think")
N_FEATURES = 20


# --- inputs


def test_a_classifier_tells_what_no_feature_shows_by_itself():
    rng = np.random.default_rng(1)
    former, recent = rng.normal(size=(2, 600, 8))
    former[:, 1] = 0.9 * former[:, 0] + 0.4 * former[:, 1]
    product = [np.column_stack([one, one[:, :1] * one[:, 1:2]]) for one in (former, recent)]
    assert number_moved("one", former[:, 1], recent[:, 1]).p_value > 0.01
    finding = told_apart(*product, rng=rng)
    assert finding.p_value < 1e-6
    assert finding.is_large
    assert finding.change.low > 0


def test_a_classifier_of_alike_tasks_is_as_good_as_a_coin():
    n_draws = 100
    p_values = [
        told_apart(rng.normal(size=(80, 10)), rng.normal(size=(120, 10)), rng=rng).p_value
        for rng in map(np.random.default_rng, range(n_draws))
    ]
    assert np.mean(np.array(p_values) < 0.1) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / n_draws)


def test_a_number_s_distance_and_its_interval_hold_the_truth():
    former, recent = np.random.default_rng(3).uniform(size=(2, 2000))
    finding = number_moved("length", former, recent + 0.3)
    assert finding.change.low < 0.3 < finding.change.high
    assert finding.is_large
    assert (
        finding.says == f"length: {100 * finding.change.value:.0f} % of the tasks have moved, median 0.8072 where it was 0.4956."
    )
    assert number_moved("flat", np.ones(30), np.ones(40)) is None


def test_a_category_names_the_value_that_gained_most():
    finding = category_moved("group", ["north"] * 80 + ["south"] * 20, ["north"] * 45 + ["south"] * 55)
    assert (finding.reference, finding.recent) == (0.8, 0.45)
    assert finding.says == "group: 45 % of the tasks are 'north', where 80 % were."
    assert finding.change.low < -0.35 < finding.change.high
    assert category_moved("id", list("abcdefgh"), list("ijklmnop")) is None
    assert category_moved("one", ["a"] * 50, ["a"] * 50) is None


def test_what_is_sure_but_small_does_not_matter():
    rng = np.random.default_rng(5)
    former, recent = rng.normal(size=(2, 100_000))
    (finding,) = concluded([number_moved("length", former, recent + 0.05)], 0.05)
    assert finding.is_significant
    assert not finding.matters


def test_of_many_p_values_the_least_is_corrected_most():
    findings = [
        Finding("input", name, 0, 0, Estimate(0.2, 0.1, 0.3), 0.1, p_value, is_significant=False, is_large=True, says="")
        for name, p_value in (("a", 0.04), ("b", 0.001), ("c", 0.02))
    ]
    told = concluded(findings, 0.05)
    assert {one.what: one.p_value for one in told} == pytest.approx({"b": 0.003, "c": 0.04, "a": 0.04})
    assert told[0].what == "b"
    assert all(one.matters for one in concluded(findings, 0.05))
    assert [one.matters for one in concluded(findings, 0.01)] == [True, False, False]


# --- accuracy and cost, where a policy that learned from the reference chooses greedily afterwards


def two_windows(seed, *, n_tasks=1000, fall=0.0, dearer=1.0):
    """Scores and bills of each window; in the second the vote is worse by `fall`, and all bill `dearer` times as much."""
    rng = np.random.default_rng(seed)
    slopes = 1.5 * rng.normal(size=(N_FEATURES, 3)) / np.sqrt(N_FEATURES)

    def drawn(prob, x, lost, factor):
        action = (prob.cumsum(axis=1) < rng.random(len(x))[:, None]).sum(axis=1).clip(0, 2)
        right = np.clip(1 / (1 + np.exp(-(x @ slopes + [0.0, 0.5, 1.0]))) - lost, 0, 1)
        shown = np.eye(3, dtype=bool)[action]
        score = np.where(shown, (rng.random(right.shape) < right).astype(float), np.nan)
        expected = np.exp(x[:, :1] / 4) * [10.0, 30.0, 100.0]
        bill = np.where(shown, expected * factor * rng.lognormal(-0.125, 0.5, shown.shape), np.nan)
        return [
            Shown(Revealed(cells, prob, tuple(f"{seed}-{len(x)}-{row}" for row in range(len(x))), STRATEGIES), x, expected)
            for cells in (score, bill)
        ]

    before, after = rng.normal(size=(2, n_tasks, N_FEATURES))
    reference = drawn(np.full((n_tasks, 3), 1 / 3), before, 0.0, 1.0)
    design = np.column_stack([np.ones(n_tasks), before])
    lines = []
    for score in reference[0].revealed.value.T:
        seen = ~np.isnan(score)
        lines.append(np.linalg.solve(design[seen].T @ design[seen] + np.eye(N_FEATURES + 1), design[seen].T @ score[seen]))
    best = (np.column_stack([np.ones(n_tasks), after]) @ np.array(lines).T - [0.0, 0.1, 0.2]).argmax(axis=1)
    prob = 0.005 + 0.985 * np.eye(3)[best]
    return reference, drawn(prob, after, np.array([0.0, fall, 0.0]), dearer)


def test_a_policy_s_choice_is_no_drift_of_accuracy():
    n_draws = 60
    alarms = 0
    for seed in range(n_draws):
        (reference, _), (recent, _) = two_windows(seed, n_tasks=600)
        findings, _ = accuracy_drift(reference, recent)
        assert len(findings) == 3
        alarms += any(one.is_significant for one in concluded(findings, 0.05))
    assert alarms / n_draws <= 0.06 + 3 * np.sqrt(0.06 * 0.94 / n_draws)


def test_a_strategy_that_got_worse_is_found_and_named():
    n_found, misses = 0, []
    for seed in range(20):
        (reference, _), (recent, _) = two_windows(seed, fall=0.15)
        findings = concluded(accuracy_drift(reference, recent)[0], 0.05)
        matters = [one.what for one in findings if one.matters]
        n_found += "vote" in matters
        (vote,) = (one for one in findings if one.what == "vote")
        misses.append((vote.change.value + 0.15) / ((vote.change.high - vote.change.low) / 2))
    assert n_found >= 17
    assert abs(np.mean(misses)) < 0.5


def test_bills_are_compared_with_what_was_expected_there():
    for factor, n_found in ((1.0, 0), (1.3, 3)):
        (_, reference), (_, recent) = two_windows(7, dearer=factor)
        findings = concluded(cost_drift(reference, recent)[0], 0.05)
        assert sum(one.matters for one in findings) == n_found
        assert all(one.change.low < factor < one.change.high for one in findings)
        bare = [one._replace(expected=None) for one in (reference, recent)]
        assert sum(one.matters for one in concluded(cost_drift(*bare)[0], 0.05)) == n_found


def test_a_strategy_that_is_hardly_shown_and_uneven_grading_are_told_apart_from_no_drift():
    (reference, _), (recent, _) = two_windows(3, n_tasks=200)
    shown, some = recent.revealed, slice(30)
    few = Shown(Revealed(shown.value[some], shown.prob[some], shown.task_ids[some], STRATEGIES), recent.features[some])
    findings, doubts = accuracy_drift(reference, few)
    assert len(findings) + len(doubts) == 3
    assert any("are needed: log more" in doubt for doubt in doubts)
    uneven = Revealed(shown.value, shown.prob, shown.task_ids, STRATEGIES, np.array([50, 50, 900]))
    findings, doubts = accuracy_drift(reference, recent._replace(revealed=uneven))
    assert findings == []
    assert "graded share runs from" in doubts[0]


# --- from a ledger


@pytest.fixture(scope="module")
def served():
    """A ledger whose policy was learned from the first of three windows, and the moments between them."""
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(250, seed=1, group="north"), seed=1)
    learned = datetime.now(UTC)
    refresh(ledger, menu=MENU, budget=BUDGET, until=learned).promote()
    router = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=2)
    serve(router, tasks(250, seed=2, group="north"), seed=2)
    changed = datetime.now(UTC)
    harder = [
        task.model_copy(
            update={"text": f"{task.text} Explain each step, give {n} examples, and list what may go wrong.", "group": "south"}
        )
        for n, task in enumerate(tasks(250, seed=3))
    ]
    serve(router, harder, seed=3)
    return ledger, learned, changed


def test_alike_traffic_is_no_drift(served):
    ledger, learned, changed = served
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    found = drift(ledger, menu=MENU, unit="completion_tokens", since=long_ago, until=changed)
    assert found == drift(ledger, menu=MENU, unit="completion_tokens", until=changed)
    assert not found.is_drifting
    assert found.says.startswith("No drift: of ")
    assert (found.reference.until, found.recent.since, found.recent.until) == (learned, learned, changed)
    assert (found.reference.n_tasks, found.recent.n_tasks) == (250, 250)
    assert found.policy_version == ledger.registry.active_version(MENU.hash)
    assert {one.kind for one in found.findings} == {"input", "accuracy", "cost"}


def test_other_tasks_are_drift_and_the_findings_say_which(served):
    ledger, _, changed = served
    found = drift(ledger, menu=MENU, unit="completion_tokens", since=changed)
    assert found.is_drifting
    drifted = {one.what for one in found.drifted}
    assert {"tasks as a whole", "group", "characters", "instructions"} <= drifted
    assert {"trained range of structure", "trained range of words"} <= drifted
    assert not {"single_shot", "longest_number", "trained range of metadata"} & drifted
    assert found.findings[: len(found.drifted)] == found.drifted
    assert len(found.frame()) == len(found.findings)
    panels = found.plot().axes
    assert [ax.xaxis.label.get_text().partition(",")[0] for ax in panels] == [
        "Change of the tasks",
        "Change of accuracy on like tasks",
        "Change of cost on like tasks",
    ]
    bold = {text.get_text() for ax in panels for text in ax.texts if text.get_fontweight() == "bold"}
    assert bold == {what.replace("_", " ") for what in drifted}


def test_a_drift_is_plain_json(served):
    ledger, _, changed = served
    told = json.loads(json.dumps(drift(ledger, menu=MENU, unit="completion_tokens", since=changed).as_json(), allow_nan=False))
    assert told["is_drifting"] is True
    assert told["recent"]["n_decisions"] == 250
    assert set(told["findings"][0]["change"]) == {"value", "low", "high"}
    assert told["findings"][0]["matters"] is True


def test_without_a_policy_there_is_nothing_to_drift_from_unless_a_window_is_named(served):
    ledger, learned, changed = served
    other = MemoryLedger()
    with pytest.raises(NotEnoughEvidence, match="refresh and promote one"):
        drift(other, menu=MENU, unit="completion_tokens")
    with pytest.raises(NotEnoughEvidence, match="the recent window holds 0 settled tasks, 50 are needed"):
        drift(ledger, menu=MENU, unit="completion_tokens", since=datetime.now(UTC))
    named = drift(ledger, menu=MENU, unit="tokens", reference=(None, learned), until=changed)
    assert named.policy_version is None
    assert any("counts completion_tokens" in doubt for doubt in named.doubts)
    assert not named.is_drifting


def test_a_policy_saved_without_its_range_is_not_taken_to_be_within(served):
    ledger, learned, changed = served
    old = copy(ledger)
    old.registry = MemoryRegistry()
    policy = policy_from(ledger.registry.load(ledger.registry.active_version(MENU.hash)), MENU, unit="completion_tokens")
    policy.featuriser_.range_ = None
    old.registry.save(record_of(policy, evidence={}))
    old.registry.promote(policy.version)
    found = drift(old, menu=MENU, unit="completion_tokens", reference=(None, learned), since=changed)
    assert not any("trained range" in one.what for one in found.findings)
    assert any("was not saved with it, and is not checked: refresh" in doubt for doubt in found.doubts)


def test_limits_are_the_caller_s(served):
    ledger, _, changed = served
    deaf = DriftLimits(told_apart=0.6, moved=1.01, accuracy=1.0, cost=100.0)
    assert not drift(ledger, menu=MENU, unit="completion_tokens", since=changed, limits=deaf).is_drifting


def test_a_ledger_without_texts_is_looked_at_by_structure_and_facts():
    ledger, between = MemoryLedger(), datetime(2026, 3, 1, tzinfo=UTC)
    for window, n_turns in (("before", 3), ("after", 30)):
        stream = [Task("Sum?", id=f"{window} {n}", metadata={"turn": n % n_turns, "kind": "sum"}) for n in range(80)]
        between = datetime.now(UTC)
        serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), stream, seed=1)
    for n in range(80):
        ledger.forget(f"before {n}")
    found = drift(ledger, menu=MENU, unit="completion_tokens", reference=(None, between), since=between)
    assert {"turn", "kind"} <= {one.what for one in found.drifted}


# --- as a command


def test_the_command_tells_what_drifts_in_a_table_and_in_json(tmp_path):
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    with SqlLedger(url, durability="queued") as ledger:
        serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(80, seed=1, group="north"), seed=1)
        between = datetime.now(UTC)
        serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(80, seed=2, group="south"), seed=1)
    words = ["drift", "--ledger", url, "--since", between.isoformat(), "--reference-until", between.isoformat()]
    typed = CliRunner().invoke(app, words, env={"NO_COLOR": "1", "COLUMNS": "100"})
    assert typed.exit_code == 0
    assert max(map(len, typed.stdout.splitlines())) <= 100
    head, row, *_ = typed.stdout.splitlines()
    assert head.split() == ["what", "was", "is", "change", "[95", "%]", "p"]
    assert row.split() == ["drift", "input", "·", "group", "1", "0", "-1.00", "[-1.00,", "-1.00]", "<", "1e-06"]
    assert "compared with 80 decisions on 80 tasks, the first to 20" in typed.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [one["what"] for one in told["findings"] if one["matters"]] == ["group"]
    slip = CliRunner().invoke(app, [*words, "--unit", "pounds"])
    assert "no unit 'pounds'" in str(slip.exception)


def test_the_command_says_that_there_is_nothing_to_drift_from(tmp_path):
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    with SqlLedger(url, durability="queued") as ledger:
        serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(3, seed=1), seed=1)
    slip = CliRunner().invoke(app, ["drift", "--ledger", url])
    assert isinstance(slip.exception, NotEnoughEvidence)
