"""Tasks unlike those that trained are told from those that chance alone makes strange, and it is said in what they are unlike."""

from typing import NamedTuple

import numpy as np
import pytest

from budget_router.features import Featuriser, OutOfRange, structural_features
from budget_router.features.familiarity import Familiarity
from budget_router.features.known_facts import LEAST_BEYOND, KnownFacts
from budget_router.features.projection import N_BUCKETS, Counted, counted
from budget_router.features.ranges import TrainedRange
from budget_router.features.strangeness import LEVEL, N_PARTS, n_beyond
from budget_router.policies import ValuePolicy
from budget_router.policies.artifact import policy_from, record_of
from tests.test_policies import MENU, arrays_of, forged, learned

N_TRAINED = 450


def a_language(*, seed):
    """Words of its own, as often used as a language's are."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("abcdefghiklmnoprstuvw"), int(rng.integers(2, 10)))) for _ in range(3000)])
    frequency = 1 / (np.arange(len(words)) + 3)
    return words, frequency / frequency.sum()


ENGLISH, FOREIGN = a_language(seed=1), a_language(seed=2)


def some_texts(n_tasks, rng, language=ENGLISH):
    words, frequency = language
    return [" ".join(rng.choice(words, int(rng.integers(8, 40)), p=frequency)) + " ?" for _ in range(n_tasks)]


def some_facts(n_tasks, rng):
    """A team, one of them rare; a heavy-tailed number; a turn that is not always told; a number of its own for each task."""
    return [
        {"team": str(rng.choice(["north", "south", "rare"], p=[0.6, 0.397, 0.003])), "context": float(rng.lognormal(6, 1))}
        | {"ticket": f"T-{rng.integers(10**9)}"}
        | ({"turn": int(rng.geometric(0.3))} if rng.random() < 0.7 else {})
        for _ in range(n_tasks)
    ]


class Log(NamedTuple):
    """What is known of some tasks before any answer."""

    structure: np.ndarray
    texts: list
    facts: list

    @classmethod
    def of(cls, texts, facts):
        return cls(np.array([structural_features(text) for text in texts]), texts, facts)

    def rows(self, chosen):
        return Log(self.structure[chosen], [self.texts[row] for row in chosen], [self.facts[row] for row in chosen])

    def trained(self):
        return TrainedRange().fit(self.structure, counted(self.texts), self.facts, np.arange(len(self.texts)))


def outside(trained, log):
    return OutOfRange.of([trained.strange(log.structure, counted(log.texts), log.facts)], len(log.texts))


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(3)
    return Log.of(some_texts(N_TRAINED, rng), some_facts(N_TRAINED, rng))


@pytest.fixture(scope="module")
def trained(log):
    return log.trained()


def fresh(*, seed=4, language=ENGLISH, n_tasks=200, **told):
    rng = np.random.default_rng(seed)
    return Log.of(some_texts(n_tasks, rng, language), [{**facts, **told} for facts in some_facts(n_tasks, rng)])


def words_in(buckets):
    """Texts whose n-grams fall into (n_texts, n) buckets."""
    n_texts, size = buckets.shape
    return [Counted(buckets.ravel().astype(np.int32), np.ones(buckets.size, np.int32), np.full(n_texts, size))]


# --- tasks like those that trained


@pytest.mark.parametrize(("n_trained", "n_new"), [(100, 45), (315, 135)])
def test_of_tasks_that_could_have_trained_no_more_are_out_of_range_than_the_law_says(log, n_trained, n_new):
    rng, n_splits = np.random.default_rng(5), 30
    shares, n_over = [], 0
    for _ in range(n_splits):
        order = rng.permutation(N_TRAINED)
        trained = log.rows(order[:n_trained]).trained()
        shares.append(outside(trained, log.rows(order[n_trained : n_trained + n_new])).share)
        n_over += shares[-1] > trained.chance(n_new)
    standard_error = np.std(shares) / np.sqrt(n_splits)
    bound = sum(max(LEVEL, n_at_least / (n_trained + 1)) for n_at_least in (1, 1, 1 + LEAST_BEYOND))
    assert np.mean(shares) < bound + 4 * standard_error
    assert n_over < 0.01 * n_splits + 4 * np.sqrt(0.01 * n_splits)


def test_chance_asks_for_less_the_longer_the_log(trained):
    shares = [trained.chance(n_tasks) for n_tasks in (20, 200, 20_000)]
    assert shares == sorted(shares, reverse=True)
    assert 3 * n_beyond(N_TRAINED) / N_TRAINED < shares[-1] < 0.05


def test_beside_each_other_few_of_those_that_trained_are_strange(trained):
    assert trained.held_out_.share <= (2 * n_beyond(N_TRAINED) + LEAST_BEYOND) / N_TRAINED


def test_many_facts_together_make_no_more_tasks_strange_than_the_law_says():
    rng, n_splits, n_trained, n_new = np.random.default_rng(8), 30, 250, 250
    frequency = 1 / (np.arange(200) + 1) ** 3.0
    shares = []
    for _ in range(n_splits):
        drawn = rng.choice(200, (n_trained + n_new, 20), p=frequency / frequency.sum())  # each name has values that come but once
        facts = [{f"name {column}": f"value {value}" for column, value in enumerate(row)} for row in drawn.tolist()]
        strange = KnownFacts().fit(facts[:n_trained], np.arange(n_trained) % N_PARTS).strange(facts[n_trained:])
        shares.append(OutOfRange.of([strange], n_new).share)
    assert np.mean(shares) < (1 + LEAST_BEYOND) / (n_trained + 1) + 4 * np.std(shares) / np.sqrt(n_splits)


def test_what_only_its_own_thread_says_does_not_make_a_word_known():
    rng, n_threads = np.random.default_rng(6), 80
    texts = np.concatenate([rng.choice(rng.integers(0, N_BUCKETS, 60), (4, 40)) for _ in range(2 * n_threads)])
    trained, new = (words_in(half) for half in np.split(texts, 2))
    thread = np.repeat(np.arange(n_threads), 4)
    by_thread, by_text = (Familiarity().fit(trained, one % N_PARTS) for one in (thread, np.arange(4 * n_threads)))
    assert by_thread.strange(new)["words"].mean() < 0.02
    assert by_text.strange(new)["words"].mean() > 0.5


def test_a_log_of_one_cluster_tells_no_range(log):
    featuriser = Featuriser(2)
    featuriser.fit_transform(*log.rows(np.arange(30)), cluster=np.zeros(30, dtype=np.intp))
    assert featuriser.range_ is None
    assert featuriser.strange(*log) is None


def test_chance_counts_threads_not_their_tasks(log):
    by_task, by_thread = (TrainedRange().fit(log.structure, None, None, np.arange(N_TRAINED) // size) for size in (1, 15))
    assert by_task.chance(150) < 0.05 < by_thread.chance(10)
    assert by_thread.chance(10) <= 1.0


# --- tasks unlike them


def test_another_language_is_out_of_range_by_its_words(trained):
    found = outside(trained, fresh(language=FOREIGN))
    assert found.share > 0.9
    assert next(iter(found.by)) == "words"


def test_of_a_long_log_that_has_hit_every_bucket_a_stranger_is_told_by_how_rare_its_words_are():
    rng, size = np.random.default_rng(7), 60
    frequency = 1 / np.sqrt(np.arange(N_BUCKETS) + 5)
    usual = rng.choice(N_BUCKETS, (8000, size), p=frequency / frequency.sum())
    odd = rng.integers(0, N_BUCKETS, (300, size))

    words = Familiarity().fit(words_in(usual[:7000]), np.arange(7000) % N_PARTS)
    assert (np.bincount(usual[:7000].ravel(), minlength=N_BUCKETS) > 1).mean() > 0.9
    assert words.strange(words_in(usual[7000:]))["words"].mean() < 4 * LEVEL
    assert words.strange(words_in(odd))["words"].mean() > 0.5


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"team": "west"}, "metadata 'team' (a new value)"),
        ({"context": 10 * np.exp(6 + 3.5)}, "metadata 'context' (beyond its numbers)"),
        ({"context": float("nan")}, "metadata 'context' (missing)"),
        ({"context": "much"}, "metadata 'context' (of another kind)"),
        ({"turn": -50}, "metadata 'turn' (beyond its numbers)"),
    ],
)
def test_what_is_odd_about_a_fact_is_named(trained, told, why):
    found = outside(trained, fresh(**told))
    assert found.share == 1.0
    assert found.by[why] == 1.0


@pytest.mark.parametrize("told", [{"ticket": "never seen"}, {"another name": 3}, {"turn": float("nan")}])
def test_what_is_new_by_nature_or_changes_no_decision_is_not_strange(trained, told):
    assert outside(trained, fresh(**told)).share < 0.05


def test_a_text_that_is_longer_than_any_is_named_by_its_length(trained):
    long = fresh()
    longer = Log.of([" ".join([text] * 40) for text in long.texts], long.facts)
    found = outside(trained, longer)
    assert found.share == 1.0
    assert next(iter(found.by)).startswith("structure '")


def test_a_task_may_be_out_of_range_in_several_ways_and_counts_once(trained):
    found = outside(trained, fresh(language=FOREIGN, team="west", context=1e9))
    assert found.share == 1.0
    assert sum(found.by.values()) > 2.5


def test_what_was_erased_is_not_strange(trained, log):
    gone = log.rows(np.arange(20))
    assert not trained.strange(gone.structure, counted([{}] * 20), None)["words"].any()
    assert trained.strange(gone.structure, None, None) == {}


# --- kept with a policy


def test_a_range_is_read_back_and_tells_the_same(log):
    featuriser = Featuriser(2)
    featuriser.fit_transform(*log, cluster=np.arange(N_TRAINED))
    again = Featuriser.from_arrays(featuriser.arrays())
    assert again.version == featuriser.version
    for new in (fresh(), fresh(language=FOREIGN), fresh(team="west", context=1e9)):
        assert outside(again.range_, new) == outside(featuriser.range_, new)
        assert again.strange(*new).keys() == again.range_.strange(new.structure, counted(new.texts), new.facts).keys()
    missing = outside(again.range_, fresh(context=float("nan")))
    assert missing.by["metadata (a name that all tasks had is missing)"] == 1.0


def test_a_range_is_small_and_holds_no_text(trained):
    arrays = trained.arrays()
    assert sum(array.nbytes for array in arrays.values()) < 2000
    assert {array.dtype.kind for array in arrays.values()} == {"i", "f"}


@pytest.mark.parametrize("name", ["names", "kinds", "reach", "asks", "values"])
def test_facts_that_do_not_fit_each_other_are_refused_by_name(trained, name):
    arrays = trained.facts_.arrays()
    with pytest.raises(ValueError, match="known facts"):
        KnownFacts.from_arrays(arrays | {name: arrays[name][None]})


def test_a_policy_of_an_earlier_version_serves_and_does_not_tell_its_range():
    policy = learned(ValuePolicy, n_tasks=60)
    old = {name: array for name, array in arrays_of(policy).items() if "range" not in name}
    bare = Featuriser.from_arrays({name[9:]: array for name, array in old.items() if name.startswith("features.")})
    of_old = policy_from(forged(policy, old, features_version=bare.version), MENU, unit="tokens")
    of_new = policy_from(record_of(policy, evidence={}), MENU, unit="tokens")
    shares = [one.out_of_range(policy.table_, np.arange(60)).share for one in (of_old, of_new)]
    assert np.isnan(shares).tolist() == [True, False]
