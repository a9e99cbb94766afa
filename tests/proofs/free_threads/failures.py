"""Failures that several threads look at and change."""

from __future__ import annotations

import random
from typing import Any

from deferrous import failure as numbered
from deferrous.failure import Failure

from .parts import at_once


def attributes(rng: random.Random) -> None:
    """What a thread sets stays, while another moves the attributes into the dict."""
    failures: list[Any] = [Failure(ValueError(number)) for number in range(60)]
    new, other = KeyError("new"), KeyError("other")

    def set_value() -> None:
        for failure in failures:
            failure.value = new

    def set_more() -> None:
        for failure in failures:
            failure.more = 1

    def look() -> None:
        for failure in failures:
            vars(failure)

    at_once(set_value, set_more, look, look)
    for failure in failures:
        assert failure.value is new, failure.value
        assert failure.more == 1
        assert vars(failure)["value"] is new
        assert failure.type is ValueError

    def change() -> None:
        for failure in again:
            vars(failure)["value"] = other

    again: list[Any] = [Failure(ValueError(number)) for number in range(60)]
    at_once(change, *[lambda: [vars(failure) for failure in again] and None] * 3)
    assert all(failure.value is other for failure in again)


def checked(rng: random.Random) -> None:
    """Threads ask failures what they are, and for their texts."""
    failures: list[Any] = [Failure(rng.choice((KeyError, OSError))()) for _ in range(40)]

    def ask() -> None:
        for failure in failures:
            assert failure.check(LookupError, OSError) in (LookupError, OSError)
            failure.getTraceback()
            failure.cleanFailure()

    at_once(*[ask] * 4)


def counted(rng: random.Random) -> None:
    """No two failures have the same number, and each thread sees its own ones grow."""
    numbers: list[list[int]] = []

    def fail() -> None:
        before = numbered.count
        made = [Failure(ValueError()).count for _ in range(100)]
        numbers.append(made)
        assert before < made[0] and made == sorted(made) and numbered.count == made[-1]

    at_once(*[fail] * 4)
    assert len({number for made in numbers for number in made}) == 400


PROGRAMS = (attributes, checked, counted)
