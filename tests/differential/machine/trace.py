"""The record of a run, and the comparison of two."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from itertools import zip_longest


@dataclass
class Trace:
    lines: list[str] = field(default_factory=list)
    deaths: list[tuple[str, int]] = field(default_factory=list)
    # Length of `lines` where the step began that hit the recursion limit.
    recursed: int | None = None
    # Scripts that were thrown away while they held a lock or semaphore, with the length that
    # `lines` had then.
    closed: dict[str, int] = field(default_factory=dict)
    # Length of `lines` wherever the machine found that something gathered waits for itself, and did
    # something else than the program says; and where it first missed something dead in such a look.
    circles: list[int] = field(default_factory=list)
    missed: int | None = None
    # Names of what stands where something dead stood before: its address in a text may be either's.
    reused: set[str] = field(default_factory=set, compare=False)


def difference(left: Trace, right: Trace) -> str | None:
    """The first difference between two traces, or None."""
    one, two = left.lines, right.lines
    # Where one of them ran out of stack nothing more can be compared.
    stops = [t.recursed for t in (left, right) if t.recursed is not None]
    # Nor where a script gave back what it held because it was thrown away, if the oracle throws
    # the same away later: the frames of Twisted's driver, which a failure's traceback leads to,
    # keep a script alive that nobody can resume.  Whoever waits for the lock goes on at another
    # moment then, and anything may follow from that.
    stops += [at for sid, at in right.closed.items() if at < left.closed.get(sid, 0)]
    # Nor where the machine found a circle on the left only: a link of it is dead on the right.
    stops += _circles_of_the_dead(left, right)
    if stops:
        one, two = one[: min(stops)], two[: min(stops)]
    for index in range(max(len(one), len(two))):
        here = one[index] if index < len(one) else "(nothing)"
        there = two[index] if index < len(two) else "(nothing)"
        if here != there and not (
            _died_sooner(here, there, right.reused) or _misnamed(here, there)
        ):
            before = "".join(f"    {line}\n" for line in one[max(0, index - 12) : index])
            return f"{before}  - {here}\n  + {there}"
    if stops:
        return None
    return _deaths_differ(left.deaths, right.deaths)


def _circles_of_the_dead(left: Trace, right: Trace) -> list[int]:
    """Where the first circle is that only the oracle has, if the other missed something dead."""
    pairs = zip_longest(left.circles, right.circles, fillvalue=sys.maxsize)
    here, there = next((pair for pair in pairs if pair[0] != pair[1]), (0, 0))
    dead = right.missed is not None and right.missed <= here
    return [here] if here < there and dead else []


def _died_sooner(left: str, right: str, reused: set[str]) -> bool:
    """Whether two lines differ only in addresses, of what is dead on the right already."""

    def pattern(part: str) -> str:
        dead = part[:1] == "@" and (part == "@?" or part[1:] in reused)
        return r"@[\w?]+" if dead else re.escape(part)

    shown = "".join(map(pattern, re.split(r"(@[\w?]+)", right)))
    return re.fullmatch(shown, left) is not None


def _misnamed(left: str, right: str) -> bool:
    """Whether two lines differ only in a function that a warning of the oracle takes for one of
    the program: its own driver, which stands in the traceback of what `returnValue` raised once
    that has been thrown into a second generator.
    """
    return "causing '_inlineCallbacks' to exit" in left and left == re.sub(
        r"causing '\w+' to exit", "causing '_inlineCallbacks' to exit", right
    )


def _deaths_differ(left: list[tuple[str, int]], right: list[tuple[str, int]]) -> str | None:
    table: dict[str, tuple[list[int], list[int]]] = {}
    for side, deaths in enumerate((left, right)):
        for text, step in deaths:
            table.setdefault(text, ([], []))[side].append(step)
    for text, (one, two) in sorted(table.items()):
        if len(one) != len(two):
            return f"{text}\n  - heard at steps {one}\n  + heard at steps {two}"
        if any(b > a for a, b in zip(sorted(one), sorted(two), strict=True)):
            return f"{text}\n  - heard at steps {one}\n  + later, at steps {two}"
    return None
