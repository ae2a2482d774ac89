"""What numbers tell apart: ids as arrays, however a file's rows lie."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert

from budget_router_sql.columns import ROW, ROWS_AT_ONCE, Fingerprints, chunks, numbers
from budget_router_sql.schema import decisions, menus

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
PRINTS = Fingerprints(np.random.default_rng(0))


def array_of(values):
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


@given(st.lists(texts, min_size=1, max_size=20))
def test_a_text_has_one_number_whatever_stands_beside_it(ids):
    alone = [PRINTS.of(array_of([each]))[0] for each in ids]
    assert (
        PRINTS.of(array_of(ids)).tolist()
        == alone
        == PRINTS.of(array_of([*ids, "much longer than the others" * 3, None]))[:-2].tolist()
    )
    assert len(set(alone)) == len(set(ids))


def test_ids_that_differ_in_one_letter_have_numbers_of_their_own():
    ids = [f"{number:032x}" for number in range(50_000)] + [
        f"{number:x}".ljust(32, "0") for number in range(2**60, 2**60 + 50_000)
    ]
    found = PRINTS.of(array_of(ids))
    assert len(np.unique(found)) == len(set(ids))
    assert len(np.unique(PRINTS.pairs(found, found[::-1]))) == len(set(zip(ids, ids[::-1], strict=True)))


def test_nothing_is_no_text():
    assert PRINTS.of('[null,"a"]')[0] == 0 != PRINTS.of('[""]')[0]


def test_counts_are_read_with_what_is_not_known_and_nothing_else_is_taken_for_one():
    found, is_known = numbers("[3,null,0]")
    assert (found.tolist(), is_known.tolist()) == ([3, 0, 0], [True, False, True])
    for array in ("[1,1.5]", '["1"]', "[9223372036854775808]"):
        with pytest.raises((ValueError, OverflowError)):
            numbers(array)


def test_rows_come_in_the_order_of_their_keys_however_far_apart_these_lie():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        menus.create(connection)
        names = [f"menu {number}" for number in range(ROWS_AT_ONCE + 3)]
        connection.execute(insert(menus), [{"hash": name, "strategies": "[]"} for name in names])
        connection.exec_driver_sql("UPDATE menus SET rowid = 1000000000000 WHERE hash = 'menu 0'")
        by_row = [json.loads(array) for (array,) in chunks(connection, menus, [menus.c.hash], key=ROW)]
        by_name = [json.loads(array) for (array,) in chunks(connection, menus, [menus.c.hash], key=menus.c.hash)]
        decisions.create(connection)
        assert list(chunks(connection, decisions, [decisions.c.id], key=decisions.c.id)) == []
    assert [len(part) for part in by_row] == [ROWS_AT_ONCE, 3]
    assert [name for part in by_row for name in part] == [*names[1:], names[0]]
    assert [name for part in by_name for name in part] == sorted(names)
