"""Measure programs on Twisted and on deferrous: python -m benchmarks.programs [WORKLOAD ...]"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.compare.environments import CACHE, Environment, newest_wheel
from tests.compare.programs import PROGRAMS

HERE = Path(__file__).resolve().parent
DEFERREDS = ("/twisted/internet/defer.py", "/twisted/python/failure.py")

DESCRIPTION = """\
Measure what whole programs cost on Twisted as it is and on deferrous: the CPU time of one process
for each unit of work. Both sides take turns, in new processes; the least of all rounds counts. One
more run on Twisted, under the profiler py-spy, tells the share of samples that are in Twisted's
modules of Deferreds and Failures: what Deferreds can save is about that much. Prints a table in
Markdown.

All requests go to this machine itself, a few hundred or thousand a round. The programs are
installed in target/compare, where `python -m tests.compare` has them, too.
"""


@dataclass(frozen=True)
class Workload:
    name: str
    program: str
    title: str
    unit: str


WORKLOADS = (
    Workload("amp", "twisted", "AMP, ten calls at a time", "call"),
    Workload("pb", "twisted", "Perspective Broker, one call after the other", "call"),
    Workload("klein_treq", "klein", "Klein answering treq, both in one process", "request"),
    Workload("scrapy_crawl", "scrapy", "Scrapy following links, with the site", "page"),
    Workload("synapse_room", "synapse", "Synapse, a message and a /sync", "message"),
)


class Runner:
    """Runs a workload in processes of its own."""

    def __init__(self, workload: Workload, environment: Environment) -> None:
        self._workload = workload
        self._environment = environment

    def seconds(self, *, stock: bool) -> float:
        """Return the CPU time for one unit of work."""
        output = self._run([], [] if stock else ["-m", "deferrous"])
        lines = [line for line in output.splitlines() if line.startswith("MEASURED ")]
        if len(lines) != 1:
            raise SystemExit(f"{self._workload.name}: {output}")
        found = json.loads(lines[0].partition(" ")[2])
        return found["seconds"] / found["units"]

    def share(self) -> float:
        """Return the share of Deferreds on Twisted, of what happens after the imports."""
        with tempfile.NamedTemporaryFile(prefix="deferrous-") as file:
            options = ["--rate=500", "--format=raw", "--full-filenames", f"--output={file.name}"]
            spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
            self._run([spy, "record", *options, "--"], [])
            looks = Counter()
            for line in Path(file.name).read_text(encoding="utf-8").splitlines():
                stack, _, count = line.rpartition(" ")
                if f"/{self._workload.name}.py:" in stack and "_find_and_load" not in stack:
                    place = re.sub(r":[0-9]+\)$", "", stack.rpartition(";")[2])
                    looks[place.endswith(DEFERREDS)] += int(count)
        return looks[True] / max(1, looks.total())

    def _run(self, before: Sequence[str], options: Sequence[str]) -> str:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DEFERROUS_", "PYTHON"))
        }
        command = [*before, str(self._environment.python), *options]
        command += [str(HERE / "measure.py"), self._workload.name]
        with tempfile.TemporaryDirectory(prefix="deferrous-") as folder:
            for name in self._environment.program.files:
                os.symlink(self._environment.source / name, Path(folder) / name)
            done = subprocess.run(
                command,
                cwd=folder,
                env={**inherited, "PYTHONPATH": folder, "PYTHONHASHSEED": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
            )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout


def main() -> None:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.programs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=5, help="processes a side (default: 5)")
    parser.add_argument("--wheel", type=Path, help="of deferrous (default: what make built)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where environments are kept")
    options = parser.parse_args()
    if not {*options.workloads} <= {*names}:
        parser.error(f"want workloads, of: {', '.join(names)}")
    wheel = options.wheel or newest_wheel()
    rows = []
    for workload in WORKLOADS:
        if options.workloads and workload.name not in options.workloads:
            continue
        environment = Environment(PROGRAMS[workload.program], wheel, options.cache)
        environment.make()
        runner = Runner(workload, environment)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.rounds):
            for side, found in times.items():
                found.append(runner.seconds(stock=side))
        share = runner.share()
        stock, ours = min(times[True]), min(times[False])
        rows.append(
            f"| {workload.title} | {workload.unit} | {stock * 1e6:,.0f} µs | {ours * 1e6:,.0f} µs "
            f"| {stock / ours:.2f} | {share:.0%} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    version = sys.version.split()[0]
    print(
        f"| CPython {version} | unit | Twisted | deferrous | times as fast | share of Deferreds |"
    )
    print("|---|---|--:|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
