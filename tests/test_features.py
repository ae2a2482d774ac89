"""Features see only the text, never fail on one, and are the same for one task as for many."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router.errors import ArtifactError
from budget_router.features import STRUCTURE_NAMES, Featuriser, TextProjection, structural_features
from budget_router.features.reading import MAX_READ_CHARACTERS, read

law = settings(derandomize=True, deadline=None)

any_text = st.text(st.characters(exclude_categories=()), max_size=200)
WORDS = read("how many apples does Tom have if he buys 3 bags of 12 for $4.50 each and gives half away? Prove that x > 0.")


def some_texts(n_texts, *, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(3, 30)))) for _ in range(n_texts)]


def structure_of(texts):
    return np.array([structural_features(text) for text in texts])


@pytest.fixture(scope="module")
def fitted():
    texts = some_texts(60)
    return Featuriser(8).fit(structure_of(texts), texts)


@law
@given(any_text)
def test_structure_describes_any_text_by_finite_numbers(text):
    found = structural_features(text)
    assert len(found) == len(STRUCTURE_NAMES)
    assert all(map(math.isfinite, found))
    assert min(found) >= 0


@law
@given(st.lists(any_text, min_size=1, max_size=6))
def test_any_texts_become_finite_rows(texts):
    found = Featuriser(8).fit(structure_of(texts), texts).transform(texts)
    assert found.shape[0] == len(texts)
    assert np.isfinite(found).all()


@law
@given(texts=st.lists(any_text, min_size=1, max_size=6))
def test_a_batch_gives_the_same_bits_as_single_rows(fitted, texts):
    batch = fitted.transform(texts)
    single = np.vstack([fitted.transform([text]) for text in texts])
    assert batch.tobytes() == single.tobytes()


def test_no_text_gives_no_row(fitted):
    assert fitted.transform([]).shape == (0, fitted.transform(["a"]).shape[1])


def test_texts_without_a_single_word_are_described_by_structure_alone():
    found = Featuriser().fit(structure_of(["_"] * 6), ["_"] * 6).transform(["_", "a word"])
    assert found.shape == (2, len(STRUCTURE_NAMES))


def test_rows_of_the_projection_have_unit_length_or_are_zero(fitted):
    projection = fitted.projection_
    known, unknown = projection.transform(["how many apples", "квітка"])
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-12)
    assert not unknown.any()


def test_figures_and_case_do_not_move_the_projection(fitted):
    one, other = fitted.projection_.transform(
        ["how many apples if he buys 3 bags of 12", "How many apples if he buys 7 bags of 45"]
    )
    assert one.tobytes() == other.tobytes()


def test_texts_of_one_form_lie_closer_than_texts_of_another():
    sums = [f"what is {n} plus {n + 3} ?" for n in range(20)]
    proofs = [f"prove that the graph of order {n} is connected" for n in range(20)]
    one, same, other = (
        TextProjection(4).fit(sums + proofs).transform([sums[0], "what is 99 plus 1 ?", "prove that it is connected"])
    )
    assert one @ same > one @ other + 0.5


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("What is 27 + 41?", "numbers", 2),
        ("What is 27 + 41?", "operators", 1),
        ("What is 27 + 41?", "questions", 1),
        (r"Show \frac{1}{2} > \sqrt{x}", "latex", 2),
        ("one\ntwo\nthree", "lines", 2),
        ("NASA and the ESA", "capitals", 2),
        ("über café", "non_ascii", 2),
        ("def f(): return None", "code", 3),
    ],
)
def test_structure_counts_what_its_names_say(text, name, count):
    assert dict(zip(STRUCTURE_NAMES, structural_features(text), strict=True))[name] == pytest.approx(math.log1p(count))


def test_one_odd_text_cannot_run_away(fitted):
    found = fitted.transform(["9" * 100_000, "? " * 50_000, "Ж" * 100_000])
    assert np.abs(found[:, : len(STRUCTURE_NAMES)]).max() <= 4 / math.sqrt(len(STRUCTURE_NAMES))


@pytest.mark.parametrize("unit", ["word 1,250 ", "a", "1", "1,111", "\\", " ", "(", "é"])
def test_of_a_million_characters_no_more_is_read_than_of_twenty_thousand(fitted, unit):
    text = (unit * 1_000_000)[:1_000_000]

    assert sum(map(len, read(text))) <= MAX_READ_CHARACTERS
    assert np.isfinite(fitted.transform([text])).all()


@law
@given(st.text(st.characters(max_codepoint=127), max_size=200))
def test_a_text_of_ascii_characters_is_read_like_any_other(text):
    assert read(text) == read(f"{text} é")[:-1]


def test_of_a_long_text_its_beginning_and_its_end_are_read():
    tokens = read("first " + "x " * MAX_READ_CHARACTERS + " last")
    assert (tokens[0], tokens[-1]) == ("first", "last")
    assert len(tokens) < MAX_READ_CHARACTERS


def test_features_see_only_the_text_and_what_is_known_beside_it():
    assert list(inspect.signature(structural_features).parameters) == ["text"]
    assert list(inspect.signature(Featuriser.transform).parameters) == ["self", "texts", "metadata"]


def test_fitting_twice_on_the_same_texts_learns_the_same():
    texts = some_texts(40)
    one, other = (Featuriser(8).fit(structure_of(texts), texts) for _ in range(2))
    assert one.version == other.version
    assert one.transform(texts).tobytes() == other.transform(texts).tobytes()


def test_the_version_changes_when_what_is_learned_changes():
    texts = some_texts(40)
    structure = structure_of(texts)
    versions = [
        Featuriser(8).fit(structure, texts).version,
        Featuriser(7).fit(structure, texts).version,
        Featuriser(8).fit(structure, None).version,
        Featuriser(8).fit(structure[1:], texts[1:]).version,
        Featuriser(8).fit(structure, [*texts[1:], "an entirely other text , an entirely other text"]).version,
    ]
    assert len(set(versions)) == len(versions)


def test_arrays_hold_all_that_was_learned(fitted):
    again = Featuriser.from_arrays(fitted.arrays())
    texts = [*some_texts(10, seed=1), "", "квітка"]
    assert again.version == fitted.version
    assert again.transform(texts).tobytes() == fitted.transform(texts).tobytes()


def test_arrays_without_texts_hold_the_structure_alone():
    texts = some_texts(10)
    blind = Featuriser().fit(structure_of(texts), None)
    again = Featuriser.from_arrays(blind.arrays())
    assert again.transform(texts).tobytes() == blind.transform(texts).tobytes()
    assert again.transform(texts).shape[1] == len(STRUCTURE_NAMES)


def test_arrays_of_another_structure_are_refused(fitted):
    arrays = fitted.arrays() | {"centre": np.zeros(3)}
    with pytest.raises(ArtifactError, match="reads 3 structural features"):
        Featuriser.from_arrays(arrays)


def test_features_do_not_depend_on_what_was_read_before(fitted):
    alone = fitted.transform(["how many bags ?"]).tobytes()
    fitted.transform(some_texts(100, seed=2))
    assert fitted.transform(["how many bags ?"]).tobytes() == alone


@pytest.mark.parametrize("texts", [["Add 3 and 4.", "Prove it for all n.", "Add 5 and 6."] * 3, None])
def test_learning_and_transforming_at_once_is_the_same_as_one_after_the_other(texts):
    structure = np.array([structural_features(text) for text in texts or ["?"] * 9])
    facts = [{"n": number} for number in range(9)]
    at_once = Featuriser(2)
    told = at_once.fit_transform(structure, texts, facts)
    apart = Featuriser(2).fit(structure, texts, facts)
    assert at_once.version == apart.version
    assert told.tobytes() == apart.transform_known(structure, texts, facts).tobytes()
