"""Spend of a whole file, added up in memory: the sums of `spend_by`, without millions of lookups in places of their own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from sqlalchemy import ColumnElement, Connection, Text, cast, func

from budget_router.allocation import FloatArray, IntArray
from budget_router_sql.columns import Fingerprints, Ids, Numbers, chunks, read, sums
from budget_router_sql.schema import call_closings, decisions, outcomes, settlements

Flags = NDArray[np.bool_]
_AMOUNTS = ("prompt_tokens", "completion_tokens", "nano_usd")


class _Spent(NamedTuple):
    """What each of some decisions spent; (n,) each."""

    n_calls: Numbers
    prompt_tokens: Numbers
    completion_tokens: Numbers
    nano_usd: Numbers
    is_priced: Flags
    """Whether any of its money is known."""
    n_unpriced: Numbers


def added_up(connection: Connection, keys: Sequence[ColumnElement[Any]], rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """Rows as `spend_by` gives them, of all decisions, in no order; raises ValueError where counts are no sure numbers.

    Any: keys are columns of any type, and rows hold their values.
    """
    prints = Fingerprints(rng)
    ids, group, groups = _decided(connection, prints, keys)
    order = np.argsort(ids)
    ids, of = ids[order], group[order]
    found = _spent(connection, prints, ids)
    place, score = _latest_grades(connection, prints)
    at = np.minimum(np.searchsorted(place, ids), max(len(place) - 1, 0))
    is_graded = place[at] == ids if len(place) else np.zeros(len(ids), np.bool_)

    def total(counts: Numbers | Flags) -> Numbers:
        sums = np.zeros(len(groups), np.int64)
        np.add.at(sums, of, counts)
        return sums

    graded, scores = of[is_graded], score[at[is_graded]] if len(score) else np.empty(0)
    n_priced, n_graded = total(found.is_priced), total(is_graded)
    mean, squares = (np.bincount(graded, weights=weights, minlength=len(groups)) for weights in (scores, scores**2))
    columns = [
        total(np.ones(len(ids), np.bool_)).tolist(),
        *(total(counts).tolist() for counts in (found.n_calls, found.prompt_tokens, found.completion_tokens)),
        _known(total(found.nano_usd), n_priced),
        total(found.n_unpriced).tolist(),
        n_graded.tolist(),
        *(_known(each, n_graded) for each in (mean, squares)),
    ]
    return [(*key, *numbers) for key, numbers in zip(groups, zip(*columns, strict=True), strict=True)]


def _decided(
    connection: Connection, prints: Fingerprints, keys: Sequence[ColumnElement[Any]]
) -> tuple[Ids, IntArray, list[tuple[Any, ...]]]:  # Any: as above
    """Ids of all decisions, the number of the group each belongs to, and the keys of the groups."""
    numbered: dict[tuple[Any, ...], int] = {}
    ids, groups = [np.empty(0, np.uint64)], [np.empty(0, np.intp)]
    for array, *told in chunks(connection, decisions, [decisions.c.id, *keys], key=decisions.c.position):
        ids.append(prints.of(array))
        rows = zip(*map(from_json, told), strict=True) if told else [()] * len(ids[-1])
        groups.append(np.array([numbered.setdefault(row, len(numbered)) for row in rows], dtype=np.intp))
    return np.concatenate(ids), np.concatenate(groups), list(numbered)


def _spent(connection: Connection, prints: Fingerprints, ids: Ids) -> _Spent:
    """What decisions, given in the order of their numbers, spent: their calls, or where there are none their settlement."""
    settled = read(connection, prints, settlements, ["decision_id"], ["n_calls", *_AMOUNTS])
    place = np.argsort(settled.ids[0])
    at = place[np.minimum(np.searchsorted(settled.ids[0][place], ids), len(place) - 1)] if len(place) else np.zeros(0, np.intp)
    is_settled = settled.ids[0][at] == ids if len(place) else np.zeros(len(ids), np.bool_)
    told = [np.where(is_settled, counts[at], 0) if len(place) else np.zeros(len(ids), np.int64) for counts in settled.counts]
    knows_money = is_settled & settled.is_known[at] if len(place) else is_settled
    del settled
    closed = read(connection, prints, call_closings, ["decision_id"], _AMOUNTS)
    order = np.argsort(closed.ids[0])
    billed = closed.ids[0][order]
    first, last = np.searchsorted(billed, ids), np.searchsorted(billed, ids, side="right")
    n_calls, has_calls = last - first, last > first
    n_priced = sums(closed.is_known[order].astype(np.int64), first, last)
    amounts = [n_calls, *(sums(counts[order], first, last) for counts in closed.counts)]
    is_priced = np.where(has_calls, n_priced > 0, knows_money)
    n_unpriced = np.where(has_calls, n_calls - n_priced, is_settled & (told[0] > 0) & ~knows_money)
    n_calls, prompt_tokens, completion_tokens, nano_usd = (
        np.where(has_calls, amount, settlement) for amount, settlement in zip(amounts, told, strict=True)
    )
    return _Spent(n_calls, prompt_tokens, completion_tokens, nano_usd, is_priced, n_unpriced)


def _latest_grades(connection: Connection, prints: Fingerprints) -> tuple[Ids, FloatArray]:
    """Decisions that were graded, in the order of their numbers, and the latest score of each."""
    ids, moments, scores = [np.empty(0, np.uint64)], [np.empty(0, "S26")], [np.empty(0)]
    exact = func.printf("%!.17g", outcomes.c.score)
    told = [outcomes.c.decision_id, cast(outcomes.c.graded_at, Text), exact]
    for array, graded_at, score in chunks(connection, outcomes, told, key=outcomes.c.position):
        ids.append(prints.of(array))
        moments.append(np.array(from_json(graded_at), dtype="S26"))
        scores.append(np.array(from_json(score)).astype(np.float64))
    of, moment, graded = np.concatenate(ids), np.concatenate(moments), np.concatenate(scores)
    order = np.lexsort((moment, of))  # stable: of equals the last recorded stays last
    is_latest = np.append(of[order][1:] != of[order][:-1], True) if len(of) else np.zeros(0, np.bool_)
    return of[order][is_latest], graded[order][is_latest]


def _known(sums: Numbers | FloatArray, n_known: Numbers) -> list[Any]:  # Any: of whole numbers or not
    return [total if n else None for total, n in zip(sums.tolist(), n_known.tolist(), strict=True)]
