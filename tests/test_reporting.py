"""From a production ledger to a page: what was served, what the policy is worth, and what is not known yet."""

import copy
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from world import MENU, RIGHT, serve, tasks

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SingleShot, Task, refresh, report
from budget_router.errors import ArtifactError
from budget_router.outcomes import OutcomeTable
from budget_router.placing import Placed, frontier_of, judge, on_later
from budget_router.placing.placed import _shuffled
from budget_router.policies.artifact import record_of
from budget_router.policies.learned import LearnedPolicy
from budget_router.reporting.comparing import Candidate, compare
from budget_router.reporting.served import Served
from budget_router.reporting.telling import Told, head
from budget_router.reports import Report, write_report
from budget_router.reports.findings import comparison_finding
from budget_router.reports.page import HEADINGS
from budget_router.testing import example_decision, example_outcome, example_settlement
from budget_router_cli.app import app
from budget_router_sql import SqlLedger

BUDGET = Budget(per_task=70, unit="completion_tokens")
COLD, LATER = 120, 60
GROUPS = ("support", "research", "<script>alert(1)</script>")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Book:
    """A ledger served by a router, cold, then by the policy that was learned from it; and its report, beside a rival's."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'spend.db'}"
        with SqlLedger(self.url) as ledger:
            router = BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1, reload_seconds=0.0, exploration=0.1)
            serve(router, self._grouped(COLD, seed=1), seed=1)
            self.refreshed = refresh(ledger, menu=MENU, budget=BUDGET)
            self.refreshed.promote()
            rival = record_of(_thrifty(self.refreshed.policy), evidence={})
            ledger.registry.save(rival)
            self.versions = self.refreshed.version, rival.version
            serve(router, self._grouped(LATER, seed=2), seed=2)
            self.logged = list(ledger.read())
            self.evidence, self.acts = list(ledger.evidence()), list(ledger.acts())
            self.report: Report = report(ledger, against=rival.version, command="made by a test")
        self.page = folder / "report.html"
        write_report(self.report, self.page)
        self.text = self.page.read_text(encoding="utf-8")

    @staticmethod
    def _grouped(n_tasks: int, *, seed: int) -> list[Task]:
        stream = tasks(n_tasks, seed=seed)
        return [task.model_copy(update={"group": GROUPS[place % 3]}) for place, task in enumerate(stream)]


def _thrifty(policy: LearnedPolicy) -> LearnedPolicy:
    """The same policy, which believes that everything costs twice as much."""
    rival = copy.copy(policy)
    rival.curve_ = policy.curve_._replace(spend=2 * policy.curve_.spend)
    return rival


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    return Book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def placed(book: Book) -> Placed:
    """The saved policy, on the decisions later than those it learned from."""
    table = OutcomeTable.from_evidence(book.evidence, MENU, unit=BUDGET.unit)
    judged = on_later(table, book.refreshed.policy, book.logged[COLD - 1].decision.decided_at)
    assert judged is not None
    return Placed(judged, BUDGET.per_task, "completion tokens per task")


# --- what was served


def test_the_verdict_and_the_figures_are_sums_of_the_log(book):
    spend = np.mean([entry.settlement.spend.completion_tokens for entry in book.logged])
    scores = [entry.outcome.score for entry in book.logged if entry.outcome]
    verdict, told = head(_told(book), None, None, None)
    assert told[0] == book.report.figures[0]
    assert verdict.startswith(
        f"180 decisions spent {spend:.3g} of 70 completion tokens per task and answered {100 * np.mean(scores):.1f} % ["
    )
    figures = {name: (value, note) for name, value, note in book.report.figures}
    assert figures["Spend of budget"][0] == f"{100 * spend / 70:.1f} %"
    assert figures["Accuracy as graded"][1].endswith(f"{100 * len(scores) / 180:.0f} % of decisions graded")


def test_the_stream_is_every_decision_in_its_order_and_the_policy_that_made_it(book):
    stream = book.report.stream
    assert stream.spend.tolist() == [entry.settlement.spend.completion_tokens for entry in book.logged]
    assert stream.shadow_price.tolist() == [entry.decision.shadow_price for entry in book.logged]
    assert stream.decided_at.tolist() == [entry.decision.decided_at.replace(tzinfo=None) for entry in book.logged]
    assert (stream.phase[0], stream.phase[-1]) == ("cold start", f"policy {book.refreshed.version}")


def test_groups_and_spenders_add_up_to_the_log(book):
    by_group, spending = book.report.by_group, book.report.spending
    assert sorted(by_group.kinds) == sorted(GROUPS)
    assert sum(by_group.n_tasks) == sum(row.n_decisions for row in spending.rows) == 180
    assert np.allclose(np.sum(by_group.share, axis=1), 1)
    assert sum(row.spend for row in spending.rows) == sum(e.settlement.spend.completion_tokens for e in book.logged)


def test_calibration_holds_what_was_promised_against_what_came(book):
    promised = [e for e in book.logged if e.outcome and e.decision.expected_accuracy is not None]
    bins = book.report.calibration.accuracy
    assert sum(n for _, _, n in bins) == len(promised)
    mean = sum(predicted * n for predicted, _, n in bins) / len(promised)
    assert mean == pytest.approx(np.mean([e.decision.expected_accuracy for e in promised]))


def test_a_long_log_is_judged_on_whole_tasks_and_counted_in_full(book):
    again = [act._replace(evidence=act.evidence._replace(decision_id=f"again {act.evidence.decision_id}")) for act in book.acts]
    served = Served.of([*book.acts, *again], BUDGET.unit, most=100)
    judged = {act.evidence.task_id for act in served.judged}
    assert len(served) == 360
    assert 0 < len(served.judged) <= 100
    assert len(served.judged) == 2 * len(judged)
    assert served.numbers("spend").sum() == 2 * sum(one.spend.completion_tokens for one in book.evidence)


def _told(book):
    served = Served.of(book.acts, BUDGET.unit)
    return Told(served, BUDGET.unit, MENU, (None, None), 0, None, BUDGET.per_task)


# --- what the policy is worth


def test_a_policy_on_later_decisions_is_worth_what_the_world_knows_it_to_be(book, placed):
    kind = {entry.decision.task_id: str(entry.metadata["kind"]) for entry in book.logged}
    right = {name: [chance[False], _vote(chance[False]), chance[True]] for name, chance in RIGHT.items()}
    rows = placed.judged.table.task_ids
    truth = np.array([right[kind[task]] for task in rows])
    expected = float((placed.judged.of_rows(placed.judged.spends, placed.chosen) * truth).sum(axis=1).mean())
    assert placed.accuracy.is_conclusive
    assert abs(placed.accuracy.value - expected) < 4 * placed.accuracy.standard_error


def _vote(right: float) -> float:
    """Two of three right; or one right, given before two wrong ones that differ, of three that there are."""
    wrong = 1 - right
    return right**3 + 3 * right**2 * wrong + 3 * right * wrong**2 * (2 / 3) / 3


def test_the_gain_is_the_way_from_the_drawn_mix_to_the_policy(placed):
    result = placed.frontier()
    assert result.gain.value == pytest.approx(replace(result, gain=None).told_gain.value, abs=1e-9)
    assert result.gain.low < result.gain.value < result.gain.high


def test_the_verdict_says_whether_the_gain_is_clear(book, placed):
    verdict, figures = head(_told(book), placed, "v1", None)
    gain = placed.gain
    if gain.low > 0:
        assert verdict.endswith("above the best static mix at the same spend.")
    else:
        assert "not yet clearly apart" in verdict
    assert figures[1][1] == f"{100 * gain.value:+.1f} points"


def test_no_policy_beats_the_oracle_in_hindsight_and_regret_keeps_its_bound(placed):
    accuracy, cost = placed.completed
    reached = float((placed.chosen * accuracy).sum(axis=1).mean())
    spent = float((placed.chosen * cost).sum(axis=1).mean())
    assert reached <= placed.oracle.at(spent).accuracy + 1e-9
    for point in placed.regret().points:
        assert point.regret <= point.bound + 1e-9


def test_shuffling_an_input_changes_its_own_features_alone(placed):
    (known,) = placed.judged.features
    shuffled = {name: features[0] for name, features in _shuffled(placed.judged, np.random.default_rng(0))}
    assert list(shuffled) == ["everything it knows", "form of the task", "words of the task", "kind"]
    changed = [np.flatnonzero((shuffled[name] != known).any(axis=0)) for name in list(shuffled)[1:]]
    assert not set(changed[0]) & set(changed[1])
    assert not set(changed[1]) & set(changed[2])
    assert sorted(shuffled["everything it knows"].sum(axis=1)) == pytest.approx(sorted(known.sum(axis=1)))


def test_later_decisions_judge_a_policy_where_they_are_enough(book):
    table = OutcomeTable.from_evidence(book.evidence, MENU, unit=BUDGET.unit)
    learned_at, rng = book.logged[COLD - 1].decision.decided_at, np.random.default_rng(0)
    judged = judge(table, book.refreshed.policy, learned_at=learned_at, budget=BUDGET.per_task, rng=rng, min_later=LATER)
    assert judged.how == f"judged on {LATER} decisions later than those it learned from"
    assert [fold.policy for fold in judged.folds] == [book.refreshed.policy]


def test_a_policy_that_nothing_came_after_is_judged_by_halves(book):
    (how,) = (value for what, value in book.report.provenance if what == "judged")
    assert "learned from half of the tasks, judged on the other half" in how
    assert book.report.frontier.operating_point is not None


def test_a_fresh_candidate_has_a_frontier_of_its_own(book):
    result = frontier_of(book.refreshed.policy, BUDGET)
    assert result.budget == BUDGET.per_task
    assert len(result.frame()) == len(result.series)


def test_two_policies_are_compared_where_neither_learned_and_shown_where_they_part(book):
    pair = book.report.comparison
    assert pair.names == tuple(f"policy {version}" for version in book.versions)
    assert pair.gain.n == LATER
    assert pair.spend[0].value > pair.spend[1].value
    assert pair.gain.value == pytest.approx(pair.accuracy[0].value - pair.accuracy[1].value)
    shares = np.array([(part.first, part.second) for part in pair.parts if part.of == "share"])
    assert shares.sum(axis=0) == pytest.approx([1, 1])
    assert pair.differs >= np.abs(shares[:, 0] - shares[:, 1]).sum() / 2 - 1e-9
    assert book.report.verdict.startswith(f"Policy {book.versions[0]}")


def test_policies_that_nothing_came_after_are_shown_without_an_estimate(book):
    candidate = Candidate(book.refreshed.policy, datetime.now(UTC))
    rival = Candidate(copy.copy(book.refreshed.policy), datetime.now(UTC))
    rival.policy.version = "rival"
    table = OutcomeTable.from_evidence(book.evidence, MENU, unit=BUDGET.unit)
    pair = compare(candidate, rival, table, budget=BUDGET.per_task, unit="tokens per task")
    assert (pair.gain, pair.differs) == (None, 0.0)
    assert "serve and grade more, then compare" in comparison_finding(pair)
    with pytest.raises(ArtifactError, match="compared with itself"):
        compare(candidate, candidate, table, budget=BUDGET.per_task, unit="tokens per task")


# --- the page


def test_the_page_holds_every_section_in_its_order(book):
    headings = re.findall(r"<h2 id=[^>]*>([^<]*)</h2>", book.text)
    assert headings == [*HEADINGS, "Dearest decisions", "How to make this page again"]
    assert book.report.missing == ()


def test_the_gates_conditions_stand_on_the_page(book):
    assert {row.name for row in book.report.gate.rows} >= {"gain", "spend"}
    assert all(row.sentence in html.unescape(book.text) for row in book.report.gate.rows)


def test_what_was_logged_does_nothing_on_the_page(book):
    assert "<script" not in book.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in book.text
    assert len(book.text) < 1_500_000


def test_an_empty_ledger_says_how_to_fill_it(tmp_path):
    told = report(MemoryLedger())
    assert told.verdict.startswith("This ledger holds no decision yet: give it to a router")
    write_report(told, tmp_path / "page.html")
    assert "give it to a router" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_window_without_a_decision_says_so(book):
    with SqlLedger(book.url) as ledger:
        told = report(ledger, since=datetime.now(UTC) + timedelta(days=1))
    assert told.verdict.startswith("No decision of this window is settled yet")


def test_a_log_that_nobody_graded_shows_its_spend_and_asks_for_grades(tmp_path):
    ledger = MemoryLedger()
    serve(BudgetRouter(MENU, BUDGET, ledger=ledger, seed=1), tasks(10, seed=4), seed=4, grade=False)
    told = report(ledger)
    write_report(told, tmp_path / "page.html")
    assert "none is graded yet" in told.verdict
    assert (told.frontier, told.by_group, told.gate) == (None, None, None)
    assert len(told.stream.spend) == 10
    missing = dict(told.missing)
    assert "call router.grade" in missing["The frontier"]
    assert "budget-router refresh" in missing["The gate's verdict"]
    assert "Task(text, group=" in missing["Where it went, by group"]


def test_megabytes_of_hostile_text_are_a_page_all_the_same(tmp_path):
    menu, ledger = Menu([SingleShot()]), MemoryLedger()
    hostile = "<script>alert(1)</script>\u202e\x07" * 37_000
    for number in range(3):
        decision = example_decision(
            f"d{number}",
            strategy=menu.root[0],
            task_id=f"t{number}",
            thread_id=None,
            propensities={"single_shot": 1.0},
            menu_hash=menu.hash,
            features=(0.0,) * 25,
            group=hostile[:200],
        )
        ledger.record_decision(decision, Task(hostile), menu)
        ledger.record_settlement(example_settlement(decision.id))
        ledger.record_outcome(example_outcome(decision.id))
    write_report(report(ledger), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page) < 300_000
    assert "<script" not in page


# --- the command


def test_the_command_writes_the_page_and_tells_machines_what_it_says(book, tmp_path):
    arguments = ["report", "--ledger", book.url, "--until", "2020-01-01", "--out", str(tmp_path / "page.html"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["verdict"].startswith("No decision of this window")
    assert Path(told["path"]).is_file()


def test_the_command_compares_two_versions_and_no_more(book):
    done = CliRunner().invoke(app, ["report", "--ledger", book.url, "--compare", "one"])
    assert done.exit_code == 2


# --- in a browser


@pytest.mark.skipif(BROWSER is None, reason="no chromium is on this machine")
def test_a_browser_finds_no_error_no_request_and_no_overflow_at_390_pixels(book, tmp_path):
    """The page as it is in a frame of 390 pixels; without its own rule against them, requests would be made, and are counted."""
    probe = (
        "<script>addEventListener('load', () => { const root = document.documentElement;"
        "parent.postMessage([root.scrollWidth, innerWidth, performance.getEntriesByType('resource').length,"
        "Math.min(...[...document.querySelectorAll('svg text')].map(t => {"
        "const box = t.ownerSVGElement, scale = box.clientWidth / box.viewBox.baseVal.width;"
        "return parseFloat(getComputedStyle(t).fontSize) * scale}))"
        "], '*') })</script>"
    )
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", book.text).replace("</body>", f"{probe}</body>")
    (tmp_path / "open.html").write_text(open_page, encoding="utf-8")
    frames = "".join(
        f'<iframe src="{page.as_uri()}" style="border:0;width:390px;height:9000px"></iframe>'
        for page in (tmp_path / "open.html", book.page)
    )
    listener = "<script>addEventListener('message', told => document.body.dataset.told = JSON.stringify(told.data))</script>"
    (tmp_path / "frame.html").write_text(f"<body>{listener}{frames}</body>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    options += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [str(BROWSER), *options, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=60, check=False
    )
    (told,) = re.findall(r'data-told="([^"]*)"', done.stdout)
    width, window, n_requests, smallest = json.loads(told)
    assert (window, n_requests) == (390, 0)
    assert width <= window
    assert smallest >= 10.99
    assert "CONSOLE" not in done.stderr
