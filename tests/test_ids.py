"""Ids sort by time, and no two are equal: not between threads, nor after a fork, nor when the clock goes back."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise, repeat
from uuid import RFC_4122, UUID

import pytest

from budget_router.ids import Ids, new_id

MS = 1_000_000


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond():
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    ms = round(at.timestamp() * 1000)
    made = Ids(clock=lambda: ms * MS)()
    one = UUID(made)
    assert (one.version, one.variant, one.hex) == (7, RFC_4122, made)
    assert one.int >> 80 == ms


def test_ids_of_a_process_rise():
    made = [new_id() for _ in range(10_000)]
    assert all(one < other for one, other in pairwise(made))


@pytest.mark.parametrize("later_ms", [0, -3_600_000], ids=["stands still", "goes back an hour"])
def test_ids_rise_while_the_clock(later_ms):
    clock = iter([10_000_000 * MS, *repeat((10_000_000 + later_ms) * MS, 100)])
    make = Ids(clock=lambda: next(clock))
    made = [make() for _ in range(101)]
    assert all(one < other for one, other in pairwise(made))


def test_a_counter_that_runs_over_goes_on_in_the_next_millisecond():
    make = Ids(clock=lambda: 5 * MS)
    first = make()
    make._counter = 2**42 - 2  # as if a millisecond had seen that many
    last, over = make(), make()
    assert first < last < over
    assert [UUID(one).int >> 80 for one in (last, over)] == [5, 6]


def test_threads_share_no_id():
    with ThreadPoolExecutor(8) as pool:
        made = [one for many in pool.map(lambda _: [new_id() for _ in range(500)], range(8)) for one in many]
    assert len(set(made)) == len(made)


def test_two_makers_count_from_different_numbers():
    one, other = (Ids(clock=lambda: 5 * MS) for _ in range(2))
    assert one()[:24] != other()[:24]  # all but what is chance in every id


def test_a_fork_counts_anew(monkeypatch):
    monkeypatch.setattr(new_id, "_clock", lambda: 5 * MS)  # else a new millisecond would begin anew as well
    new_id.begin_anew()
    here, there = os.pipe()
    parents = new_id()
    if not (child := os.fork()):
        os.write(there, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    childs, next_of_parent = os.read(here, 32).decode(), new_id()
    assert next_of_parent[:24] == f"{int(parents[:24], 16) + 1:x}".zfill(24)
    assert childs[:24] != next_of_parent[:24]
