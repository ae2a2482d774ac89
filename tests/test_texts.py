"""Texts of a long log stand in a file, and read as those that are held in memory."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from budget_router.features import texts as subject
from budget_router.features.texts import FiledTexts, Texts, chosen_texts

SAID = ["two plus two", {7: 2, 9: 1}, None, 'a "quoted"\nline', "日本語 \U0001f600", "", "\ud800"] * 5
READ = [{} if text is None else text for text in SAID]


def gathered():
    texts = Texts()
    for text in SAID:
        texts.append(text)
    return texts.gathered()


@pytest.fixture(params=["held", "filed"])
def texts(request, monkeypatch):
    monkeypatch.setattr(subject, "MAX_HELD", 50 if request.param == "filed" else 10_000)
    found = gathered()
    assert isinstance(found, FiledTexts if request.param == "filed" else tuple)
    return found


def test_texts_are_read_as_they_were_said(texts):
    assert list(texts) == READ
    assert [texts[row] for row in range(len(texts))] == READ
    assert list(texts[3:8]) == READ[3:8]


def test_chosen_texts_are_those_of_their_rows_again_and_again(texts):
    some = chosen_texts(texts, np.array([4, 1, 2, 9]))
    assert list(some) == [READ[4], READ[1], READ[2], READ[9]]
    assert list(chosen_texts(some, np.array([3, 0]))) == [READ[9], READ[4]]


def test_another_process_is_told_the_texts_themselves(texts):
    told = pickle.loads(pickle.dumps(texts))
    assert isinstance(told, tuple)
    assert list(told) == READ


@pytest.mark.parametrize("most_held", [50, 10_000])
def test_what_was_gathered_so_far_goes_over_to_another_process(monkeypatch, most_held):
    monkeypatch.setattr(subject, "MAX_HELD", most_held)
    texts = Texts()
    for text in SAID[:-1]:
        texts.append(text)
    told = pickle.loads(pickle.dumps(texts))
    told.append(SAID[-1])
    assert list(told.gathered()) == READ


def test_of_a_log_without_texts_none_are_told():
    texts = Texts()
    texts.append(None)
    assert texts.gathered() is None
    assert pickle.loads(pickle.dumps(texts)).gathered() is None
    assert chosen_texts(None, np.array([0])) is None


@pytest.mark.skipif(sys.platform != "linux", reason="lists its open files by /proc")
def test_nobody_else_can_open_the_file_and_nothing_stays_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(subject, "MAX_HELD", 50)
    monkeypatch.setattr(subject.tempfile, "tempdir", str(tmp_path))
    found = gathered()

    def opened():
        return [name for name in map(_target, Path("/proc/self/fd").iterdir()) if name.startswith(str(tmp_path))]

    assert list(tmp_path.iterdir()) == []
    assert len(opened()) == 1
    del found
    assert opened() == []


def test_a_full_disk_is_told_with_its_mend(monkeypatch):
    monkeypatch.setattr(subject, "MAX_HELD", 50)

    def full(*_given, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject.tempfile, "TemporaryFile", full)
    with pytest.raises(subject.BudgetRouterError, match=r"No space left on device.*TMPDIR"):
        gathered()


def _target(descriptor):
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
