"""Runs one suite on one side, in processes of its own, and collects how each test ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHILD = Path(__file__).resolve().parent / "child.py"

#: Endings that are as they should be. Others: failed, error, died.
GOOD = ("passed", "skipped", "todo")


@dataclass(frozen=True)
class Result:
    outcome: str
    detail: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in GOOD


@dataclass(frozen=True)
class Suite:
    """A module of tests, and what it takes to run it."""

    name: str
    runner: str = "trial"
    python: str = sys.executable
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What is copied into the folder that the suite runs in.
    files: Sequence[Path] = ()
    #: How long a test may take, and the module.
    test_seconds: float = 150.0
    seconds: float = 900.0

    def run(self, *, stock: bool, match: str = "") -> dict[str, Result]:
        """Return all results by the id of the test, whatever happens to its process.

        A process that crashes or hangs costs the test that it was in. Another one goes on with
        the rest.
        """
        results: dict[str, Result] = {}
        deadline = time.monotonic() + self.seconds
        for _ in range(1000):
            with _temporary_folder() as folder:
                started, finished, end = self._attempt(
                    folder, results, deadline - time.monotonic(), stock, match
                )
            if started is not None:
                results[started] = Result("died", end or "the process ended in it")
            elif finished and not end:
                break
            else:
                # Not in a test: before the first, or after the last at exit.
                when = "at exit" if finished else "outside any test"
                problem = Result("died", f"{when}: {end or 'no results'}")
                results[f"{self.name} ({when})"] = problem
                break
            if time.monotonic() > deadline:
                break
        return results

    def _attempt(
        self,
        folder: Path,
        results: dict[str, Result],
        seconds: float,
        stock: bool,
        match: str,
    ) -> tuple[str | None, bool, str | None]:
        """Run one process; return the test it was in at its end, whether it got to the end, and
        what was wrong with its end."""
        report, done, place = folder / "report", folder / "done", folder / "w"
        done.write_text(json.dumps(sorted(results)), encoding="utf-8")
        for name in ("w", "home", "tmp"):
            (folder / name).mkdir()
        for file in self.files:
            subprocess.run(["cp", "-R", "--", file, place], check=True)
        command = [self.python, "-X", "faulthandler"]
        options = [f"--report={report}", f"--done={done}", f"--seconds={self.test_seconds}"]
        if match:
            options.append(f"--match={match}")
        if not stock:
            command += ["-m", "deferrous"]
            options.append("--deferrous")
        end = _run(
            [*command, str(CHILD), *options, self.runner, self.name, *self.arguments],
            cwd=place,
            environment=self._environment(folder),
            seconds=seconds,
        )
        started, finished = read_report(report, results)
        return started, finished, end

    def _environment(self, folder: Path) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DEFERROUS_", "PYTEST_", "PYTHON", "VIRTUAL_ENV"))
        }
        bin_ = str(Path(self.python).parent)
        return {
            **inherited,
            "PATH": os.pathsep.join([bin_, inherited.get("PATH", os.defpath)]),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder, and remove what can be removed of it: tests leave all sorts of things."""
    # A short name: sockets are made in there.
    folder = tempfile.mkdtemp(prefix="dc-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    command: Sequence[str], *, cwd: Path, environment: dict[str, str], seconds: float
) -> str | None:
    """Run a process, and whatever it leaves behind, to the end; None if it ended well."""
    # Files, not pipes: what a dead child's own children hold open cannot block us.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(max(seconds, 1.0))
            how = None if status == 0 else describe_status(status)
        except subprocess.TimeoutExpired:
            how = "killed: the suite took too long"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            restore_null()
        if how is None:
            return None
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
        return "\n".join([how, *text.splitlines()[-60:]])


def restore_null() -> None:
    """Make /dev/null what it was: some tests of Twisted's, run as root, change its mode."""
    mode = stat.S_IMODE(os.stat(os.devnull).st_mode)
    if mode != 0o666 and os.geteuid() == 0:
        print(f"{os.devnull} had mode {mode:o}; restored", file=sys.stderr)
        os.chmod(os.devnull, 0o666)


def describe_status(status: int) -> str:
    if status >= 0:
        return f"the process exited with status {status}"
    try:
        return f"the process was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"the process was killed by signal {-status}"


def read_report(path: Path, results: dict[str, Result]) -> tuple[str | None, bool]:
    """Take in a report; return the test that was running at its end, and whether it was the end."""
    started: str | None = None
    finished = False
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # The line that the process died in.
            continue
        if "start" in record:
            started = record["start"]
        elif "id" in record:
            name, result = record["id"], Result(record["outcome"], record["detail"])
            if name not in results or results[name].good:
                results[name] = result
            if name == started:
                started = None
        elif "finished" in record:
            finished = True
    return started, finished
