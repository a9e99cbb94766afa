"""Environments for the suites: one for each program, kept in a folder for reuse."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from .programs import Program
from .suites import Suite

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "target" / "compare"


def newest_wheel() -> Path:
    """Return the wheel of deferrous that `make` has built for this Python."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels = sorted(
        ROOT.glob(f".venv*/*-wheel/deferrous-*-{tag}-*.whl"), key=lambda path: path.stat().st_mtime
    )
    if not wheels:
        raise SystemExit("there is no wheel of deferrous for this Python: `make build`, or --wheel")
    return wheels[-1]


class Environment:
    """A virtual environment with a program, its tests and deferrous.

    deferrous comes from a wheel: an editable installation lacks the file that has child processes
    heed DEFERROUS_INSTALL.
    """

    def __init__(self, program: Program, wheel: Path, cache: Path = CACHE) -> None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.program = program
        self.folder = cache / f"{program.name}-{program.version}-py{python}"
        self.python = self.folder / "bin" / "python"
        self.source = self.folder / "source"
        self._wheel = wheel

    def make(self) -> None:
        """Install what is not installed yet."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        wanted = [
            f"twisted=={self.program.twisted}",
            self.program.requirement,
            *self.program.requirements,
        ]
        stamp = self.folder / "requirements"
        described = "\n".join([*wanted, *self.program.files])
        if not (stamp.exists() and stamp.read_text() == described):
            print(f"{self.folder}: installing", *wanted, flush=True)
            self._call(sys.executable, "-m", "venv", "--clear", str(self.folder))
            # Some need pkg_resources, which setuptools has lost.
            self._pip("install", "setuptools<81", *wanted)
            if self.program.files:
                self._fetch_source()
            stamp.write_text(described)
        digest = hashlib.sha256(self._wheel.read_bytes()).hexdigest()
        stamp = self.folder / "wheel"
        if not (stamp.exists() and stamp.read_text() == digest):
            self._pip("install", "--no-deps", "--force-reinstall", str(self._wheel))
            stamp.write_text(digest)

    def _fetch_source(self) -> None:
        program = self.program
        exact = f"{program.name}=={program.version}"
        folder = self.folder / "download"
        self._pip(
            "download", "--no-deps", "--no-binary", program.name, "--dest", str(folder), exact
        )
        (archive,) = folder.iterdir()
        shutil.unpack_archive(archive, self.folder / "unpacked")
        shutil.rmtree(folder)
        (unpacked,) = (self.folder / "unpacked").iterdir()
        unpacked.rename(self.source)

    def _pip(self, *arguments: str) -> None:
        self._call(
            str(self.python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments
        )

    @staticmethod
    def _call(*command: str) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"failed: {' '.join(command)}")

    def suites(self, *, patterns: Sequence[str] = (), quick: bool = False) -> list[Suite]:
        """List the modules of tests, or those that are of a pattern."""
        program = self.program
        root = self.source if program.files else _site_packages(str(self.python))
        return find_suites(
            program,
            root,
            str(self.python),
            [self.source / name for name in program.files],
            patterns,
            quick,
        )


def _site_packages(python: str) -> Path:
    if python == sys.executable:
        return Path(sysconfig.get_path("platlib"))
    script = "import sysconfig; print(sysconfig.get_path('platlib'))"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def find_suites(
    program: Program,
    root: Path,
    python: str,
    files: Sequence[Path] = (),
    patterns: Sequence[str] = (),
    quick: bool = False,
) -> list[Suite]:
    """List a program's modules of tests beneath a folder."""
    arguments = list(program.arguments)
    by_path = program.runner == "pytest" and bool(program.files)
    if program.runner == "pytest" and not by_path:
        arguments += [f"--rootdir={root}", "--pyargs"]
    paths = (path.relative_to(root) for tests in program.tests for path in sorted(root.glob(tests)))
    names = [str(path) if by_path else ".".join(path.with_suffix("").parts) for path in paths]
    return [
        Suite(
            name,
            program.runner,
            python,
            arguments,
            program.environment,
            files,
            seconds=program.seconds,
        )
        for name in names
        if name not in program.broken
        and not (quick and _is_of(name, program.slow))
        and (not patterns or _is_of(name, patterns))
    ]


def _is_of(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def here(program: Program, *, patterns: Sequence[str] = ()) -> list[Suite]:
    """List the modules of a program that is installed in this very environment."""
    return find_suites(program, _site_packages(sys.executable), sys.executable, patterns=patterns)
