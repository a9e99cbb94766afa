"""A key or an argument that raises when it is looked up costs nobody a lock or a result."""

from __future__ import annotations

import threading

import pytest
from concurrency_helpers import result_of
from deferrous import Deferred
from deferrous import concurrency as c

pytestmark = pytest.mark.deferrous_only


class Key:
    """A key that raises, once, as it is hashed or compared. Each thread sets its own error."""

    here = threading.local()

    def __init__(self, name, number=0):
        self.name = name
        self.number = number

    def _raise(self, name):
        error = getattr(Key.here, "error", None)
        if error is not None and self.name == name:
            Key.here.error = None
            raise error

    def __hash__(self):
        self._raise("hash")
        return 1

    def __eq__(self, other):
        self._raise("eq")
        other._raise("eq")
        return self.number == other.number


@pytest.mark.parametrize("name", ["hash", "eq"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupted_as_the_lock_of_a_key_is_released(name, error):
    lock = c.KeyedLock()
    # Another stands in the way, so that keys are compared.
    lock(Key("other", 1)).acquire()
    part = lock(Key(name))
    part.acquire()
    waiting = lock(Key("same")).acquire()
    Key.here.error = error()
    with pytest.raises(error):
        part.release()
    assert waiting.called
    Key.here.error = error()
    with pytest.raises(error):
        lock(Key(name)).release()
    assert len(lock) == 1

    def interrupt():
        Key.here.error = error()

    d = part.run(interrupt)
    assert isinstance(result_of(d), error)
    assert len(lock) == 1


@pytest.mark.parametrize("name", ["hash", "eq"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupted_as_a_call_is_forgotten(name, error, reports):
    calls = []

    def call(_):
        calls.append(Deferred())
        return calls[-1]

    shared = c.once(call)
    other = shared(Key("other", 1))
    first = shared(Key(name))
    Key.here.error = error()
    calls[1].callback("result")
    # Who has asked gets the result, and who asks then a new call.
    assert result_of(first) == "result"
    Key.here.error = None
    second = shared(Key("later"))
    assert len(calls) == 3
    calls[2].callback("another")
    assert result_of(second) == "another"
    assert not other.called


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError)])
def test_limit_that_lets_nobody_in_is_refused(limit, error):
    with pytest.raises(error):
        c.KeyedLock(limit)


def test_text_of_a_lock_by_key():
    lock = c.KeyedLock()
    lock("one").acquire()
    assert repr(lock) == "<KeyedLock of 1 keys>"


def test_several_hold_a_key():
    lock = c.KeyedLock(2)
    first, second, third = (lock("key").acquire() for _ in range(3))
    assert [result_of(d) for d in (first, second)] == [True, True]
    assert not third.called
    assert (lock.locked("key"), lock.waiting("key")) == (True, 1)
    lock("key").release()
    assert result_of(third) is True
    lock("key").release()
    lock("key").release()
    assert len(lock) == 0
