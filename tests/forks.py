"""Processes of their own that need not import anew what they have in common: each forks from one that has."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, CompletedProcess, TimeoutExpired
from typing import Self

LOADER = """
import json, os, sys, traceback
{imports}

for line in sys.stdin:
    asked = json.loads(line)
    if "pid" in asked:
        pid, status = os.waitpid(asked["pid"], asked["options"])
        print(os.waitstatus_to_exitcode(status) if pid else "null", flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        for number, (name, flags) in enumerate(asked["streams"]):
            os.dup2(os.open(name, flags), number)
        os.chdir(asked["folder"])
        sys.argv, code = asked["words"], 0
        try:
            {run}
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        if asked["exits"]:
            sys.exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # taking apart all that was imported takes a second
"""
RUNS_ITS_FIRST_WORD = "exec(sys.argv[0])"  # in the process's own namespace, which outlives its last line


class Forks:
    """Runs words in a process of its own, to its end or beside this one."""

    def __init__(self, loader: "subprocess.Popen[str]", scratch: Path) -> None:
        self._loader = loader
        self._scratch = scratch
        self._numbers = itertools.count()

    def __call__(self, *words: str, folder: Path) -> CompletedProcess[str]:
        """Run them to the end; what is done only as an interpreter exits is left undone."""
        number = next(self._numbers)
        said = [self._scratch / f"{number}.{name}" for name in ("out", "err")]
        streams = [(os.devnull, os.O_RDONLY), *((str(path), os.O_CREAT | os.O_WRONLY) for path in said)]
        code = self.ended(self._ask(words=words, folder=str(folder), streams=streams, exits=False))
        out, err = (path.read_text() for path in said)
        return CompletedProcess(words, int(code or 0), out, err)

    def start(self, *words: str) -> "Started":
        """Run them while this process goes on, and exit as interpreters do; what goes wrong is told on standard error."""
        pipes = [self._scratch / f"{next(self._numbers)}.{name}" for name in ("in", "out")]
        for pipe in pipes:
            os.mkfifo(pipe)
        flags = (os.O_RDONLY, os.O_WRONLY)
        streams = [(str(pipe), flag) for pipe, flag in zip(pipes, flags, strict=True)]
        return Started(self, self._ask(words=words, folder=str(Path.cwd()), streams=streams, exits=True), *pipes)

    def ended(self, pid: int, *, options: int = 0) -> int | None:
        """With which code a process ended, once it has; `None` if it goes on, where that is not waited for."""
        return self._ask(pid=pid, options=options)

    def _ask(self, **asked: object) -> "int | None":
        assert self._loader.stdin is not None
        assert self._loader.stdout is not None
        print(json.dumps(asked), file=self._loader.stdin, flush=True)
        told: int | None = json.loads(self._loader.stdout.readline())
        return told


class Started:
    """A process that runs beside this one, with the manners of `subprocess.Popen`."""

    def __init__(self, forks: Forks, pid: int | None, stdin: Path, stdout: Path) -> None:
        assert pid is not None
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks
        self.stdin = stdin.open("w")  # as the other side does: first what it reads, then what it writes
        self.stdout = stdout.open()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._forks.ended(self.pid, options=os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() >= end:
                raise TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.001)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self) -> tuple[str, None]:
        self.stdin.close()
        with self.stdout:
            said = self.stdout.read()
        self.wait()
        return said, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()


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
