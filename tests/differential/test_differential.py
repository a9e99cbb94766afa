"""Twisted and deferrous behave the same, whatever a program does with them.

The search here is short and the same every time; `python -m tests.differential` goes
on for as long as it is told to, on other programs.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import warnings
from itertools import islice
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from .machine import Implementation, Trace, difference, load, run
from .program import ALL_FEATURES, DEFAULT_FEATURES, Node, Program, RandomSource, generate
from .search import Different, Pair, explore, random_programs, soak

ORACLE = "twisted.internet.defer"
ORACLE_ONLY = os.environ.get("DEFERROUS_ORACLE_ONLY", "") not in ("", "0")
EXAMPLES = 800
AT_RANDOM = 1500

needs_deferrous = pytest.mark.skipif(ORACLE_ONLY, reason="DEFERROUS_ORACLE_ONLY is set")


@needs_deferrous
def test_deferrous_shows_what_twisted_shows() -> None:
    pair = Pair(load(ORACLE), load("deferrous"))
    left_out = pair.missing()
    if left_out:
        print("left out, for want of names:", left_out)
    try:
        explore(pair.without_missing(), EXAMPLES)
    except Different as found:
        pytest.fail(str(found), pytrace=False)


@needs_deferrous
def test_deferrous_shows_what_twisted_shows_at_random() -> None:
    pair = Pair(load(ORACLE), load("deferrous")).without_missing()
    for program in islice(random_programs(pair.features, "short"), AT_RANDOM):
        if pair.difference(program) is not None:
            program = pair.reduced(program)
            found = pair.difference(program) or "nothing any more"
            pytest.fail(pair.report(program, found), pytrace=False)


def _held_twice(nest: int, drops: int) -> Program:
    """A script awaits another, which awaits a lock that it holds itself; both are collected."""
    held: Node = ("with", 0, (("with", 0, ()),))
    outer = ("script", (("nest", nest, ("script", (held,))),))
    return (("gen", 2, outer), *[("drop", 0)] * drops)


@needs_deferrous
@pytest.mark.parametrize("drops", [0, 1, 2])
@pytest.mark.parametrize("nest", [0, 2, 3])
def test_the_order_in_which_a_cycle_is_closed_is_not_compared(nest: int, drops: int) -> None:
    pair = Pair(load(ORACLE), load("deferrous")).without_missing()
    assert pair.difference(_held_twice(nest, drops)) is None


@needs_deferrous
@pytest.mark.parametrize("drops", [0, 1, 2])
@pytest.mark.parametrize("given", [0, 1])
def test_who_waits_for_a_lock_is_not_closed_before_its_holder(given: int, drops: int) -> None:
    holder: Node = ("script", (("with", 0, (("yield", ("d", given)),)),))
    waiter: Node = ("script", (("with", 0, (("raise", "ValueError"),)),))
    program: Program = (("gen", 2, holder), ("gen", 0, waiter), *[("drop", 0)] * drops)
    traces = [run(load(name), program) for name in (ORACLE, "deferrous")]
    assert difference(*traces) is None
    assert all(any("ValueError" in text for text, _ in trace.deaths) for trace in traces)


_FIRST_ERROR: Program = (
    ("gen", 0, ("script", (("with", 0, (("yield", ("d", 0)),)),))),
    ("gather", (), 0),
    ("dlist", (1, 0), 2),
    ("drop", 0),
    ("drop", 2),
    ("cancel", 0),
)
_STOP_ITERATION: Program = (
    ("put", 0, ("pd",)),
    ("get", 0),
    ("run", 0, ("cb", (), ("raw", ("iter", 1))), 0),
)


@needs_deferrous
@pytest.mark.parametrize("program", [_FIRST_ERROR, _STOP_ITERATION])
def test_a_report_neither_gives_nor_uses_names(program: Program) -> None:
    pair = Pair(load(ORACLE), load("deferrous"))
    assert pair.difference(program) is None


@needs_deferrous
def test_a_brief_traceback_as_a_result_has_no_frames_of_an_implementation() -> None:
    brief: Node = ("probe", 1, 0, 8, ("class", "ValueError"), ("class", "ValueError"))
    program: Program = (
        ("gen", 0, ("script", (("yield", ("d", 0)),))),
        ("cancel", 0),
        ("add", 0, 0, ("cb", (), ("raw", brief)), None, 0),
    )
    pair = Pair(load(ORACLE), load("deferrous"))
    assert pair.difference(program) is None


_NAMED_IN_A_TEXT: Program = (
    ("err", 0, 0, "ValueError"),
    ("add", 0, 3, ("cb", (("new", ("noop",), 0),), ("raw", ("notgen", 5, 3))), None, 0),
    ("drop", -2),
)


@needs_deferrous
@pytest.mark.parametrize("more", [(), (("pause", 0),), (("new", ("noop",), 0), ("pause", 0))])
def test_what_a_text_names_may_die_sooner(more: Program) -> None:
    pair = Pair(load(ORACLE), load("deferrous"))
    assert pair.difference(_NAMED_IN_A_TEXT + more) is None


def test_what_a_text_names_may_not_die_later_nor_be_another() -> None:
    named, dead = Trace(["x @d1 y @d2"]), Trace(["x @? y @d2"])
    assert difference(named, dead) is None
    assert difference(dead, named)
    assert difference(named, Trace(["x @? y @d3"]))
    assert difference(named, Trace(["x @d3 y @d2"], reused={"d3"})) is None
    assert difference(named, Trace(["x @d3 y @d2"], reused={"d2"}))


@needs_deferrous
def test_the_traceback_of_returnvalue_is_not_taken_away() -> None:
    clean: Node = ("act", ("probe", 0, 7, 6, ("class", "ValueError"), ("class", "ValueError")))
    attempt: Node = ("try", (("hrv", ("none",)),), None, None, (clean,))
    pair = Pair(load(ORACLE), load("deferrous"))
    assert pair.difference((("gen", 0, ("script", (attempt,))),)) is None


@needs_deferrous
def test_what_waits_in_a_circle_is_not_awaited_and_unpaused() -> None:
    program: Program = (
        ("fromfuture", 0, 0),
        ("new", ("nothing",), 0),
        ("chain", 0, 1),
        ("futset", 0, ("d", 1)),
        ("spin",),
        ("gen", 2, ("script", (("yield", ("d", 0)),))),
        ("unpause", 0),
    )
    pair = Pair(load(ORACLE), load("deferrous"))
    assert pair.difference(program) is None  # and it ends at all


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("drops", [0, 1, 2])
@pytest.mark.parametrize("nest", [0, 2, 3])
@pytest.mark.parametrize("name", [ORACLE, pytest.param("deferrous", marks=needs_deferrous)])
def test_what_a_collection_revives_ends_in_the_run(name: str, nest: int, drops: int) -> None:
    late: list[object] = []
    globalLogPublisher.addObserver(late.append)
    try:
        run(load(name), _held_twice(nest, drops))
        gc.collect()
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(late.append)
    assert not late


# The traceback of the failure of d3 leads to the frame that ran the callbacks of d2, and the last
# thing that one did was to resume the other script, which is dropped while it holds a lock.
_KEPT_BY_A_FRAME: Program = (
    ("pause", 0),
    ("new", ("nothing",), 0),
    ("gen", 0, ("script", (("yield", ("sub",)),))),
    (
        "gen",
        0,
        (
            "script",
            (
                ("yield", ("d", 2)),
                ("nest", 0, ("script", (("with", 0, (("yield", ("d", 1)),)),))),
            ),
        ),
    ),
    ("cancel", 2),
    ("drop", 4),
    ("drop", 1),
    ("acquire", 0),
)


@needs_deferrous
def test_a_lock_that_is_given_back_sooner_than_by_twisted_is_not_compared() -> None:
    twisted, ours = load(ORACLE), load("deferrous")
    left, right = run(twisted, _KEPT_BY_A_FRAME), run(ours, _KEPT_BY_A_FRAME)
    assert left.lines != right.lines
    assert difference(left, right) is None


# The traceback of the failure of d3 leads to the frame that ran the callbacks of d1, a list that
# waited for d0. The race d2 waited for the list, so that d0 would wait for itself with d2 as its
# result: with Twisted, which has the list still, the machine gives it None.
_FAILING: Node = ("gen", 0, ("script", (("raise", "ValueError"),)))
_CIRCLE_KEPT_BY_A_FRAME: Program = (
    ("dlist", (0,), 0),
    ("race", (1,)),
    ("add", 1, 0, ("cb", (_FAILING,), ("ret", ("none",))), None, 0),
    ("fire", 0, ("none",)),
    ("drop", 1),
)


@needs_deferrous
@pytest.mark.parametrize(
    "given",
    [
        (("setresult", 0, ("d", 1)),),
        (("setcalled", 0, 0), ("fire", 0, ("d", 1))),
        (("add", 0, 0, ("cb", (), ("ret", ("d", 1))), None, 0),),
        (("add", 0, 0, ("cb", (), ("raw", ("race", (1,)))), None, 0),),
    ],
)
def test_a_circle_with_something_that_is_dead_sooner_is_not_compared(given: Program) -> None:
    twisted, ours = load(ORACLE), load("deferrous")
    program = _CIRCLE_KEPT_BY_A_FRAME + given
    left, right = run(twisted, program), run(ours, program)
    assert left.lines != right.lines
    assert difference(left, right) is None


def test_only_a_circle_that_twisted_alone_has_is_not_compared() -> None:
    here, there = ["a", "b", "c"], ["a", "b", "d"]
    dead = Trace(there, circles=[1], missed=1)
    assert difference(Trace(here, circles=[1, 2]), dead) is None
    assert difference(Trace(here, circles=[1, 1]), Trace(["a", "d"], circles=[1], missed=1)) is None
    # Both have it, ours has more, nothing is dead, it died later, or they differ before it.
    assert difference(Trace(here, circles=[1]), dead)
    assert difference(Trace(here), dead)
    assert difference(Trace(here, circles=[1, 2]), Trace(there, circles=[1]))
    assert difference(Trace(here, circles=[1, 2]), Trace(there, circles=[1], missed=3))
    assert difference(Trace(here, circles=[1, 2]), Trace(["a", "d"], circles=[1], missed=1))


@needs_deferrous
def test_the_time_of_a_future_is_over_with_twisted_too() -> None:
    program = (("fromfuture", 0, 0), ("timeout", 0, 0, None), ("advance", 0), ("spin",))
    twisted, ours = load(ORACLE), load("deferrous")
    assert difference(run(twisted, program), run(ours, program)) is None


def test_only_a_lock_that_twisted_gives_back_later_is_not_compared() -> None:
    here, there = ["a", "b", "c"], ["a", "b", "d"]
    assert difference(Trace(here, closed={"g0": 3}), Trace(there, closed={"g0": 2})) is None
    assert difference(Trace(here, closed={"g0": 3}), Trace(there, closed={"g0": 3}))
    assert difference(Trace(here, closed={"g0": 2}), Trace(there, closed={"g0": 3}))
    assert difference(Trace(here), Trace(there, closed={"g0": 2}))
    assert difference(Trace(here, closed={"g0": 3}), Trace(["a", "d"], closed={"g0": 2}))


#: What `returnValue` raised in a helper goes on through a second generator.
_THROWN_ON: Program = (
    (
        "gen",
        0,
        (
            "script",
            (
                (
                    "try",
                    (("hrv", ("self",)),),
                    "ValueError",
                    (),
                    (
                        (
                            "nest",
                            2,
                            (
                                "script",
                                (
                                    (
                                        "twice",
                                        (
                                            ("act", ("fail", 5, "ValueError")),
                                            ("nest", 0, ("script", (("yield", ("d", -2)),))),
                                        ),
                                    ),
                                ),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
)


@needs_deferrous
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Twisted finds another traceback")
def test_a_warning_in_which_twisted_names_its_own_driver_is_not_compared() -> None:
    twisted, ours = load(ORACLE), load("deferrous")
    left, right = run(twisted, _THROWN_ON), run(ours, _THROWN_ON)
    assert left.lines != right.lines
    assert difference(left, right) is None
    assert difference(Trace(["causing 'script' to exit"]), Trace(["causing 'helper' to exit"]))


def test_a_report_of_an_error_without_a_text_is_heard() -> None:
    heard = run(load(ORACLE), (("fail", 0, "Unprintable"),)).deaths
    assert any("Unprintable" in text for text, _ in heard)


def test_twisted_shows_the_same_twice() -> None:
    twisted = load(ORACLE)
    try:
        explore(Pair(twisted, twisted, ALL_FEATURES), EXAMPLES // 4)
    except Different as found:
        pytest.fail(str(found), pytrace=False)


def test_one_program_has_one_trace() -> None:
    twisted = load(ORACLE)
    for number in range(20):
        program = generate(RandomSource(number), ALL_FEATURES)
        first, second = run(twisted, program), run(twisted, program)
        assert first == second
        assert difference(first, second) is None


# asyncio shortens the text of the result of a future that holds a Deferred: the beginning of its
# address is left out.
_SHORTENED: Program = (
    ("futset", 0, ("d", 0)),
    ("fromfuture", 0, 0),
    ("fromfuture", 0, 0),
    ("fromfuture", 0, 0),
    ("fire", 1, ("none",)),
    ("add", 5, 0, ("cb", (("spin",), ("succeed", ("d", 2))), ("raw", ("asfuture", 4))), None, 0),
)


@needs_deferrous
def test_an_address_that_is_shortened_is_not_compared() -> None:
    assert Pair(load(ORACLE), load("deferrous")).difference(_SHORTENED) is None


def test_a_run_leaves_the_process_as_it_was() -> None:
    twisted = load(ORACLE)

    def shared() -> list[object]:
        return [
            list(globalLogPublisher._observers),
            list(warnings.filters),
            warnings.showwarning,
            sys.unraisablehook,
            twisted.Deferred.debug,
            gc.isenabled(),
        ]

    before = shared()
    for program in [(("debug", 1), ("fail", 2, "Boom"), ("drop", 0), ("old", 0, 0, ""))]:
        run(twisted, program)
    assert shared() == before


@pytest.mark.usefixtures("reports")
def test_what_is_left_when_a_run_ends_is_reported_in_it() -> None:
    twisted = load(ORACLE)
    late: list[object] = []
    globalLogPublisher.addObserver(late.append)
    try:
        for number, program in enumerate(random_programs(DEFAULT_FEATURES, "late")):
            run(twisted, program)
            if number == 100:
                break
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(late.append)
    assert not late


def last_in_first_out(deferred: Any) -> None:
    """The callback that was added last is called first."""
    add = deferred.addCallbacks

    def add_callbacks(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.called:
            return add(self, *args, **kwargs)
        add(self, *args, **kwargs)
        self._callbacks.insert(0, self._callbacks.pop())
        return self

    deferred.addCallbacks = add_callbacks


def paused_once(deferred: Any) -> None:
    """Pauses are not counted."""

    def pause(self: Any) -> None:
        self.paused = 1

    deferred.pause = pause


def cancelled_when_fired(deferred: Any) -> None:
    """Whoever fires a cancelled Deferred late is refused."""
    cancel = deferred.cancel

    def cancel_and_refuse(self: Any) -> None:
        cancel(self)
        self._suppressAlreadyCalled = False

    deferred.cancel = cancel_and_refuse


@pytest.mark.parametrize("change", [last_in_first_out, paused_once, cancelled_when_fired])
def test_a_changed_rule_is_noticed(change: Any) -> None:
    """Twisted with one of its rules changed, against Twisted."""
    twisted = load(ORACLE)
    spec = importlib.util.find_spec(ORACLE)
    assert spec is not None and spec.loader is not None
    defer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(defer)
    change(defer.Deferred)
    changed = Implementation(defer, twisted.failure, change.__name__)
    _, found = soak(Pair(twisted, changed), 20)
    assert found is not None
