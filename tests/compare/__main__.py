"""Compare suites: python -m tests.compare PROGRAM ..."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from .environments import CACHE, Environment, here, newest_wheel
from .programs import PROGRAMS, Program
from .suites import Suite, restore_null
from .verdict import Difference, Verdict, judge, read_exceptions

DESCRIPTION = """\
Run the test suites of programs on Twisted as it is and on deferrous, and compare them test by
test. Each module of tests runs in a process of its own, in a new folder; one that crashes or hangs
costs the test that it was in. What differs is run once more on both sides; if it does not differ
then, it is called flaky. Exits with 0 if nothing differs that is not on the list of exceptions,
tests/compare/exceptions.txt, and with 1 otherwise.
"""


def main() -> int:
    options = _options()
    if options.list:
        for name, program in PROGRAMS.items():
            print(f"{name:16}{program.requirement}")
        return 0
    restore_null()
    totals, good = {}, True
    for name in options.programs:
        program = PROGRAMS[name]
        start = time.monotonic()
        total = _compare(program, options)
        total.seconds = time.monotonic() - start
        totals[program.name] = total
        good = good and total.good
    if len(totals) > 1:
        print()
        for total in totals.values():
            print(total)
    if options.json:
        text = json.dumps({name: total.as_dict() for name, total in totals.items()}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compare",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    parser.add_argument("--list", action="store_true", help="list the programs, and their versions")
    parser.add_argument(
        "-m", "--module", action="append", default=[], metavar="PATTERN", help="only these modules"
    )
    parser.add_argument("-k", "--match", default="", help="only tests with this in their id")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="modules at a time (default: 2)")
    parser.add_argument("--quick", action="store_true", help="leave out the slow modules")
    parser.add_argument("-v", "--verbose", action="store_true", help="whole tracebacks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there, too")
    parser.add_argument("--wheel", type=Path, help="of deferrous (default: what make built)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where environments are kept")
    parser.add_argument(
        "--here", action="store_true", help="in this Python's environment, with what it has"
    )
    options = parser.parse_args()
    unknown = [name for name in options.programs if name not in PROGRAMS]
    if unknown or not (options.programs or options.list):
        parser.error(f"want programs, of: {', '.join(PROGRAMS)}")
    return options


def _compare(program: Program, options: argparse.Namespace) -> Verdict:
    if options.here:
        suites = here(program, patterns=options.module)
    else:
        environment = Environment(program, options.wheel or newest_wheel(), options.cache)
        environment.make()
        suites = environment.suites(patterns=options.module, quick=options.quick)
    exceptions = read_exceptions().get(program.name, {})
    title = f"{program.name} {program.version}"
    total = Verdict(f"{title}, Python {sys.version.split()[0]}, {len(suites)} modules")
    for verdict in _judge_all(suites, exceptions, options):
        total.add(verdict)
        left_out = ", none of it runs" if not any(verdict.stock.values()) else ""
        print(f"[{verdict.seconds:4.0f} s] {verdict}{left_out}", flush=True)
        _show("DIFFERS", verdict.differing, options.verbose)
    whole = not (options.module or options.match or options.quick or options.here)
    if whole:
        differing = {each.test for each in total.excepted}
        total.complaints += [
            f"on the list of exceptions, but there is no such test: {test}"
            for test in exceptions
            if test not in differing and not any(test in each for each in total.complaints)
        ]
    if not total.stock["passed"]:
        total.complaints.append("nothing passes on Twisted itself")
    print(f"\n{total}")
    if options.quick and program.slow:
        print(f"left out, being slow: {', '.join(program.slow)}")
    for each in total.excepted:
        print(f"  excepted: {each.test}: {each}: {exceptions[each.test]}")
    _show("flaky", total.flaky, False)
    _show("passes on deferrous only", total.better, False)
    _show("DIFFERS", total.differing, False)
    return total


def _judge_all(suites: Sequence[Suite], exceptions: dict[str, str], options: argparse.Namespace):
    def timed(suite: Suite) -> Verdict:
        start = time.monotonic()
        verdict = judge(suite, exceptions, match=options.match)
        verdict.seconds = time.monotonic() - start
        return verdict

    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        for done in as_completed([pool.submit(timed, suite) for suite in suites]):
            yield done.result()


def _show(word: str, differences: Sequence[Difference], whole: bool) -> None:
    for each in differences:
        detail = (each.stock if each.ours.good else each.ours).detail
        lines = detail.rstrip().splitlines() or [""]
        if not whole:
            lines = lines[-1:]
        print(f"  {word}: {each.test}: {each}", *lines, sep="\n      ", flush=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    sys.exit(main())
