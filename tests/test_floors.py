"""The oldest frameworks that are promised are the ones that `make test-floors` installs."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("package", ["langchain-core", "langgraph", "langchain"])
def test_the_floor_that_is_tested_is_the_floor_that_is_promised(package: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    promised = [match[1] for extra in extras.values() for one in extra if (match := re.match(rf"{package}>=([\d.]+),", one))]
    (tested,) = re.findall(rf"{package}==([\d.]+)", (ROOT / "Makefile").read_text())

    assert re.fullmatch(rf"{re.escape(promised[0])}(\.0)*", tested)
