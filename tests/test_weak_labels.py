"""Weak labels: agreement is believed as far as grades show, told from grades everywhere, and never asked for unasked."""

import math
from dataclasses import fields

import numpy as np
import pytest
import world
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import Budget, BudgetRouter, EarlyStop, ExtendedCoT, MemoryLedger, Menu, SelfConsistency, SingleShot, refresh
from budget_router.errors import NotEnoughEvidence
from budget_router.evaluation import Revealed
from budget_router.evaluation.off_policy import doubly_robust
from budget_router.evidence import Evidence
from budget_router.outcomes import OutcomeTable, vote_accuracy
from budget_router.outcomes.bundle import Bundle
from budget_router.outcomes.weak_labels import MIN_GRADED_TASKS, Calibration, WeakLabels
from tests.test_outcomes import logged

law = settings(derandomize=True, deadline=None, max_examples=60)

MENU = Menu(
    [
        SingleShot(name="one"),
        SelfConsistency(name="three", k=3),
        SelfConsistency(name="five", k=5),
        SelfConsistency(name="early", k=5, early_stop=EarlyStop(threshold=0.85)),
        ExtendedCoT(name="think", effort="high"),
        SelfConsistency(name="warm", k=5, temperature=1.0),
    ]
)
ONE, THREE, FIVE, EARLY, THINK, WARM = range(6)
BUDGET = Budget(per_task=110, unit="completion_tokens")
RIGHT = "4"


def visit(rng, *, ease=None, strategy="five", graded=True, **facts):
    """A task that one sample solves with the probability `ease`; wrong answers may agree."""
    ease = rng.beta(1.2, 0.8) if ease is None else ease
    n_samples = MENU[strategy].n_guaranteed
    answers = [RIGHT if rng.random() < ease else str(rng.choice(["5", "6"], p=[0.8, 0.2])) for _ in range(n_samples)]
    scores = {answer: float(answer == RIGHT) for answer in answers}
    score = scores[max(answers, key=answers.count)]
    return logged(strategy, answers, menu=MENU, answer_scores=scores, score=score, graded=graded, **facts)


def visits(n_tasks, *, seed, graded=True, strategy="five", name="t"):
    rng = np.random.default_rng(seed)
    eases = rng.beta(1.2, 0.8, n_tasks)
    made = [
        visit(rng, ease=ease, strategy=strategy, graded=graded, task_id=f"{name}{row}", text=f"task {name} {row}")
        for row, ease in enumerate(eases)
    ]
    return eases, made


def table_of(entries, *, weak_labels=True):
    return OutcomeTable.from_log(entries, MENU, unit="tokens", weak_labels=weak_labels)


@pytest.fixture(scope="module")
def known():
    return visits(300, seed=1)[1]


@pytest.fixture(scope="module")
def half_graded(known):
    """Tasks graded and tasks not; the ease of those that are not, and the table."""
    eases, ungraded = visits(800, seed=2, graded=False, name="u")
    return eases, table_of([*known, *ungraded])


# --- how right they are


def five_right(ease):
    """Expected score of a vote of five samples that are right with probability `ease`; ties go to the first given."""
    rng = np.random.default_rng(0)
    kinds = np.where(rng.random((4000, 5)) < ease, 0, np.where(rng.random((4000, 5)) < 0.8, 1, 2))
    given = kinds[:, :, None] == np.arange(3)
    return ((given.sum(axis=1) * 10 - given.argmax(axis=1)).argmax(axis=1) == 0).mean()


@pytest.mark.parametrize("column", [ONE, THREE, FIVE, EARLY])
def test_labels_are_what_grades_would_have_shown_wherever_samples_agree_and_wherever_they_scatter(half_graded, column):
    eases, table = half_graded
    label = table.accuracy[-len(eases) :, column]
    shown = table_of(visits(len(eases), seed=2)[1]).accuracy[:, column]
    for here in np.array_split(label.argsort(kind="stable"), 4):
        missed = shown[here] - label[here]
        standard_error = math.hypot(missed.std() / math.sqrt(len(here)), missed.std() / math.sqrt(300 / 4))  # as many were graded
        assert abs(missed.mean()) < 4 * standard_error


@pytest.mark.parametrize("column", [ONE, FIVE])
def test_their_standard_errors_tell_the_truth(half_graded, column):
    eases, table = half_graded
    label, error = table.accuracy[-len(eases) :, column], table.standard_error[-len(eases) :, column]
    grid = np.linspace(0, 1, 41)
    truth = eases if column == ONE else np.interp(eases, grid, [five_right(ease) for ease in grid])
    square = ((truth - label) / error) ** 2
    assert square.mean() < 1 + 4 * square.std() / math.sqrt(len(square))
    assert square.mean() > 0.1  # cautious, not empty


def test_the_error_of_a_truth_does_not_fall_with_the_number_of_samples(known):
    calibration = Calibration.fit(graded_bundles(known))
    for n_samples in (2, 5, 50):
        bundle = bundle_of(logged("five", ("4",) * n_samples, menu=MENU, graded=False))
        cell = calibration.cell(bundle, MENU["one"])
        assert cell.standard_error >= math.sqrt(cell.accuracy * (1 - cell.accuracy))


def bundle_of(entry):
    return Bundle.of(Evidence.of(entry), "tokens")


def graded_bundles(entries):
    return [(entry.decision.task_id, bundle_of(entry)) for entry in entries]


def test_the_more_agree_the_more_is_expected(known):
    calibration = WeakLabels.fit(graded_bundles(known)).calibrations[MENU["five"].sampling.key]
    expected = [calibration.expected(["4"] * n + ["5"] * (5 - n))[0]["4"] for n in range(1, 6)]
    assert expected == sorted(expected)
    assert expected[0] < 0.35
    assert expected[-1] > 0.8


def test_what_few_grades_show_is_less_sure():
    few, many = (Calibration.fit(graded_bundles(visits(n_tasks, seed=3)[1])) for n_tasks in (20, 500))
    assert few.expected(["4"] * 5)[1]["4"] > 2 * many.expected(["4"] * 5)[1]["4"]


def test_bundles_of_one_task_are_one_observation():
    rng = np.random.default_rng(4)
    same = [visit(rng, ease=0.7, task_id="t") for _ in range(50)]
    apart = [visit(rng, ease=0.7, task_id=f"t{row}") for row in range(50)]
    errors = [Calibration.fit(graded_bundles(entries)).expected(["4"] * 5)[1]["4"] for entries in (same, apart)]
    assert errors[0] > 2 * errors[1]


def test_what_holds_for_other_samplings_is_where_a_thinly_graded_one_starts():
    rng = np.random.default_rng(5)
    wrong = [visit(rng, ease=0.1, task_id=f"t{row}") for row in range(100)]
    warm = [visit(rng, ease=0.1, strategy="warm", task_id=f"w{row}") for row in range(MIN_GRADED_TASKS)]
    alone = Calibration.fit(graded_bundles(warm))
    among = WeakLabels.fit(graded_bundles([*wrong, *warm])).calibrations[MENU["warm"].sampling.key]
    assert among.expected(["5"] * 5)[0]["5"] < alone.expected(["5"] * 5)[0]["5"]


@law
@given(st.lists(st.sampled_from(["4", "5", "6", None]), min_size=5, max_size=5).filter(lambda drawn: set(drawn) != {None}))
def test_a_label_is_what_the_vote_would_score_on_average_and_lies_in_its_bounds(known, drawn):
    entry = logged("five", drawn, menu=MENU, graded=False, task_id="new")
    labels = WeakLabels.fit(graded_bundles(known))
    bundle = bundle_of(entry)
    expected, _ = labels.of(bundle).expected(drawn)
    for name in ("one", "three", "five", "early"):
        cell = labels.of(bundle).cell(bundle, MENU[name])
        assert 0 <= cell.accuracy <= 1
        assert 0 < cell.standard_error < 1
        if name != "early":
            wins = {
                right: vote_accuracy(drawn, {one: one == right for one in expected}, MENU[name].n_samples) for right in expected
            }
            assert cell.accuracy == pytest.approx(sum(expected[right] * wins[right] for right in expected))


# --- what they fill


def test_an_ungraded_bundle_fills_the_cells_that_a_graded_one_would(known):
    rng = np.random.default_rng(6)
    table = table_of([*known, visit(rng, graded=False), visit(rng, graded=True)])
    assert table.is_observed[-2].tolist() == table.is_observed[-1].tolist()
    assert table.is_weak[-2].tolist() == [True, True, True, True, False, False]
    assert not table.is_weak[-1].any()


@pytest.mark.parametrize(
    "entry",
    [
        logged("five", ("4",) * 5, menu=MENU, graded=False, status="failed"),
        logged("five", ("4",) * 5, menu=MENU, answer_scores={}, score=1.0),
        logged("five", (None,) * 5, menu=MENU, graded=False),
        logged("five", ("4",), menu=MENU, graded=False),
        logged("one", ("4",), menu=MENU, graded=False),
        logged("think", ("4",), menu=MENU, graded=False),
        logged("warm", ("4",) * 5, menu=MENU, graded=False),
    ],
    ids=["failed", "graded", "silent", "alone", "single", "other", "warmer"],
)
def test_nothing_is_claimed_where_nothing_can_agree_or_nobody_graded_alike(known, entry):
    weak, plain = (table_of([*known, entry], weak_labels=asked) for asked in (True, False))
    assert not weak.is_weak.any()
    assert weak.is_observed.tolist() == plain.is_observed.tolist()


def test_a_bundle_larger_than_any_graded_is_not_spoken_for():
    graded = visits(MIN_GRADED_TASKS, seed=7, strategy="three")[1]
    table = table_of([*graded, *visits(3, seed=8, graded=False, name="u")[1]])
    assert not table.is_weak.any()
    assert table_of([*graded, *visits(3, seed=8, graded=False, strategy="three", name="u")[1]]).is_weak.any()


def test_too_few_grades_are_told_with_what_is_missing():
    table = table_of([*visits(MIN_GRADED_TASKS - 1, seed=9)[1], *visits(3, seed=10, graded=False, name="u")[1]])
    assert not table.is_weak.any()
    assert table.weak_doubts == (
        f"five: {MIN_GRADED_TASKS - 1} tasks have several graded samples drawn alike, {MIN_GRADED_TASKS} are needed: "
        "grade more of them, with answer_scores",
    )


def test_a_grade_displaces_weak_labels_of_its_cell(known):
    rng = np.random.default_rng(11)
    graded, weak = visit(rng, task_id="x", strategy="three"), visit(rng, task_id="x", graded=False)
    alone, both = (table_of([*known, *entries]).by_task() for entries in ([graded], [graded, weak]))
    row = alone.task_ids.index("x")
    assert both.accuracy[row, :THREE].tolist() == alone.accuracy[row, :THREE].tolist()
    assert both.standard_error[row, :THREE].tolist() == alone.standard_error[row, :THREE].tolist()
    assert both.is_weak[row].tolist() == [False, False, True, True, False, False]
    assert math.isnan(alone.accuracy[row, FIVE])


def test_two_weak_labels_of_a_task_are_no_surer_than_one(known):
    twice = [logged("five", ("4", "4", "5", "4", "5"), menu=MENU, graded=False, task_id="x")] * 2
    one, two = (table_of([*known, *twice[:n]]).by_task() for n in (1, 2))
    row = one.task_ids.index("x")
    assert two.standard_error[row, FIVE] == pytest.approx(one.standard_error[row, FIVE])


# --- what they never touch


def test_unasked_for_they_are_not_there(known):
    entries = [*known, *visits(20, seed=12, graded=False, name="u")[1]]
    weak, plain = table_of(entries), table_of(entries, weak_labels=False)
    assert plain.is_weak is None
    assert plain.graded is plain.accuracy
    assert np.array_equal(weak.graded, plain.accuracy, equal_nan=True)
    others = {field.name for field in fields(plain)} - {"accuracy", "standard_error", "is_weak"}
    for name in others:
        ours, theirs = getattr(weak, name), getattr(plain, name)
        same = np.array_equal(ours, theirs, equal_nan=True) if isinstance(ours, np.ndarray) and ours.dtype.kind == "f" else None
        assert same or np.array_equal(ours, theirs), name


def test_a_grade_is_the_same_with_and_without_them(known):
    entries = [*known, *visits(20, seed=12, graded=False, name="u")[1]]
    weak, plain = table_of(entries), table_of(entries, weak_labels=False)
    graded = plain.is_observed
    assert weak.accuracy[graded].tolist() == plain.accuracy[graded].tolist()
    assert weak.standard_error[graded].tolist() == plain.standard_error[graded].tolist()


def test_estimates_rest_on_grades_alone(known):
    entries = [*known, *visits(200, seed=13, graded=False, name="u")[1]]
    weak, plain = (Revealed.scores(table_of(entries, weak_labels=asked)) for asked in (True, False))
    assert weak.task_ids == plain.task_ids
    assert weak.n_settled.tolist() == plain.n_settled.tolist()
    for ours, theirs in ((weak.value, plain.value), (weak.prob, plain.prob), (weak.rows, plain.rows)):
        assert np.array_equal(ours, theirs, equal_nan=True)
    even = np.full((len(entries), len(MENU)), 1 / len(MENU))
    terms = [doubly_robust(table_of(entries, weak_labels=asked), even / 2, even) for asked in (True, False)]
    assert np.array_equal(*terms)


# --- learning again from a ledger


@pytest.fixture(scope="module")
def thin():
    """A ledger of a cold start: 100 tasks that were graded, and 150 that were not."""
    router = BudgetRouter(world.MENU, BUDGET, ledger=MemoryLedger(), seed=1)
    world.serve(router, world.tasks(100, seed=1), seed=1)
    world.serve(router, world.tasks(150, seed=2), seed=2, grade=False)
    return router.ledger


def test_a_refresh_learns_from_them_and_counts_them_apart(thin):
    plain, weak = (refresh(thin, menu=world.MENU, budget=BUDGET, weak_labels=asked) for asked in (False, True))
    votes = [entry for entry in thin.read() if entry.decision.strategy.name == "self_consistency_3" and entry.outcome is None]
    assert set(plain.n_weak.values()) == {0}
    assert weak.n_weak == {"single_shot": len(votes), "self_consistency_3": len(votes), "extended_cot_high": 0}
    assert weak.n_graded == plain.n_graded
    assert weak.weak_doubts == ()
    assert weak.version != plain.version
    assert thin.registry.load(weak.version).evidence["n_weak"] == weak.n_weak
    for ours, theirs in ((weak.accuracy, plain.accuracy), (weak.gain, plain.gain)):
        assert (ours.n, ours.n_tasks) == (theirs.n, theirs.n_tasks)


def test_a_refresh_says_why_it_gave_none():
    router = BudgetRouter(world.MENU, BUDGET, ledger=MemoryLedger(), seed=1)
    world.serve(router, world.tasks(20, seed=1), seed=1)
    world.serve(router, world.tasks(20, seed=2), seed=2, grade=False)
    told = refresh(router.ledger, menu=world.MENU, budget=BUDGET, weak_labels=True)
    assert set(told.n_weak.values()) == {0}
    assert [doubt.split(":")[0] for doubt in told.weak_doubts] == ["self_consistency_3"]


def test_without_a_grade_there_is_nothing_to_refresh_from(thin):
    ungraded = BudgetRouter(world.MENU, BUDGET, ledger=MemoryLedger(), seed=1)
    world.serve(ungraded, world.tasks(50, seed=2), seed=2, grade=False)
    with pytest.raises(NotEnoughEvidence, match="none of the 50 settled decisions is graded"):
        refresh(ungraded.ledger, menu=world.MENU, budget=BUDGET, weak_labels=True)
