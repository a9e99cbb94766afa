"""Searches for a program on which two implementations differ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .machine import Implementation, difference, run
from .program import (
    DEFAULT_FEATURES,
    Program,
    RandomSource,
    generate,
    show,
)
from .reducing import reduce

_BELOW = [st.integers(0, max(0, n - 1)) for n in range(200)]


class DrawSource:
    """Decisions that Hypothesis makes, and can shrink."""

    def __init__(self, draw: Callable[[Any], int]) -> None:
        self._draw = draw

    def below(self, n: int) -> int:
        return self._draw(_BELOW[n])


@st.composite
def programs(
    draw: Any, features: frozenset[str] = DEFAULT_FEATURES, max_steps: int = 40
) -> Program:
    return generate(DrawSource(draw), features, max_steps)


class Different(AssertionError):
    """Two implementations were told apart."""

    def __init__(self, text: str, program: Program) -> None:
        super().__init__(text)
        self.program = program


@dataclass
class Pair:
    """Two implementations, and what is compared of them."""

    left: Implementation
    right: Implementation
    features: frozenset[str] = DEFAULT_FEATURES

    def missing(self) -> dict[str, list[str]]:
        """Features that one of the two cannot do, and the names it lacks."""
        missing: dict[str, list[str]] = {}
        for side in (self.left, self.right):
            for feature, names in side.missing().items():
                missing[feature] = [f"{side.label}.{name}" for name in names]
        return missing

    def without_missing(self) -> Pair:
        """The pair, looking only at what both of them can do.

        `DIFFERENTIAL_WITHOUT` in the environment names features to leave out too.
        """
        asked = os.environ.get("DIFFERENTIAL_WITHOUT", "").split(",")
        features = self.features - self.missing().keys() - set(asked)
        return Pair(self.left, self.right, frozenset(features))

    def difference(self, program: Program) -> str | None:
        left = run(self.left, program, self.features)
        right = run(self.right, program, self.features)
        return difference(left, right)

    def check(self, program: Program) -> None:
        found = self.difference(program)
        if found is not None:
            raise Different(self.report(program, found), program)

    def report(self, program: Program, found: str) -> str:
        return (
            f"{self.left.label} (-) and {self.right.label} (+) differ\n"
            f"{found}\nprogram = {show(program)}"
        )

    def reduced(self, program: Program, tries: int = 1500) -> Program:
        return reduce(program, lambda p: self.difference(p) is not None, tries)


def explore(pair: Pair, examples: int, number: int | None = None) -> None:
    """Let Hypothesis search; raises `Different` with the smallest program found.

    Without a number the search is the same every time.
    """

    @settings(
        max_examples=examples,
        derandomize=number is None,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(programs(pair.features))
    def differential(program: Program) -> None:
        pair.check(program)

    if number is not None:
        differential = seed(number)(differential)
    try:
        differential()
    except Different as found:
        program = found.program
    else:
        return
    # Hypothesis shrinks decisions, this shrinks what came of them.
    program = pair.reduced(program)
    raise Different(pair.report(program, pair.difference(program) or ""), program)


def soak(
    pair: Pair, seconds: float, number: object = 0, max_steps: int = 40
) -> tuple[int, Program | None]:
    """Random programs without Hypothesis, for a time; the first that differs."""
    end = time.monotonic() + seconds
    tried = 0
    for program in random_programs(pair.features, number, max_steps):
        if time.monotonic() >= end:
            return tried, None
        tried += 1
        if pair.difference(program) is not None:
            return tried, program
    raise AssertionError("random programs never end")


def random_programs(
    features: frozenset[str], number: object, max_steps: int = 40
) -> Iterator[Program]:
    count = 0
    while True:
        yield generate(RandomSource((number, count)), features, max_steps)
        count += 1
