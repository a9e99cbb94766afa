"""A signal's exception, as KeyboardInterrupt, on any line of ours.

What is one step is done, or not: nobody waits for what has happened, and nothing is lost.
"""

from __future__ import annotations

import os
import sys

import deferrous
import pytest
from concurrency_helpers import result_of
from deferrous import concurrency as c

pytestmark = pytest.mark.deferrous_only

OURS = os.path.dirname(deferrous.__file__)


def setting():
    event = c.Event()
    waits = event.wait()
    return event.set, lambda: event.is_set() == waits.called


def coming():
    barrier, got = c.Barrier(2), []
    waits = barrier.wait()
    return lambda: got.append(barrier.wait()), lambda: bool(got) == waits.called


def getting(method):
    def operation():
        queue, got = c.Queue(1), []
        queue.put_nowait("one")
        waits = queue.put("other")
        get = getattr(queue, method)

        def whole():
            left = queue.qsize()
            taken = queue.get_nowait() if left else None
            return (left, taken) == (1, "other" if got else "one") and waits.called

        return lambda: got.append(get()), whole

    return operation


@pytest.mark.parametrize(
    "make",
    [setting, coming, getting("get"), getting("get_nowait")],
    ids=["Event.set", "Barrier.wait", "Queue.get", "Queue.get_nowait"],
)
def test_interrupted_on_any_line(make):
    number = 0
    while True:
        operate, is_whole = make()
        lines = [0]

        def trace(frame, event, _, lines=lines, number=number):
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            # What a function returns may be lost in any case, as its caller may be interrupted.
            lines[0] += event in ("call", "line")
            if lines[0] == number + 1 and event != "return":
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            operate()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert is_whole(), number
        if lines[0] <= number:
            return
        number += 1


def test_room_for_several():
    """Each is let in at once, in order, and what its callbacks do counts."""
    queue = c.Queue(2)
    puts = [queue.put(number) for number in range(5)]
    got = []
    puts[2].addCallback(lambda _: got.append(queue.get_nowait()))
    assert result_of(queue.get()) == 0
    assert got == [1]
    assert [d.called for d in puts] == [True] * 4 + [False]
    assert [result_of(queue.get()) for _ in range(3)] == [2, 3, 4]
    assert puts[4].called and queue.empty()
    for _ in range(5):
        queue.task_done()
    assert queue.join().called
