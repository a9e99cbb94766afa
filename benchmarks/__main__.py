"""`python -m benchmarks [COMMAND]`: see `docs/performance.md`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from . import counting, growth, measure, report, threads, watching
from .other_rows import ALL_ROWS
from .rows import ROWS

#: Only to see that each row runs.
QUICKLY = ("--rounds", "1", "--scale", "0.01")


def rows(options: argparse.Namespace) -> None:
    groups = {row.group for row in ALL_ROWS.values()}
    unknown = set(options.rows) - ALL_ROWS.keys() - groups
    if unknown:
        there = ", ".join([*ALL_ROWS, "and the groups", *sorted(groups)])
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}; there are {there}")
    named = [key for key, row in ALL_ROWS.items() if {key, row.group} & {*options.rows}]
    quick = options.quick
    results = measure.measure(
        pypy=options.pypy or measure.find_pypy(),
        keys=named or list(ALL_ROWS if options.all else ROWS),
        rounds=options.rounds or (1 if quick else 6),
        aim=0.001 if quick else 0.03,
        repeats=1 if quick else 3,
        count=10_000 if quick else 1_000_000,
    )
    path = measure.folder() / "results.json"
    if options.more:
        results = measure.least(json.loads(path.read_text(encoding="utf-8")), results)
    text = "\n\n".join(part(results) for part in (report.environment, report.table, report.summary))
    print(text)
    if quick:
        # Only to see that it works: these numbers are not kept.
        curves = growth.measure(sizes=(10, 100), rounds=1)
        print(growth.table(curves))
        counting.count_allocations()
        subprocess.run([sys.executable, "-m", "benchmarks.concurrency", *QUICKLY], check=True)
        print(watching.table(n=100, number=10_000, rounds=1))
        with tempfile.TemporaryDirectory() as folder:
            charts(results, curves, Path(folder))
    elif options.more or not options.rows:
        measure.write(path, results)
        path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
        charts(results, None, path.parent)


def charts(results: object, curves: object, folder: Path) -> None:
    """Draw what there is, where matplotlib is installed."""
    try:
        from . import chart
    except ImportError as error:
        print(f"no chart: {error}", file=sys.stderr)
        return
    main = isinstance(results, dict) and report.main_rows(results)
    main = main if main and main["nanoseconds"] else None
    for kind, what in ((chart.rows, main), (chart.growth, curves)):
        if what:
            print(*chart.draw(kind, what, folder), file=sys.stderr)


def grow(options: argparse.Namespace) -> None:
    curves = growth.measure()
    measure.write(measure.folder() / "growth.json", curves)
    print(growth.table(curves))
    charts(None, curves, measure.folder())


def allocations(options: argparse.Namespace) -> None:
    measure.write(measure.folder() / "allocations.json", counting.count_allocations())


def concurrency(options: argparse.Namespace) -> None:
    # It imports asyncio, which must not be imported for the other rows.
    from . import concurrency as it

    results = it.run(options.rounds or 5)
    measure.write(measure.folder() / "concurrency.json", results)


def watch(options: argparse.Namespace) -> None:
    print(watching.table())


def free_threads(options: argparse.Namespace) -> None:
    found = threads.measure(options.than, options.rounds or 3, options.times)
    measure.write(measure.folder() / "threads.json", found)
    print(threads.table(found))


def instructions(options: argparse.Namespace) -> None:
    sys.exit(counting.check_instructions(options.record))


def publish(options: argparse.Namespace) -> None:
    from .publish import publish

    publish()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="With no command: measure every row."
    )
    parser.set_defaults(run=rows)
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--rounds", type=int, help="how many; 6 unless told")
    parser.add_argument("--pypy", help="a PyPy that has Twisted; looked for unless told")
    parser.add_argument("--all", action="store_true", help="all rows, and not the main ones alone")
    only = "only these; the name of a group stands for those in it"
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help=only)
    more = "the least of these rounds and those before counts, if all else is the same"
    parser.add_argument("--more", action="store_true", help=more)
    commands = parser.add_subparsers(title="commands")
    for run, name, text in (
        (grow, "growth", "ns per item, of 10 to 1,000,000 items"),
        (allocations, "allocations", "allocations per operation"),
        (concurrency, "concurrency", "what deferrous.concurrency costs, beside asyncio's"),
        (watch, "watching", "what `track` and `trace` cost while they are on"),
        (free_threads, "threads", "what a Python without the GIL costs, and what threads bring"),
        (instructions, "instructions", "compare instructions per operation with the record"),
        (publish, "publish", "put what target/bench has into the pages"),
    ):
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run)
        if run is instructions:
            command.add_argument("--record", action="store_true", help="make the record anew")
        if run is free_threads:
            other = "the Python to compare with, which has the GIL; none: only what threads bring"
            command.add_argument("--than", metavar="PYTHON", help=other)
            command.add_argument("--times", type=int, default=200, help="of each, in a process")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
