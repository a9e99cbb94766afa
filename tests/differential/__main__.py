"""The long form of the differential test.

    python -m tests.differential --minutes 10 [--seed N]
    python -m tests.differential --left twisted.internet.defer --right some.module

Half of the time goes to Hypothesis, half to plain random programs, which are less
cleverly chosen but many more.  The first difference is shrunk and printed, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time

from .machine import difference, load, run
from .program import ALL_FEATURES, DEFAULT_FEATURES
from .search import Different, Pair, explore, soak


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="default: the time")
    parser.add_argument("--left", default="twisted.internet.defer", metavar="MODULE")
    parser.add_argument("--right", default="deferrous", metavar="MODULE")
    parser.add_argument(
        "--with",
        dest="more",
        action="append",
        default=[],
        choices=sorted(ALL_FEATURES),
        help="look at this too (repeat for more)",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=sorted(ALL_FEATURES),
        help="leave this out (repeat for more)",
    )
    parser.add_argument("--steps", type=int, default=40, help="longest program")
    parser.add_argument("--no-hypothesis", action="store_true")
    parser.add_argument("--program", help="file with one program to run and show")
    return parser.parse_args()


def show_one(pair: Pair, path: str) -> int:
    with open(path, encoding="utf-8") as file:
        program = eval(file.read(), {})
    left = run(pair.left, program, pair.features)
    right = run(pair.right, program, pair.features)
    print("\n".join(left.lines), *left.deaths, sep="\n")
    found = difference(left, right)
    print(pair.report(program, found) if found else "no difference")
    return bool(found)


def main() -> int:
    options = arguments()
    features = (DEFAULT_FEATURES | set(options.more)) - set(options.without)
    pair = Pair(load(options.left), load(options.right), frozenset(features))
    for feature, names in pair.missing().items():
        print(f"left out: {feature} (missing: {', '.join(names)})")
    pair = pair.without_missing()
    if options.program:
        return show_one(pair, options.program)
    number = int(time.time()) if options.seed is None else options.seed
    print(f"seed {number}, {options.minutes:g} minutes", flush=True)
    end = time.monotonic() + 60 * options.minutes
    turn = 60 * options.minutes / 20
    by_hypothesis = at_random = 0
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        seconds = min(turn, max(1.0, end - time.monotonic()))
        tried, found = soak(pair, seconds, (number, rounds), options.steps)
        at_random += tried
        if found is not None:
            print(f"random program {tried} of round {rounds}; reducing", flush=True)
            program = pair.reduced(found)
            print(pair.report(program, pair.difference(program) or "gone"))
            return 1
        stop = min(end, time.monotonic() + turn)
        while not options.no_hypothesis and time.monotonic() < stop:
            try:
                explore(pair, 300, number * 1_000_003 + by_hypothesis)
            except Different as difference_found:
                print(difference_found)
                return 1
            by_hypothesis += 300
        print(f"  {at_random} random, {by_hypothesis} by Hypothesis", flush=True)
    print(f"no difference in {at_random + by_hypothesis} programs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
