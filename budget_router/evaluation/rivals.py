"""Policies beside each other on the same decisions: what these add to every estimate that a gate asks for."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.evaluation.off_policy import Weighed
from budget_router.evaluation.revealed import Revealed, rows_of

NO_GROUP = "(no group)"
"""Name under which tasks without a group are compared where others have one."""


class Rivals(NamedTuple):
    """What each policy would choose on every row of a table, (n_rows, n_strategies) of probabilities each."""

    candidate: FloatArray
    incumbent: FloatArray
    """The active policy at the same budget; the static mix where there is none."""
    mix: FloatArray
    """The best static mix at the candidate's expected spend."""


class Weighings(NamedTuple):
    """Sums over decisions, of which a judgement is made; `+` is that of decisions on other tasks."""

    accuracy: Weighed
    """Of the candidate."""
    gain: Weighed
    """Over the incumbent."""
    gain_over_mix: Weighed
    """The same where the mix is the incumbent."""
    spend: Weighed
    """Of the candidate."""
    groups: Mapping[str, Weighed]
    """The gain on each group's tasks."""

    @classmethod
    def of(
        cls,
        scores: Revealed,
        spends: Revealed,
        rivals: Rivals,
        *,
        predicted_accuracy: FloatArray,
        predicted_cost: FloatArray,
        groups: Sequence[str | None] | None,
    ) -> "Weighings":
        """Weigh the decisions of a table: see `Judgement.of`; without `groups` they are not told apart."""
        graded, settled = scores.rows, spends.rows
        chosen, before, mixed = (rows_of(one, graded) for one in rivals)
        expected = rows_of(predicted_accuracy, graded)
        gain = Weighed.of(scores, target_prob=chosen, predicted=expected, against=before)
        is_first = rivals.incumbent is rivals.mix
        return cls(
            accuracy=Weighed.of(scores, target_prob=chosen, predicted=expected),
            gain=gain,
            gain_over_mix=gain if is_first else Weighed.of(scores, target_prob=chosen, predicted=expected, against=mixed),
            spend=Weighed.of(spends, target_prob=rows_of(rivals.candidate, settled), predicted=rows_of(predicted_cost, settled)),
            groups={} if groups is None else _by_group(scores, chosen, before, expected, [groups[row] for row in graded]),
        )

    def __add__(self, other: "Weighings", /) -> "Weighings":  # type: ignore[override]  # of sums, not of tuples
        gain = self.gain + other.gain
        is_first = self.gain_over_mix is self.gain
        shared = {name: self.groups[name] + other.groups[name] for name in self.groups.keys() & other.groups.keys()}
        return Weighings(
            self.accuracy + other.accuracy,
            gain,
            gain if is_first else self.gain_over_mix + other.gain_over_mix,
            self.spend + other.spend,
            {**self.groups, **other.groups, **shared},
        )

    def largest_first(self) -> list[tuple[str, Weighed]]:
        """The groups by falling numbers of decisions, then by name."""
        return sorted(self.groups.items(), key=lambda named: (-named[1].modelled.n, named[0]))


def _by_group(
    scores: Revealed, chosen: FloatArray, before: FloatArray, expected: FloatArray, groups: Sequence[str | None]
) -> dict[str, Weighed]:
    """The gain on each group's tasks."""
    names, number, count = np.unique(
        np.array([NO_GROUP if group is None else group for group in groups], dtype=np.str_),
        return_inverse=True,
        return_counts=True,
    )
    rows_of_each = np.split(np.argsort(number, kind="stable"), np.cumsum(count)[:-1])
    return {
        str(name): Weighed.of(scores.part(rows), target_prob=chosen[rows], predicted=expected[rows], against=before[rows])
        for name, rows in zip(names, rows_of_each, strict=False)
    }
