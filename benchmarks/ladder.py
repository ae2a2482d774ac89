"""A ladder of votes from many samples of one prompt: what the majority of 1, 2, 4, 8 and 16 would have scored and cost."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import crucible
from benchmarks.recorded import Recorded, Sample, load
from budget_router import Menu, SelfConsistency, SingleShot
from budget_router.allocation import FloatArray
from budget_router.features import structural_features
from budget_router.outcomes import vote_accuracy

RUNGS = (1, 2, 4, 8, 16)
PROMPT = "pooled"
MODELS = {"jhu_mcqa": "gpt-3.5-turbo-2024"}
"""The model whose prompts are one, at several temperatures, and are pooled."""


def read(dataset: str, root: Path) -> Recorded:
    """The ladder of a recorded folder, or of the cassettes of `crucible`.

    Raises:
        SystemExit: the set is missing, its prompts are several, or a task has fewer samples than the highest rung.
    """
    if dataset == "crucible":
        texts, levels, samples = crucible.read(root)
        return ladder(dataset, texts, [str(row) for row in range(len(texts))], levels, samples)
    folder, _, prompt = dataset.partition(":")
    whole = load(f"{folder}:{MODELS[folder]}" if folder in MODELS else folder, root)
    prompts = sorted({name for _, name in whole.samples if name.startswith(prompt)})
    if not prompts or (len(prompts) > 1 and folder not in MODELS and not prompt):
        held = ", ".join(sorted({name for _, name in whole.samples})[:5])
        raise SystemExit(f"{dataset!r} is not one prompt: say NAME:ACTION with an action, or its beginning, of {held}")
    samples = [tuple(one for name in prompts for one in whole.samples[row, name]) for row in range(len(whole.texts))]
    return ladder(dataset, whole.texts, whole.groups, whole.labels, samples)


def ladder(
    name: str, texts: Sequence[str], groups: Sequence[str], labels: Sequence[str] | None, samples: Sequence[tuple[Sample, ...]]
) -> Recorded:
    """Exact accuracy of every rung, over all subsets of each task's samples; its cost, the mean sample's times the rung."""
    fewest = min(map(len, samples))
    if fewest < RUNGS[-1]:
        raise SystemExit(f"{name} has a task with {fewest} samples: the highest rung draws {RUNGS[-1]}")
    strategies = [SelfConsistency(name=f"x{k}", k=k, instruction=PROMPT) for k in RUNGS[1:]]
    return Recorded(
        name=name,
        menu=Menu([SingleShot(name="x1", instruction=PROMPT), *strategies]),
        texts=tuple(texts),
        groups=tuple(groups),
        labels=None if labels is None else tuple(labels),
        samples={(row, PROMPT): held for row, held in enumerate(samples)},
        accuracy=np.array([[vote_accuracy(*votes(held), k) for k in RUNGS] for held in samples]),
        cost=np.array([[k * float(np.mean([one.cost for one in held])) for k in RUNGS] for held in samples]),
    )


def votes(samples: Sequence[Sample]) -> tuple[list[str | None], dict[str, float]]:
    """What samples vote for, and the score of each distinct answer."""
    return [one.answer for one in samples], {one.answer: one.score for one in samples if one.answer is not None}


def halves(recorded: Recorded, rng: np.random.Generator) -> list[tuple[FloatArray, FloatArray]]:
    """Accuracy and cost of every rung by two halves of each task's samples.

    A rung that draws more than a half holds is given the whole half's vote, and the price of its own draws.
    """
    sides: list[list[tuple[Sample, ...]]] = [[], []]
    for held in recorded.samples.values():
        order = rng.permutation(len(held))
        for side in (0, 1):
            sides[side].append(tuple(held[one] for one in order[side::2]))
    return [
        (
            np.array([[vote_accuracy(*votes(held), min(k, len(held))) for k in RUNGS] for held in side]),
            np.array([[k * float(np.mean([one.cost for one in held])) for k in RUNGS] for held in side]),
        )
        for side in sides
    ]


def features(recorded: Recorded) -> FloatArray:
    """(n, n_features) what is known before the first call: the text's structure, and the level of a set that grades its tasks."""
    structure = np.array([structural_features(text) for text in recorded.texts])
    levels = [re.fullmatch(r"level-?(\d+)", label, re.IGNORECASE) for label in recorded.labels or ()]
    if levels and all(levels):
        structure = np.column_stack([structure, [float(level[1]) for level in levels if level]])
    return np.asarray(structure)
