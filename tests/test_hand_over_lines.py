"""The order in a line after something was given back."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest
from deferrous import Deferred, DeferredLock, DeferredQueue
from hand_over_helpers import Held, run, settle, start, take

pytestmark = pytest.mark.deferrous_only


def test_subclasses_are_asked():
    class Counting(DeferredLock):
        released = 0

        def release(self):
            self.released += 1
            super().release()

        def _cancelAcquire(self, d):
            self.cancelled = d
            super()._cancelAcquire(d)

    async def main():
        lock = Counting()
        await lock.acquire()
        (task,) = await start(Held(lock, "await").hold("a"))
        lock.release()
        task.cancel()
        await settle()
        assert lock.released == 2
        assert not lock.locked
        await lock.acquire()
        (task,) = await start(Held(lock, "await").hold("a"))
        task.cancel()
        await settle()
        assert isinstance(lock.cancelled, Deferred)
        assert not lock.waiting

    run(main)


class Stood:
    """A pending line as it should be: the objects, and which of them were taken back."""

    def __init__(self):
        self.line = []

    def objects(self):
        return [each for each, _ in self.line]

    def put_back(self, what, number):
        before = [i for i, (_, n) in enumerate(self.line) if n is not None and n < number]
        behind = [i for i, (_, n) in enumerate(self.line) if n is not None and n > number]
        place = behind[0] if behind else before[-1] + 1 if before else 0
        self.line.insert(place, (what, number))


def change(what, q, stood, rng, new):
    """Change what is in the queue by hand, and what is expected likewise."""
    if what == "remove" and stood.line:
        item = rng.choice(stood.objects())
        q.pending.remove(item)
        del stood.line[stood.objects().index(item)]
    elif what == "insert":
        place, item = rng.randrange(-3, 4), new()
        q.pending.insert(place, item)
        stood.line.insert(place, (item, None))
    elif what == "pop" and stood.line:
        place = rng.randrange(-len(stood.line), len(stood.line))
        assert q.pending.pop(place) == stood.line.pop(place)[0]
    elif what == "delete" and stood.line:
        place = rng.randrange(len(stood.line))
        del q.pending[place]
        del stood.line[place]
    elif what == "last" and stood.line:
        assert q.pending.pop() == stood.line.pop()[0]
    elif what == "extend":
        item = new()
        q.pending += [item]
        stood.line.append((item, None))


@pytest.mark.parametrize("distinct", [True, False])
def test_the_order_after_things_were_taken_back(distinct):
    """Objects that are the same, or have died, are not taken for each other."""

    async def program(rng, changes):
        q, stood, number = DeferredQueue(), Stood(), 0
        names = iter(range(10**6))

        def new():
            return (next(names),) if distinct else rng.randrange(2)

        def put():
            item = new()
            q.put(item)
            stood.line.append((item, None))

        for _ in range(25):
            what = rng.choice(["lose", "lose", "put", "get", *changes])
            if what == "lose":
                while q.pending:
                    assert q.get().result == stood.line.pop(0)[0]
                    if rng.random() < 0.3:
                        break
                if q.pending:
                    continue
                count = rng.randrange(1, 4)
                tasks = await start(*[take(q) for _ in range(count)])
                handed = [new() for _ in tasks]
                for item in handed:
                    q.put(item)
                for _ in range(rng.randrange(3)):
                    put()
                # They come to their end in an order of their own.
                numbered = list(enumerate(handed, number))
                number += count
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for n, item in numbered:
                    stood.put_back(item, n)
            elif what == "put":
                put()
            elif what == "get" and stood.line:
                assert q.get().result == stood.line.pop(0)[0]
            else:
                change(what, q, stood, rng, new)
            assert list(q.pending) == stood.objects()

    async def main():
        for seed in range(40):
            await program(random.Random(seed), [])
            changes = ["remove", "insert", "pop", "delete", "last", "extend"]
            await program(random.Random(seed), changes)

    run(main)


@pytest.mark.parametrize("change", ["reverse", "sort", "clear", "slice", "assign", "imul"])
def test_the_line_is_changed_as_a_whole_after_something_was_taken_back(change):
    async def main():
        q = DeferredQueue()
        tasks = await start(take(q), take(q), take(q))
        for item in "cab":
            q.put(item)
        tasks[0].cancel()
        tasks[1].cancel()
        await settle()
        assert list(q.pending) == ["c", "a"]
        expected = ["c", "a"]
        if change == "assign":
            q.pending = expected = ["x", "y"]
        elif change == "slice":
            q.pending[1:] = expected[1:] = "xyz"
        elif change == "imul":
            q.pending *= 2
            expected *= 2
        else:
            getattr(q.pending, change)()
            getattr(expected, change)()
        assert list(q.pending) == expected
        gc.collect()
        q.put("z")
        assert [q.get().result for _ in range(len(expected) + 1)] == [*expected, "z"]

    run(main)


def test_something_is_taken_back_while_a_method_of_the_line_runs():
    async def main():
        q = DeferredQueue()
        waits = [q.get().__await__() for _ in range(3)]
        for each in waits:
            each.send(None)
        for item in "abcxy":
            q.put(item)
        waits[2].close()
        assert list(q.pending) == ["c", "x", "y"]

        class Equal:
            def __eq__(self, other):
                if other == "x":
                    waits[0].close()
                return other == "y"

        q.pending.remove(Equal())
        assert list(q.pending) == ["a", "c", "x"]
        waits[1].close()
        assert list(q.pending) == ["a", "b", "c", "x"]

    run(main)
