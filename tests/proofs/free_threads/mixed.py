"""Deferreds that threads copy, show, write to, race and convert, while others fire them."""

from __future__ import annotations

import contextvars
import copy
import gc
import pickle
import random
import threading
import weakref
from concurrent.futures import Future
from typing import Any

from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredList,
    FirstError,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
    race,
)
from deferrous.failure import Failure

from .parts import THREADS, Watched, at_once


def _fire(deferred: Deferred[Any], result: Any) -> bool:
    try:
        if isinstance(result, Exception):
            deferred.errback(result)
        else:
            deferred.callback(result)
    except AlreadyCalledError:
        return False
    return True


#: What programs look at, of all states.
_ATTRIBUTES = ("_chainedTo", "_canceller", "_suppressAlreadyCalled", "callbacks", "__dict__")


def looked_at(rng: random.Random) -> None:
    """One is copied, pickled, shown and read as others fire and cancel it, and add to it."""
    all_watched = [Watched() for _ in range(12)]

    def look() -> None:
        for watched in all_watched:
            it = watched.deferred
            for _ in range(3):
                repr(it), it.called, it.paused, getattr(it, "result", None)
                for name in _ATTRIBUTES:
                    getattr(it, name)
                hash(it), bool(it), weakref.ref(it)()
                copied: Any = copy.copy(it)
                assert copied.called in (True, False)
                it.__reduce_ex__(4)

    def work(thread: int) -> None:
        for watched in all_watched:
            watched.add(thread, 0)
            _fire(watched.deferred, thread)
            watched.add(thread, 1)
            watched.deferred.cancel()
            watched.add(thread, 2)

    at_once(look, look, *(lambda thread=thread: work(thread) for thread in range(THREADS)))
    for watched in all_watched:
        watched.check(3)


def pickled(rng: random.Random) -> None:
    """What is at rest is pickled by several threads, and added to by others."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(30)]
    for number, each in enumerate(deferreds):
        each.callback(number)

    def dump() -> None:
        for number, each in enumerate(deferreds):
            try:
                again = pickle.loads(pickle.dumps(each))
            except Exception:
                # A callback of the others is in it, or runs.
                continue
            assert again.called
            assert again.result in (number, None), again.result

    def add() -> None:
        for each in deferreds:
            each.addCallback(lambda result: result)

    at_once(dump, add, dump, add)
    assert [each.result for each in deferreds] == [*range(30)]


def written(rng: random.Random) -> None:
    """Attributes that programs set are set by threads, while others fire: nothing crashes."""
    deferreds: list[Any] = [Deferred() for _ in range(20)]

    def write() -> None:
        for each in deferreds:
            each.result = [1]
            each.called = False
            each.paused = 0
            each._canceller = lambda _: None
            each._chainedTo = None
            each._suppressAlreadyCalled = True
            each._runningCallbacks = False
            each.__dict__["more"] = object()
            each.mine = [each]
            try:
                del each.result
            except AttributeError:
                pass

    def use() -> None:
        for each in deferreds:
            for step in (
                lambda each=each: each.callback([2]),
                lambda each=each: each.addBoth(lambda result: result),
                lambda each=each: each.cancel(),
                lambda each=each: repr(each),
                lambda each=each: each.errback(ValueError()),
            ):
                try:
                    step()
                except (AlreadyCalledError, AttributeError):
                    pass
            each.addErrback(lambda _: None)

    at_once(write, use, write, use, gc.collect)
    for each in deferreds:
        each.addErrback(lambda _: None)


def raced(rng: random.Random) -> None:
    """One of those that race wins, the others are cancelled, whoever fires them."""
    races: list[list[Deferred[Any]]] = [[Deferred() for _ in range(8)] for _ in range(20)]
    outcomes: list[list[list[Any]]] = [[[] for _ in runners] for runners in races]
    won: list[list[Any]] = [[] for _ in races]
    both: list[Deferred[Any]] = []
    for runners, ends, first in zip(races, outcomes, won, strict=True):
        for runner, end in zip(runners, ends, strict=True):
            runner.addBoth(lambda result, end=end: end.append(result) or result)
        both.append(race(runners).addBoth(first.append))

    def work(thread: int) -> None:
        for runners in races:
            for number in range(thread, 8, 3):
                _fire(runners[number], number)

    def cancel() -> None:
        for each in both[::3]:
            each.cancel()

    at_once(*(lambda thread=thread: work(thread) for thread in range(3)), cancel)
    for ends, first in zip(outcomes, won, strict=True):
        assert len(first) == 1, first
        assert all(len(end) == 1 for end in ends), ends
        if not isinstance(first[0], Failure):
            index, result = first[0]
            assert index == result and ends[index] == [result], (first, ends)


def lists(rng: random.Random) -> None:
    """Lists are cancelled, and fired by failures and results of several threads: each ends once."""
    all_parts: list[list[Deferred[Any]]] = [[Deferred() for _ in range(12)] for _ in range(8)]
    ended: list[list[list[Any]]] = [[[] for _ in range(4)] for _ in all_parts]
    wholes: list[list[Deferred[Any]]] = [
        [
            gatherResults(parts, consumeErrors=True),
            DeferredList(parts, consumeErrors=True),
            DeferredList(parts, fireOnOneErrback=True, consumeErrors=True),
            DeferredList(parts, fireOnOneCallback=True, consumeErrors=True),
        ]
        for parts in all_parts
    ]
    for lists_, ends in zip(wholes, ended, strict=True):
        for each, end in zip(lists_, ends, strict=True):
            each.addBoth(end.append)
    fails = rng.random() < 0.5

    def work(thread: int) -> None:
        for parts in all_parts:
            for number in range(thread, 12, 3):
                _fire(parts[number], ValueError(number) if fails and number % 5 == 4 else number)

    def cancel() -> None:
        for lists_ in wholes[::2]:
            random.choice(lists_).cancel()

    at_once(*(lambda thread=thread: work(thread) for thread in range(3)), cancel)
    for ends in ended:
        assert [len(end) for end in ends] == [1] * 4, ends
        results = ends[1][0]
        assert len(results) == 12, results
        for number, (good, result) in enumerate(results):
            if good:
                # The list before it has consumed a failure, if it is None.
                assert result in (number, None), results
            else:
                assert result.check(ValueError, CancelledError), results
        if isinstance(ends[0][0], Failure):
            assert ends[0][0].check(FirstError), ends[0]
        else:
            assert ends[0][0] == [*range(12)], ends[0]


def futures(rng: random.Random) -> None:
    """Deferreds for futures of threads are cancelled as these get their results."""
    made: list[Future[Any]] = [Future() for _ in range(40)]
    outcomes: list[list[Any]] = [[] for _ in made]
    deferreds: list[Deferred[Any]] = []
    for future, outcome in zip(made, outcomes, strict=True):
        deferred: Deferred[Any] = Deferred.fromFuture(future, scheduler=lambda call: call())
        deferred.addBoth(outcome.append)
        deferreds.append(deferred)

    def set_all(step: int) -> None:
        for number, future in enumerate(made[::step]):
            try:
                future.set_result(number * step)
            except Exception:
                pass

    def cancel() -> None:
        for deferred in deferreds[::3]:
            deferred.cancel()

    at_once(lambda: set_all(1), lambda: set_all(2), cancel, cancel)
    for number, outcome in enumerate(outcomes):
        assert len(outcome) == 1, (number, outcome)
        assert outcome[0] == number or outcome[0].check(CancelledError), outcome


def cancellers(rng: random.Random) -> None:
    """Cancellers fire their Deferreds, with results and others, while threads do so, too."""

    def canceller(deferred: Deferred[Any]) -> None:
        _fire(deferred, random.choice((1, ValueError("by the canceller"))))

    deferreds: list[Deferred[Any]] = [Deferred(canceller) for _ in range(40)]
    outcomes: list[list[Any]] = [[] for _ in deferreds]
    for deferred, outcome in zip(deferreds, outcomes, strict=True):
        deferred.addBoth(outcome.append)

    def fire() -> None:
        for deferred in deferreds:
            _fire(deferred, 2)

    def cancel() -> None:
        for deferred in deferreds:
            deferred.cancel()

    at_once(cancel, fire, cancel, cancel)
    for outcome in outcomes:
        assert len(outcome) == 1, outcome
        assert outcome[0] in (1, 2) or outcome[0].check(ValueError, CancelledError), outcome


def rows(rng: random.Random) -> None:
    """Rows, where each waits for the next, are fired from both ends, and cancelled."""
    length = 20
    all_rows: list[list[Deferred[Any]]] = [[Deferred() for _ in range(length)] for _ in range(8)]
    orders: list[list[int]] = [[] for _ in all_rows]
    ended: list[list[Any]] = [[] for _ in all_rows]
    for row, order, end in zip(all_rows, orders, ended, strict=True):
        for number in range(length - 1):
            row[number].addBoth(lambda _, row=row, number=number: row[number + 1])
            row[number].addBoth(lambda it, order=order, number=number: order.append(number) or it)
        row[0].addBoth(end.append)

    def fire(backwards: bool) -> None:
        for row in all_rows:
            for each in row[::-1] if backwards else row:
                _fire(each, "result")

    def cancel() -> None:
        for row in all_rows[::2]:
            for _ in range(3):
                row[0].cancel()

    at_once(lambda: fire(False), lambda: fire(True), cancel)
    for order, end in zip(orders, ended, strict=True):
        assert len(end) == 1, end
        assert sorted(order) == [*range(length - 1)], order
        assert end[0] == "result" or end[0].check(CancelledError), end


def shared_end(rng: random.Random) -> None:
    """Many wait for one that is fired as they begin to wait, and as others are added to it."""
    inners: list[Deferred[Any]] = [Deferred() for _ in range(20)]
    got: list[list[Any]] = [[] for _ in inners]

    def begin() -> None:
        for inner, own in zip(inners, got, strict=True):
            for _ in range(6):
                each: Deferred[Any] = Deferred()
                each.addCallback(lambda _, inner=inner: inner)
                each.addBoth(own.append)
                each.callback(None)

    def fire() -> None:
        for inner in inners:
            inner.callback(7)

    at_once(begin, begin, begin, fire)
    for own in got:
        # One of them gets it, as with Twisted; the others get what that has left.
        assert own.count(7) == 1 and own.count(None) == 17, own


def generators(rng: random.Random) -> None:
    """Generators are cancelled at any wait, while others fire what they wait for."""
    rows_: list[list[Deferred[Any]]] = [[Deferred() for _ in range(6)] for _ in range(20)]
    ended: list[list[Any]] = [[] for _ in rows_]
    closed: list[int] = []
    cancelled = (CancelledError,)
    number_of: contextvars.ContextVar[int] = contextvars.ContextVar("number")

    def begin(number: int, row: list[Deferred[Any]]) -> Deferred[Any]:
        number_of.set(number)

        async def wait() -> Any:
            try:
                for each in row:
                    try:
                        assert await each == number
                    except cancelled:
                        pass
                    assert number_of.get() == number
                return "end"
            finally:
                closed.append(number)

        @inlineCallbacks
        def wait_in_generator() -> Any:
            try:
                for each in row:
                    try:
                        assert (yield each) == number
                    except cancelled:
                        pass
                    assert number_of.get() == number
                return "end"
            finally:
                closed.append(number)

        if number % 2:
            return wait_in_generator()
        return ensureDeferred(wait())

    results = [begin(number, row) for number, row in enumerate(rows_)]
    for result, end in zip(results, ended, strict=True):
        result.addBoth(end.append)

    def fire(offset: int) -> None:
        for number, row in enumerate(rows_):
            for each in row[offset::2]:
                _fire(each, number)

    def cancel() -> None:
        for result in results:
            result.cancel()

    at_once(lambda: fire(0), lambda: fire(1), cancel, cancel)
    assert ended == [["end"]] * 20, ended
    assert sorted(closed) == [*range(20)], closed


def nested(rng: random.Random) -> None:
    """Coroutines that wait for coroutines end in other threads, to any depth."""
    leaves: list[Deferred[Any]] = [Deferred() for _ in range(30)]
    ended: list[Any] = []

    async def down(number: int, depth: int) -> int:
        if depth == 0:
            return (await leaves[number]) + 1
        if depth % 2:
            return (await ensureDeferred(down(number, depth - 1))) + 1
        return (await down_in_generator(number, depth - 1)) + 1

    @inlineCallbacks
    def down_in_generator(number: int, depth: int) -> Any:
        result = yield ensureDeferred(down(number, max(depth - 1, 0)))
        return result

    def begin(thread: int) -> None:
        for number in range(thread, 30, 2):
            ensureDeferred(down(number, 9)).addBoth(ended.append)

    def fire(thread: int) -> None:
        for number in range(thread, 30, 2):
            leaves[number].callback(number * 100)

    at_once(lambda: begin(0), lambda: begin(1), lambda: fire(0), lambda: fire(1))
    expected = [number * 100 for number in range(30)]
    assert sorted(result - result % 100 for result in ended) == expected, ended


def dying(rng: random.Random) -> None:
    """Weak references are asked for Deferreds that die: they are whole, or gone."""
    deaths: list[int] = []
    references: list[Any] = []

    class Kept(Deferred[Any]):
        def __del__(self) -> None:
            deaths.append(1)

    ends = threading.Event()

    def make() -> None:
        for number in range(200):
            each = Kept() if number % 2 else Deferred[Any]()
            references.append(weakref.ref(each, lambda _: None))
            each.addCallback(lambda result: result)
            if number % 3:
                each.callback(number)
            each.ring = each  # type: ignore[attr-defined]
            del each

    def look() -> None:
        while not ends.is_set():
            for reference in references[-20:]:
                it = reference()
                if it is not None:
                    it.addCallback(lambda result: result)
                    repr(it)

    def collect() -> None:
        for _ in range(5):
            gc.collect()

    def until_made() -> None:
        try:
            at_once(make, make, collect)
        finally:
            ends.set()

    at_once(until_made, look, look)
    gc.collect()
    assert len(deaths) == 200, len(deaths)


PROGRAMS = (
    looked_at,
    pickled,
    written,
    raced,
    lists,
    futures,
    cancellers,
    rows,
    shared_end,
    generators,
    nested,
    dying,
)
