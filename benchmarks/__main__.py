"""`python -m benchmarks`: see `docs/performance.md`."""

from __future__ import annotations

import argparse
import sys

from . import measure, report
from .rows import ROWS


def bench(options: argparse.Namespace) -> None:
    unknown = set(options.rows) - ROWS.keys()
    if unknown:
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    results = measure.measure(
        pypy=options.pypy or measure.find_pypy(),
        keys=options.rows or list(ROWS),
        rounds=options.rounds or (1 if options.quick else 6),
        aim=0.001 if options.quick else 0.03,
        repeats=1 if options.quick else 3,
        count=10_000 if options.quick else 1_000_000,
    )
    if not options.rows and not options.quick:
        measure.write(results)
    for part in (report.environment, report.table, report.summary):
        print(part(results), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.set_defaults(run=bench)
    parser.add_argument("--quick", action="store_true", help="only see that everything runs")
    parser.add_argument("--rounds", type=int, help="how many; 6 unless told")
    parser.add_argument("--pypy", help="a PyPy that has Twisted; looked for unless told")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="only these")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
