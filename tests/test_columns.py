"""User columns: what is known of a task beside its text is learned from, whatever it is, and never written out."""

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import Task
from budget_router.errors import ArtifactError
from budget_router.features import Columns, Featuriser, structural_features
from budget_router.features.columns import MAX_CATEGORIES, MAX_NUMBERS, MIN_TASKS
from budget_router.features.standardising import REACH
from budget_router.outcomes import OutcomeTable
from budget_router.policies import ValuePolicy
from budget_router.policies.artifact import policy_from, record_of
from tests.test_policies import MENU, SHOT, THINK, arrays_of, forged, observed_table, refused, world

law = settings(derandomize=True, deadline=None, max_examples=80)

any_fact = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
any_facts = st.dictionaries(st.sampled_from(["team", "turn", "share", "is_new", "ж"]), any_fact, max_size=5)


def tickets(n_tasks, *, seed=0):
    """Facts of many tasks: a team, a number with a heavy tail that is not always known, a flag, an id of its own."""
    rng = np.random.default_rng(seed)
    return [
        {"team": str(rng.choice(["north", "south", "east"])), "is_new": bool(rng.integers(2)), "ticket": f"T-{seed}-{row}"}
        | ({"context_tokens": int(rng.lognormal(6, 2))} if rng.random() < 0.8 else {})
        for row in range(n_tasks)
    ]


@pytest.fixture(scope="module")
def fitted():
    return Columns().fit(tickets(400))


# --- rows


@law
@given(st.lists(any_facts, max_size=40), any_facts)
def test_any_facts_become_finite_rows(metadata, fresh):
    found = Columns().fit(metadata * 5).transform([*metadata, fresh])
    assert found.shape[0] == len(metadata) + 1
    assert np.isfinite(found).all()


@law
@given(metadata=st.lists(any_facts, min_size=1, max_size=6))
def test_a_batch_gives_the_same_bits_as_single_rows(fitted, metadata):
    batch = fitted.transform([*metadata, *tickets(3, seed=1)])
    single = np.vstack([fitted.transform([facts]) for facts in [*metadata, *tickets(3, seed=1)]])
    assert batch.tobytes() == single.tobytes()


@law
@given(st.randoms(use_true_random=False))
def test_shuffling_tasks_changes_nothing(random):
    metadata = tickets(100)
    shuffled = random.sample(metadata, len(metadata))
    fresh = tickets(20, seed=1)
    assert Columns().fit(shuffled).transform(fresh) == pytest.approx(Columns().fit(metadata).transform(fresh), abs=1e-12)


def test_the_order_of_facts_changes_nothing(fitted):
    facts = tickets(1, seed=2)[0]
    assert fitted.transform([facts]).tobytes() == fitted.transform([dict(reversed(facts.items()))]).tobytes()


def test_three_teams_a_flag_and_a_number_with_gaps_are_six_columns(fitted):
    assert (len(fitted.numbers_), len(fitted.categories_)) == (2, 4)  # whether the number is known is the sixth


def test_rows_have_about_unit_length(fitted):
    lengths = np.linalg.norm(fitted.transform(tickets(400)), axis=1)
    assert np.sqrt((lengths**2).mean()) == pytest.approx(math.sqrt(2), rel=0.1)  # two blocks, of numbers and of categories


def test_a_category_seldom_seen_counts_as_one_never_seen():
    metadata = [{"team": "north"}] * 50 + [{"team": "south"}] * 50 + [{"team": "rare"}] * (MIN_TASKS - 1)
    north, rare, unseen, unknown = Columns().fit(metadata).transform([{"team": one} for one in ("north", "rare", "new")] + [{}])
    assert north.any()
    assert not rare.any()
    assert not unseen.any()
    assert not unknown.any()


def test_what_every_task_has_tells_nothing():
    assert Columns().fit([{"team": "north", "turn": 1, "is_new": False}] * 100).width == 0


def test_an_id_of_each_task_tells_nothing():
    assert Columns().fit([{"ticket": f"T-{row}"} for row in range(500)]).width == 0


def test_a_number_that_is_not_known_counts_as_the_mean_and_is_told_apart():
    metadata = [{"turn": turn} for turn in range(50)] + [{}] * 50
    known, unknown = Columns().fit(metadata).transform([{"turn": 7}, {}])
    assert unknown[0] == 0
    assert (known[1], unknown[1]) == (1, 0)


def test_one_odd_number_cannot_run_away(fitted):
    huge = [{"context_tokens": number} for number in (10**400, -(10**400), math.inf, -math.inf, 1e308)]
    assert np.abs(fitted.transform(huge)[:, :2]).max() <= REACH / math.sqrt(2)


def test_a_number_under_the_name_of_a_text_is_no_category(fitted):
    assert not fitted.transform([{"team": 3}])[:, 2:].any()


def test_names_and_values_are_not_mixed_up():
    metadata = [{"ab": "c"}, {"a": "bc"}, {}] * 20
    one, other, none = Columns().fit(metadata).transform([{"ab": "c"}, {"a": "bc"}, {}])
    assert one @ other == 0
    assert one.any()
    assert other.any()
    assert not none.any()


def test_of_many_facts_the_most_frequent_are_kept():
    rng = np.random.default_rng(0)
    metadata = [
        {f"number {one}": float(rng.normal()) for one in range(MAX_NUMBERS + 5)}
        | {f"name {one}": str(rng.integers(20)) for one in range(MAX_CATEGORIES)}
        for _ in range(300)
    ]
    columns = Columns().fit(metadata)
    assert (len(columns.numbers_), len(columns.categories_)) == (MAX_NUMBERS, MAX_CATEGORIES)


def test_arrays_hold_all_that_was_learned(fitted):
    again = Columns.from_arrays(**fitted.arrays())
    fresh = tickets(20, seed=3)
    assert again.transform(fresh).tobytes() == fitted.transform(fresh).tobytes()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("numbers", np.zeros(2)),
        ("categories", np.zeros(4)),
        ("categories", np.zeros((2, 2), dtype=np.int64)),
        ("centre", np.zeros(3)),
        ("scale", np.zeros(2)),
        ("scale", np.ones(1)),
        ("length", np.zeros(1)),
        ("length", np.ones(2)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fitted, name, wrong):
    with pytest.raises(ValueError, match="columns"):
        Columns.from_arrays(**(fitted.arrays() | {name: wrong}))


# --- beside the other features


def test_without_facts_all_features_are_what_they_were():
    texts = ["What is 3 + 4 ?", "Prove that it is connected ."] * 10
    structure = np.array([structural_features(text) for text in texts])
    plain, bare = Featuriser(4).fit(structure, texts), Featuriser(4).fit(structure, texts, [{}] * 20)
    assert plain.version == bare.version
    assert bare.transform(texts, [{"team": "north"}] * 20).tobytes() == plain.transform(texts).tobytes()


def test_the_version_names_the_columns():
    texts = ["What is 3 + 4 ?"] * 40
    structure = np.array([structural_features(text) for text in texts])
    north, south = (
        Featuriser(4).fit(structure, texts, [{"team": team}] * 20 + [{"team": "west"}] * 20) for team in ("north", "south")
    )
    assert "columns-1" in north.version
    assert north.version != south.version


# --- policies

SECRET = "contract of Dr. Müller"


def told_table(n_tasks=500, *, seed=1):
    """Texts that say nothing, and a fact that tells everything."""
    _, kinds, accuracy, cost = world(n_tasks, seed=seed)
    table = observed_table(["Do as before."] * n_tasks, accuracy, cost, seed=seed)
    told = {"sum": "errand", "proof": SECRET}
    return kinds, OutcomeTable(**{**vars(table), "metadata": tuple({"kind of work": told[kind]} for kind in kinds)})


@pytest.fixture(scope="module")
def policy():
    _, table = told_table()
    return ValuePolicy(n_components=2).fit(table, rng=np.random.default_rng(0))


def fresh_tasks(n_tasks=200):
    rng = np.random.default_rng(7)
    kinds = rng.choice(["errand", SECRET], n_tasks)
    return kinds, [Task("Do as before.", metadata={"kind of work": str(kind)}) for kind in kinds]


def test_a_policy_reads_what_the_text_does_not_say(policy):
    kinds, tasks = fresh_tasks()
    chosen = policy.choose(policy.predict(tasks), 132).probabilities
    assert (chosen[kinds == SECRET].argmax(axis=1) == THINK).mean() > 0.9
    assert (chosen[kinds == "errand"].argmax(axis=1) == SHOT).mean() > 0.9


def test_a_policy_with_columns_decides_for_tasks_without_facts(policy):
    assert np.isfinite(policy.predict([Task("Do as before."), Task("Do as before.", metadata={"kind of work": 3})]).score).all()


def test_a_record_restores_the_columns_bit_by_bit(policy):
    _, tasks = fresh_tasks()
    again = policy_from(record_of(policy, evidence={}), MENU, unit="tokens")
    assert again.predict(tasks).score.tobytes() == policy.predict(tasks).score.tobytes()


def test_no_fact_is_written_out(policy):
    record = record_of(policy, evidence={})
    with np.load(io.BytesIO(record.arrays)) as packed:
        content = record.manifest.encode() + b"".join(name.encode() + packed[name].tobytes() for name in packed)
    for word in (SECRET, "Müller", "errand", "kind of work"):
        assert word.encode() not in content
        assert word.encode("utf-32-le") not in content


@pytest.mark.parametrize("name", ["numbers", "centre", "scale", "categories", "length"])
def test_columns_that_were_tampered_with_are_refused(policy, name):
    arrays = arrays_of(policy)
    column = f"features.columns_{name}"
    refused(forged(policy, {key: array for key, array in arrays.items() if key != column}))
    refused(forged(policy, arrays | {column: np.concatenate([arrays[column], [1, 1]]).astype(arrays[column].dtype)}))


def test_a_policy_whose_columns_were_computed_otherwise_is_refused(policy):
    version = policy.featuriser_.version.replace("columns-1", "columns-0")
    with pytest.raises(ArtifactError, match=r"reads features structure-1\+columns-0"):
        policy_from(forged(policy, features_version=version), MENU, unit="tokens")
