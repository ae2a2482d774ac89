"""Processes of their own that need not import anew what they have in common: each forks from one that has."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, CompletedProcess

LOADER = """
import json, os, sys, traceback
{imports}

for line in sys.stdin:
    asked = json.loads(line)
    if not (child := os.fork()):
        for number, name in enumerate(asked["said"], start=1):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(asked["folder"])
        sys.argv, code = asked["words"], 0
        try:
            {run}
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Runs words in a process of its own."""

    def __init__(self, loader: "subprocess.Popen[str]", scratch: Path) -> None:
        self._loader = loader
        self._scratch = scratch
        self._numbers = itertools.count()

    def __call__(self, *words: str, folder: Path) -> CompletedProcess[str]:
        assert self._loader.stdin is not None
        assert self._loader.stdout is not None
        number = next(self._numbers)
        said = [self._scratch / f"{number}.{name}" for name in ("out", "err")]
        asked = {"words": words, "folder": str(folder), "said": [str(path) for path in said]}
        print(json.dumps(asked), file=self._loader.stdin, flush=True)
        code = int(self._loader.stdout.readline())
        out, err = (path.read_text() for path in said)
        return CompletedProcess(words, code, out, err)


@contextmanager
def forks(imports: str, run: str, scratch: Path, **environment: str) -> Iterator[Forks]:
    """Start the process that the others fork from.

    Args:
        imports: lines that it runs once.
        run: what each fork does, with its words in `sys.argv`.
        scratch: folder for what they say.
        environment: variables of all of them, beside those of this process.
    """
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    script = LOADER.format(imports=imports, run=run)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdin=PIPE,
        stdout=PIPE,
        text=True,
    ) as loader:
        yield Forks(loader, scratch)
        assert loader.stdin is not None
        loader.stdin.close()
