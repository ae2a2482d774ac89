"""Weak labels: what the answers of an ungraded bundle are probably worth, by how many of its samples agree.

Samples that agree are right more often than samples that scatter, but how much more differs from model to model and prompt to
prompt. So it is learned from graded bundles of the same sampling, with what holds for the others as a prior, and where there are
too few of them nothing is claimed. It holds for ungraded tasks only if whoever grades does not choose by how well it went.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.menu import Strategy
from budget_router.outcomes.bundle import Bundle

MIN_GRADED_TASKS = 20
"""Tasks with several graded samples of a sampling below which its agreement is not believed.

The error of a calibration is common to all its labels, so a thin one may set whole strategies against each other. With 5, and a
tenth of the tasks graded, policies on recorded exams gained 0.4 points less than without weak labels (`benchmarks.weak`, three
logs): well within their intervals, so the number is a choice on the side of caution.
"""
_MAX_STEPS, _TOLERANCE = 50, 1e-10


class Line(NamedTuple):
    """Log-odds of an answer's being right against the log-odds of its votes, as far as it is known."""

    mean: FloatArray
    """(2,) intercept and slope."""
    covariance: FloatArray
    """(2, 2)."""


PRIOR = Line(np.array([0.0, 1.0]), np.diag([4.0, 1.0]))
"""Before anything is graded an answer is as probable as its votes, give or take."""
_APART = np.diag([1.0, 0.25])
"""How far the lines of two samplings are expected to lie apart, as a covariance."""


class Calibration(NamedTuple):
    """Expected score of an answer with v of n votes: `logistic(a + b · log((v + ½) / (n - v + ½)))`.

    Fitted by penalised logistic regression (Platt 1999, Probabilistic Outputs for Support Vector Machines) over graded samples:
    each task weighs one, each sample is an observation of its answer's score. So the mean score of one sample is met but for the
    prior, and an answer's evidence grows with its votes.
    """

    line: Line
    most_samples: int
    """Of a graded bundle: larger ones are not spoken for."""

    @classmethod
    def fit(cls, graded: Sequence[tuple[str, Bundle]], prior: Line = PRIOR) -> Self:
        """Learn from graded bundles, each with its task's id; the line's covariance is the curvature's inverse (Laplace).

        Samples of one task are one observation, so it is cautious.
        """
        n_bundles = Counter(task_id for task_id, _ in graded)
        rows = [
            (*_design(n_votes, len(bundle.answers)), bundle.scores[answer], n_votes / len(bundle.answers) / n_bundles[task_id])
            for task_id, bundle in graded
            if bundle.scores is not None
            for answer, n_votes in _votes(bundle.answers).items()
        ]
        design, score, weight = np.split(np.array(rows), [2, 3], axis=1)
        line, precision = prior.mean, np.linalg.inv(prior.covariance)
        curvature = precision
        for _ in range(_MAX_STEPS):
            expected = _logistic(design @ line)[:, None]
            slope = (design * weight * (score - expected)).sum(axis=0) - precision @ (line - prior.mean)
            curvature = design.T @ (design * weight * expected * (1 - expected)) + precision
            step = np.linalg.solve(curvature, slope)
            line = line + step / max(1.0, float(np.abs(step).max()))  # a long step of Newton's may lead astray
            if np.abs(step).max() < _TOLERANCE:
                break
        return cls(Line(line, np.linalg.inv(curvature)), max(len(bundle.answers) for _, bundle in graded))

    def expected(self, answers: Sequence[str | None]) -> tuple[dict[str, float], dict[str, float]]:
        """Expected score of each distinct answer of a bundle, and its standard error as far as the line is unsure."""
        scores, errors = {}, {}
        for answer, n_votes in _votes(answers).items():
            design = np.array(_design(n_votes, len(answers)))
            scores[answer] = expected = float(_logistic(design @ self.line.mean))
            errors[answer] = expected * (1 - expected) * math.sqrt(float(design @ self.line.covariance @ design))
        return scores, errors

    def cell(self, bundle: Bundle, strategy: Strategy) -> "WeakCell":
        """What an ungraded bundle says of a strategy that a graded one would price.

        Whether the answers are right is one draw per task, however many samples agree: of a score in [0, 1] with mean p its
        variance is at most `p (1 - p)`. What the calibration is unsure of is added to that, as if all answers erred alike.
        """
        scores, errors = self.expected(bundle.answers)
        found = replace(bundle, scores=scores).cell(strategy).accuracy
        unsure = replace(bundle, scores=errors).cell(strategy).accuracy  # a vote's score is linear in those of its answers
        accuracy = float(np.clip(found, 0.0, 1.0))  # sums of shares miss 1 by a rounding error
        return WeakCell(accuracy, math.sqrt(accuracy * (1 - accuracy) + unsure**2))


class WeakCell(NamedTuple):
    """What agreement tells of a strategy on a task; NaN for what it does not tell."""

    accuracy: float
    standard_error: float
    """Of the accuracy as an estimate of the strategy's expected score on this task."""


@dataclass(frozen=True)
class WeakLabels:
    """What agreement is worth, by sampling, as far as graded bundles tell."""

    calibrations: Mapping[str, Calibration]
    """By the sampling's key."""
    doubts: tuple[str, ...]
    """Why ungraded bundles of some sampling are not labelled: found, limit, mend."""

    @classmethod
    def fit(cls, bundles: Iterable[tuple[str, Bundle]]) -> Self:
        """Calibrate on the graded ones of these bundles, each with its task's id."""
        graded: dict[str, list[tuple[str, Bundle]]] = defaultdict(list)
        wanted: dict[str, set[str]] = defaultdict(set)
        for task_id, bundle in bundles:
            key = bundle.executed.sampling.key
            if not _is_vote(bundle):
                continue
            if bundle.scores is not None:
                graded[key].append((task_id, bundle))
            elif bundle.is_ungraded:
                wanted[key].add(bundle.executed.name)
        n_tasks = {key: len({task_id for task_id, _ in known}) for key, known in graded.items()}
        believed = {
            key: Calibration.fit(known, _prior([one for other in graded if other != key for one in graded[other]]))
            for key, known in graded.items()
            if n_tasks[key] >= MIN_GRADED_TASKS
        }
        doubts = [
            f"{', '.join(sorted(names))}: {n_tasks.get(key, 0)} tasks have several graded samples drawn alike, "
            f"{MIN_GRADED_TASKS} are needed: grade more of them, with answer_scores"
            for key, names in wanted.items()
            if key not in believed
        ]
        return cls(believed, tuple(doubts))

    def of(self, bundle: Bundle) -> Calibration | None:
        """The calibration that speaks for an ungraded bundle; `None` where none does, and for a graded one always."""
        calibration = self.calibrations.get(bundle.executed.sampling.key)
        is_spoken_for = calibration is not None and len(bundle.answers) <= calibration.most_samples
        return calibration if bundle.is_ungraded and _is_vote(bundle) and is_spoken_for else None


def _prior(others: Sequence[tuple[str, Bundle]]) -> Line:
    """What is expected of a sampling before its own grades: the line of all others, and how far it may lie from them."""
    if not others:
        return PRIOR
    line = Calibration.fit(others).line
    return Line(line.mean, line.covariance + _APART)


def _is_vote(bundle: Bundle) -> bool:
    """Whether several samples arrived that could agree, and one of them holds an answer."""
    return len(bundle.answers) > 1 and not bundle.has_no_answer and bool(_votes(bundle.answers))


def _votes(answers: Sequence[str | None]) -> Counter[str]:
    return Counter(answer for answer in answers if answer is not None)


def _design(n_votes: int, n_samples: int) -> tuple[float, float]:
    return 1.0, math.log((n_votes + 0.5) / (n_samples - n_votes + 0.5))


def _logistic(log_odds: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
