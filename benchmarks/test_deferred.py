"""The shapes that Twisted's own benchmarks of Deferreds have, for pytest-benchmark.

    python -m pytest benchmarks --implementation=deferrous

Each says what it comes to, too, so that what is measured is also right.
"""

from __future__ import annotations

from typing import Any

from .rows import add, fails, give, ignore, same, trap_and_fail


def result_of(deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0]


def test_await_fired(benchmark: Any, defer: Any) -> None:
    async def total() -> int:
        numbers = 0
        for number in range(1_000):
            numbers += await defer.succeed(number)
        return numbers

    assert result_of(benchmark(lambda: defer.ensureDeferred(total()))) == 499_500


def test_await_pending(benchmark: Any, defer: Any) -> None:
    async def total(deferreds: list[Any]) -> int:
        numbers = 0
        for deferred in deferreds:
            numbers += await deferred
        return numbers

    def work() -> Any:
        deferreds = [defer.Deferred() for _ in range(20)]
        done = defer.ensureDeferred(total(deferreds))
        for number, deferred in enumerate(deferreds):
            deferred.callback(number)
        return done

    assert result_of(benchmark(work)) == 190


def add_four(deferred: Any) -> None:
    for number in (1, 2, 3, 4):
        deferred.addCallback(add, number)


def test_fired_then_callbacks(benchmark: Any, defer: Any) -> None:
    def work() -> Any:
        deferred = defer.Deferred()
        deferred.callback(1)
        add_four(deferred)
        return deferred

    assert result_of(benchmark(work)) == 11


def test_callbacks_then_fired(benchmark: Any, defer: Any) -> None:
    def work() -> Any:
        deferred = defer.Deferred()
        add_four(deferred)
        deferred.callback(1)
        return deferred

    assert result_of(benchmark(work)) == 11


def test_errbacks(benchmark: Any, defer: Any) -> None:
    def work() -> Any:
        deferred = defer.succeed("a result")
        deferred.addCallback(fails)
        deferred.addErrback(trap_and_fail)
        deferred.addBoth(ignore)
        return deferred

    assert result_of(benchmark(work)) is None


def test_chained_fired(benchmark: Any, defer: Any) -> None:
    def work() -> Any:
        inner = [defer.Deferred(), defer.Deferred()]
        outer = defer.Deferred()
        for number, deferred in enumerate(inner):
            deferred.callback(number)
            outer.addCallback(give, deferred)
        outer.callback(None)
        return outer

    assert result_of(benchmark(work)) == 1


def test_chained_pending(benchmark: Any, defer: Any) -> None:
    """One of two waits for a third."""

    def work() -> Any:
        first, second, third, outer = (defer.Deferred() for _ in range(4))
        second.addCallback(give, third)
        second.callback(None)
        outer.addCallback(give, first)
        outer.addCallback(give, second)
        first.callback(1)
        third.callback(3)
        outer.callback(None)
        return outer

    assert same(result_of(benchmark(work))) == 3
