"""The pages of docs/ are run as they stand, top to bottom: Python in one namespace, commands on the files that it wrote."""

import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from scripted import ScriptedModel
from typer.testing import CliRunner

from budget_router_cli.app import app
from budget_router_sql import SqlLedger

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "reference")
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
NEEDS_MORE = re.compile(r"postgresql|--dask|\||budget-router (demo|record|train|rollback|evaluate|drift|report|solve|frontier)\b")
"""A server, workers, another program, a model's key, traffic that is still to come, or time: such lines are parsed, not run."""


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each block of a page, in order."""
    for found in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def commands(text: str) -> Iterator[list[str]]:
    """What is typed after each `$`, in words."""
    for line in re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE):
        yield shlex.split(line, comments=True)


def typed(page: Path) -> Iterator[list[str]]:
    """Our commands of a page, whole, with what they are given: at a prompt or in a crontab."""
    for language, text in blocks(page):
        if language == "console":
            yield from (words for words in commands(text) if words[0] == "budget-router")
        elif language == "cron":
            yield from (shlex.split(line) for line in re.findall(r"budget-router .*", text))


class Reader:
    """Somebody who types in a page, in a folder of their own."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"model": ScriptedModel(["Answer: 68"]), "__name__": "page"}

    def read(self, page: Path) -> None:
        for number, (language, text) in enumerate(blocks(page), 1):
            place = f"{named(page)}, block {number}"
            if language == "python":
                exec(compile(text, place, "exec"), self.names)
            elif language == "pycon":
                example = doctest.DocTestParser().get_doctest(text, self.names, place, None, None)
                assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0, place
                self.names |= example.globs
            elif language == "console":
                for words in commands(text):
                    if words[0] == "budget-router" and not NEEDS_MORE.search(" ".join(words)):
                        self._type(words[1:])

    def _type(self, words: list[str]) -> None:
        done = CliRunner().invoke(app, [self._newest(words) if word == "VERSION" else word for word in words])
        assert done.exit_code == 0, f"{' '.join(words)}: {done.output} {done.exception!r}"

    @staticmethod
    def _newest(words: list[str]) -> str:
        with SqlLedger(words[words.index("--ledger") + 1]) as ledger:
            return ledger.registry.versions(ledger.latest().menu.hash)[-1]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if {"python", "pycon"} & {language for language, _ in blocks(page)}], ids=named
)
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/served.db")
    Reader().read(page)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_the_command_line_takes_every_command_of_a_page(page: Path) -> None:
    for _, name, *given in typed(page):
        command = COMMANDS[name]
        with click.Context(command) as context:
            command.parse_args(context, given[: given.index("|")] if "|" in given else given)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_the_command_line_knows_what_sentences_of_a_page_name(page: Path) -> None:
    for name, given in re.findall(r"`budget-router ([a-z]+)([^`]*)`", page.read_text()):
        options = {option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"--[\w-]+", given)) <= options, name


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_every_benchmark_of_a_page_has_the_options_that_it_is_given(page: Path) -> None:
    text = page.read_text()
    for name, options in re.findall(r"python -m benchmarks\.(\w+)([^`\n|]*)", text):
        program = (ROOT / "benchmarks" / f"{name}.py").read_text()
        for option in re.findall(r"--[\w-]+", options):
            assert f'"{option}"' in program, f"benchmarks.{name} has no {option}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_every_file_that_a_page_points_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", text):
        target = page.parent / link if link else page
        assert link.startswith("https://") or target.exists(), link
        if anchor and not link.startswith("https://"):
            assert anchor in anchors(target), f"{link}#{anchor}"
    for path in re.findall(r"`((?:examples|benchmarks|docs|tests)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_benchmark_that_takes_options_stands_on_the_page_of_benchmarks() -> None:
    told = (DOCS / "benchmarks.md").read_text()
    programs = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser(" in path.read_text()}
    assert programs
    assert {name for name in programs if f"benchmarks.{name}" not in told} == set()


def test_every_page_stands_in_the_sites_navigation_once() -> None:
    navigation = (DOCS / "site" / "mkdocs.yml").read_text().partition("\nnav:")[2]

    listed = re.findall(r"\S+\.md$", navigation, flags=re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in [*PAGES, *REFERENCE])


def test_the_reference_shows_every_package_and_every_name_that_it_promises() -> None:
    shown = {match for page in REFERENCE for match in re.findall(r"^::: ([\w.]+)$", page.read_text(), flags=re.MULTILINE)}
    cores = {f"budget_router.{path.parent.name}" for path in (ROOT / "budget_router").glob("*/__init__.py")}
    doors = {path.parent.name for path in ROOT.glob("*/budget_router_*/__init__.py")} - {"budget_router_cli"}

    packages = {"budget_router", *cores, *doors}
    assert packages <= shown
    hidden = {f"{there.__module__}.{name}" for package in packages for name, there in hidden_by_modules(package)}
    assert shown - packages - hidden == {"budget_router.errors"}
    assert hidden - shown == set(), "give each a `::: module.name` on its package's page"


def hidden_by_modules(package: str) -> Iterator[tuple[str, Any]]:
    """What a package promises under the name of one of its modules: a reader of sources sees the module, so it is shown apart."""
    promised = importlib.import_module(package)
    folder = Path(str(promised.__file__)).parent
    return ((name, getattr(promised, name)) for name in promised.__all__ if (folder / f"{name}.py").exists())
