"""What one pass over every table rules out, so that an audit of a file need not look up millions of ids.

Ids have no order, so each that a file looks up is a place of its own: two million decisions take minutes. Read as columns and
sorted here they take seconds. What is ruled out need not be asked; what is not, is asked of the database, which names it.
"""

import numpy as np
from sqlalchemy import Connection

from budget_router_sql.columns import Fingerprints, Ids, Rows, chunks, read, sums
from budget_router_sql.schema import call_closings, call_openings, decisions, outcomes, samples, settlements

_AMOUNTS = ("prompt_tokens", "completion_tokens", "nano_usd")


def ruled_out(connection: Connection, rng: np.random.Generator) -> frozenset[str]:
    """Names of questions that have no answer, by their kinds or functions; of none where what should be counts is not.

    Two ids are taken for one with a probability below 1e-6 in a ledger of millions, so a fault that is there is missed with one
    far below that, whoever made it: what numbers the ids get, is drawn anew.
    """
    prints = Fingerprints(rng)
    try:  # the largest first, while nothing else is held
        closed = read(connection, prints, call_closings, ["id", "decision_id"], _AMOUNTS)
        settled = read(connection, prints, settlements, ["decision_id"], ["n_calls", *_AMOUNTS])
    except ValueError:
        return frozenset()
    is_uneven = _is_uneven(closed, settled)
    closed_pairs, calls, billed, ended = map(np.sort, (prints.pairs(*closed.ids), *closed.ids, *settled.ids))
    del closed, settled
    opened = read(connection, prints, call_openings, ["id", "decision_id"]).ids
    opened_pairs, openings, opened_for = map(np.sort, (prints.pairs(*opened), *opened))
    drawn_by, drawn_for = read(connection, prints, samples, ["call_id", "decision_id"]).ids
    drawn = np.sort(prints.pairs(drawn_by, drawn_for)[drawn_by != 0])
    (graded,) = read(connection, prints, outcomes, ["decision_id"]).ids
    decided = np.sort(_decided(connection, prints))
    n_both = _n_among(openings, calls)
    may_be = {
        "uneven_settlements": is_uneven,
        "never_closed": n_both < len(openings),
        "never_opened": n_both < len(calls),
        "under_two_decisions": _n_among(opened_pairs, closed_pairs) < n_both,
        "sample_of_no_call": _lacks(closed_pairs, drawn) and _lacks(np.sort(np.append(closed_pairs, opened_pairs)), drawn),
        "call_of_no_decision": _lacks(decided, billed),
        "opening_of_no_decision": _lacks(decided, opened_for),
        "settlement_of_no_decision": _lacks(decided, ended),
        "grade_of_no_decision": _lacks(decided, np.sort(graded)),
        "samples_of_no_settlement": _lacks(ended, np.sort(drawn_for)),
        "never_settled": _lacks(ended, decided),
        "unsettled_calls": _lacks(ended, billed),
    }
    return frozenset(name for name, is_suspected in may_be.items() if not is_suspected)


def _decided(connection: Connection, prints: Fingerprints) -> Ids:
    """Ids of all decisions, read off their index."""
    read = [prints.of(array) for (array,) in chunks(connection, decisions, [decisions.c.id], key=decisions.c.id)]
    return np.concatenate([np.empty(0, np.uint64), *read])


def _is_uneven(closed: Rows, settled: Rows) -> bool:
    """Whether a settlement may be other than the sum of its calls."""
    order, in_order = np.argsort(closed.ids[1]), np.argsort(settled.ids[0])
    billed, of = closed.ids[1][order], settled.ids[0][in_order]
    first, last = np.searchsorted(billed, of), np.searchsorted(billed, of, side="right")
    told_calls, *told = (counts[in_order] for counts in settled.counts)
    prompt, completion, nano_usd = (sums(counts[order], first, last) for counts in closed.counts)
    n_priced = sums(closed.is_known[order].astype(np.int64), first, last)
    n_calls, is_priced = last - first, settled.is_known[in_order]
    money = np.where(is_priced, (n_priced < n_calls) | (nano_usd != told[2]), (n_priced == n_calls) & (n_calls > 0))
    return not ((prompt == told[0]) & (completion == told[1]) & (n_calls == told_calls) & ~money).all()


def _n_among(some: Ids, among: Ids) -> int:
    """How many stand among others; both are sorted."""
    if not len(among):
        return 0
    return int((among[np.minimum(np.searchsorted(among, some), len(among) - 1)] == some).sum())


def _lacks(among: Ids, some: Ids) -> bool:
    """Whether one of some does not stand among others; both are sorted."""
    return _n_among(some, among) < len(some)
