"""The attributes of locks, semaphores and queues: slots that programs read, set and delete."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import sysconfig
import weakref
from unittest import mock

import pytest
from helpers import run_script


def result_of(deferred):
    """What it has come to, in a list; or an empty list."""
    results = []
    deferred.addBoth(results.append)
    return results


#: Each class, how one is made, and what it shows.
SHOWN = {
    "DeferredLock": ((), ("locked", "waiting")),
    "DeferredSemaphore": ((2,), ("tokens", "limit", "waiting")),
    "DeferredQueue": ((3, 4), ("size", "backlog", "waiting", "pending")),
}
#: What a DeferredList is asked when one of its Deferreds fires.
FLAGS = ("fireOnOneCallback", "fireOnOneErrback", "consumeErrors")
EACH = [(cls, name) for cls, (_, names) in SHOWN.items() for name in names]


def make(defer, cls):
    return getattr(defer, cls)(*SHOWN[cls][0])


def use(it):
    """Do with it what it is for; raises what that raises."""
    if hasattr(it, "put"):
        it.put(1)
        it.get()
        d = it.get()
        d.addErrback(lambda _: None)
        d.cancel()
        it.put(2)
        it.get()
        return
    it.acquire()
    d = it.acquire()
    d.addErrback(lambda _: None)
    d.cancel()
    it.release()


class Thing:
    """Something that can be seen to die."""


@pytest.mark.deferrous_only
@pytest.mark.skipif(sys.version_info < (3, 11), reason="nothing is specialised there")
@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without the GIL, the interpreter would read them during a transition",
)
def test_slots():
    """The interpreter reads them where they are.

    In an interpreter of its own: CPython 3.13 specialises nothing any more for a class that has
    been changed a thousand times, as other tests do.
    """
    shown = {cls: (args, [*names]) for cls, (args, names) in SHOWN.items()}
    shown["DeferredList"] = (([],), [*FLAGS, "resultList"])
    run_script(
        "deferrous",
        f"""
import dis, inspect, types

for cls, (args, names) in {shown!r}.items():
    for name in names:
        kind = getattr(defer, cls)
        slot = inspect.getattr_static(kind, name)
        assert type(slot) is types.MemberDescriptorType and slot.__doc__
        assert name in dir(kind) and name in dict(inspect.getmembers(kind))
        for kind in (kind, type("Derived", (kind,), {{}})):
            it = kind(*args)
            read = eval(f"lambda it: it.{{name}}")
            for _ in range(1000):
                assert read(it) is getattr(it, name)
            steps = [i.opname for i in dis.get_instructions(read, adaptive=True)]
            assert "LOAD_ATTR_SLOT" in steps, (cls, name, steps)
            setattr(it, name, steps)
            assert read(it) is steps
""",
    )


@pytest.mark.parametrize("cls", SHOWN)
def test_values(defer, cls):
    """They are correct at every moment, on Twisted and here."""
    it = make(defer, cls)
    log = []

    def note():
        values = [getattr(it, name) for name in SHOWN[cls][1]]
        log.append([list(v) if hasattr(v, "append") else v for v in values])

    note()
    if cls == "DeferredQueue":
        it.put("one")
        note()
        it.get()
        waiting = it.get()
        note()
        waiting.addCallback(lambda _: note())
        it.put("two")
        note()
        log[2] = len(log[2][2])
        assert log == [[3, 4, [], []], [3, 4, [], ["one"]], 1, [3, 4, [], []], [3, 4, [], []]]
        return
    for _ in range(3):
        it.acquire().addCallback(lambda _: note())
        note()
    for _ in range(3):
        it.release()
        note()
    numbers = [[*values[:-1], len(values[-1])] for values in log]
    if cls == "DeferredLock":
        assert [n[0] for n in numbers] == [False] + [True] * 8 + [False]
        assert [n[1] for n in numbers] == [0, 0, 0, 1, 2, 1, 1, 0, 0, 0]
    else:
        assert [n[0] for n in numbers] == [2, 1, 1, 0, 0, 0, 0, 0, 1, 2]
        assert {n[1] for n in numbers} == {2}


@pytest.mark.parametrize("number", [0, 1, 2, 255, 256, 257, 258, 1000, 2**40])
def test_many_tokens(defer, number):
    semaphore = defer.DeferredSemaphore(number + 2)
    semaphore.tokens = number
    assert semaphore.tokens == number
    if number:
        assert result_of(semaphore.acquire()) == [semaphore]
        assert semaphore.tokens == number - 1
    semaphore.release()
    semaphore.release()
    assert (semaphore.tokens, semaphore.limit) == (number + 1 + (not number), number + 2)
    if number:
        semaphore.release()
    with pytest.raises(AssertionError):
        semaphore.release()
    semaphore.limit = number + 3
    semaphore.release()
    semaphore.tokens = True
    assert semaphore.tokens is True
    assert result_of(semaphore.acquire()) == [semaphore]
    assert semaphore.tokens == 0
    semaphore.tokens = -1
    with pytest.raises(AssertionError):
        semaphore.acquire()


@pytest.mark.deferrous_only
def test_a_number_whose_class_answers_while_it_is_acquired():
    """Whatever that does, no token is acquired twice, and none gets lost."""
    defer = pytest.importorskip("deferrous")

    class One:
        def __index__(self):
            if not asked:
                asked.append(True)
                semaphore.tokens = 1
                got.append(result_of(semaphore.acquire()))
            return 1

    asked, got = [], []
    semaphore = defer.DeferredSemaphore(5)
    semaphore.tokens = One()
    got.append(result_of(semaphore.acquire()))
    assert got == [[semaphore], []]
    assert semaphore.tokens == 0


@pytest.mark.deferrous_only
def test_a_limit_whose_class_answers_while_it_is_released():
    """Somebody who begins to wait in between gets the token."""
    defer = pytest.importorskip("deferrous")

    class Two:
        def __index__(self):
            if not waiting:
                waiting.append(semaphore.acquire())
            return 2

    waiting = []
    semaphore = defer.DeferredSemaphore(1)
    semaphore.acquire()
    semaphore.limit = Two()
    semaphore.release()
    assert waiting[0].called
    assert semaphore.tokens == 0


@pytest.mark.parametrize("locked", [True, 1, "yes", [0], False, 0, "", [], None, ()])
def test_locked_set(defer, locked):
    lock = defer.DeferredLock()
    lock.locked = locked
    assert lock.locked is locked
    assert (result_of(lock.acquire()) == [lock]) is not bool(locked)
    if not locked:
        assert lock.locked is True
    lock.release()
    lock.release() if locked else None
    assert lock.locked is False
    with pytest.raises(AssertionError):
        lock.release()


@pytest.mark.parametrize("iterable", [list, tuple, iter, lambda it: (x for x in it), dict.fromkeys])
@pytest.mark.parametrize("name", ["waiting", "pending"])
def test_lines_set(defer, name, iterable):
    """Ours can be set to any iterable; Twisted's to a list."""
    if iterable is not list and defer.__name__ != "deferrous":
        pytest.skip("Twisted needs a list")
    queue = defer.DeferredQueue()
    items = [defer.Deferred(), defer.Deferred()] if name == "waiting" else ["a", "b"]
    value = iterable(items)
    setattr(queue, name, value)
    assert getattr(queue, name) is value
    if name == "waiting":
        queue.put("c")
        assert items[0].result == "c"
        d = queue.get()
        assert list(queue.waiting) == [items[1], d]
        d.addErrback(lambda _: None)
        d.cancel()
        assert list(queue.waiting) == [items[1]]
    else:
        queue.put("c")
        assert [queue.get().result for _ in range(3)] == ["a", "b", "c"]
        assert list(queue.pending) == []


def test_waiting_set_of_a_lock(defer):
    lock, first = defer.DeferredLock(), defer.Deferred()
    lock.acquire()
    lock.waiting = [first]
    second = lock.acquire()
    lock.release()
    assert (first.result, lock.locked, list(lock.waiting)) == (lock, True, [second])
    lock.waiting = []
    lock.release()
    assert (lock.locked, second.called) == (False, False)


@pytest.mark.deferrous_only
@pytest.mark.parametrize(("cls", "name"), EACH)
@pytest.mark.parametrize("value", [5, object(), None, "", 1.5, print, Exception])
def test_nonsense(cls, name, value):
    """It may be refused when it is used; after that, all is as before."""
    defer = pytest.importorskip("deferrous")
    it = make(defer, cls)
    before = getattr(it, name)
    setattr(it, name, value)
    assert getattr(it, name) is value
    try:
        use(it)
    except (TypeError, AssertionError, defer.QueueOverflow, defer.QueueUnderflow):
        pass
    setattr(it, name, before)
    use(it)


@pytest.mark.deferrous_only
@pytest.mark.parametrize(("cls", "name"), EACH)
def test_deleted(cls, name):
    defer = pytest.importorskip("deferrous")
    it = make(defer, cls)
    delattr(it, name)
    with pytest.raises(AttributeError, match=f"{cls}' object has no attribute '{name}'"):
        getattr(it, name)
    assert not hasattr(it, name)
    with pytest.raises(AttributeError):
        delattr(it, name)
    use(it)
    if name != "limit":
        use(copy.copy(it))
        use(pickle.loads(pickle.dumps(it)))
    object.__setattr__(it, name, getattr(make(defer, cls), name))
    use(it)


@pytest.mark.parametrize(("cls", "name"), EACH)
def test_what_it_is_set_to_is_let_go_of(defer, cls, name):
    def with_thing():
        it, thing = make(defer, cls), Thing()
        setattr(it, name, thing)
        return it, weakref.ref(thing)

    it, thing = with_thing()
    del it
    assert thing() is None
    it, thing = with_thing()
    setattr(it, name, 1)
    assert thing() is None
    it, thing = with_thing()
    thing().it = it
    del it
    gc.collect()
    assert thing() is None
    it = make(defer, cls)
    setattr(it, name, value := [it])
    references = sys.getrefcount(value)
    setattr(it, name, None)
    assert sys.getrefcount(value) == references - 1


@pytest.mark.parametrize(("cls", "name"), EACH)
def test_in_a_subclass(defer, cls, name):
    """If a class defines another attribute of that name, the lock still uses its own."""
    kind = getattr(defer, cls)
    computed = type("Computed", (kind,), {name: property(lambda self: "mine", lambda *_: None)})
    always = type("Always", (kind,), {name: "always", "__slots__": ("other",)})
    if defer.__name__ == "deferrous":
        it = computed(*SHOWN[cls][0])
        assert getattr(it, name) == "mine"
        use(it)
        it = always(*SHOWN[cls][0])
        assert getattr(it, name) == "always"
        use(it)
    it = type("Plain", (kind,), {})(*SHOWN[cls][0])
    before = getattr(it, name)
    with mock.patch.object(it, name, "patched"):
        assert getattr(it, name) == "patched"
    assert getattr(it, name) is before
    use(it)
    it.more = 1
    assert it.more == 1


@pytest.mark.parametrize("cls", SHOWN)
def test_copied(defer, cls):
    it = make(defer, cls)
    if cls == "DeferredQueue":
        it.put("item")
    else:
        it.acquire()
    for other in (copy.copy(it), copy.deepcopy(it), pickle.loads(pickle.dumps(it))):
        for name in SHOWN[cls][1]:
            mine, theirs = getattr(it, name), getattr(other, name)
            assert type(mine) is type(theirs)
            assert (list(mine) == list(theirs)) if hasattr(mine, "append") else (mine == theirs)


def test_small_ints_are_never_used_up(defer):
    semaphore = defer.DeferredSemaphore(2)
    for _ in range(100_000):
        semaphore.tokens = 1
        semaphore.tokens = 2
        semaphore.limit = 2
    assert sys.getrefcount(2) > 100


def test_while_it_is_used(defer):
    """A callback sets and deletes what its lock and its queue show."""
    lock, log = defer.DeferredLock(), []

    def change(result):
        log.append(result)
        lock.waiting = []
        lock.locked = False
        return result

    lock.acquire()
    for _ in range(3):
        lock.acquire().addCallback(change)
    lock.release()
    assert (log, lock.locked, list(lock.waiting)) == ([lock], False, [])
    queue = defer.DeferredQueue()

    def empty(result):
        log.append(result)
        queue.pending = ["new"]
        queue.size = 1

    queue.get().addCallback(empty)
    queue.put("old")
    with pytest.raises(defer.QueueOverflow):
        queue.put("more")
    assert (log, queue.get().result) == ([lock, "old"], "new")


@pytest.mark.parametrize("flag", [True, 1, "yes", False, 0, "", None])
def test_flags_set(defer, flag):
    """They are looked at when they are needed."""
    for name in FLAGS:
        one, other = defer.Deferred(), defer.Deferred()
        gathered = defer.DeferredList([one, other])
        setattr(gathered, name, flag)
        assert getattr(gathered, name) is flag
        if name == "fireOnOneCallback":
            one.callback(1)
            assert gathered.called is bool(flag)
        else:
            one.errback(ValueError())
            assert gathered.called is (name == "fireOnOneErrback" and bool(flag))
        consumed = []
        one.addErrback(consumed.append)
        wanted = name != "fireOnOneCallback" and not (name == "consumeErrors" and flag)
        assert bool(consumed) is wanted
        gathered.addErrback(lambda _: None)


def test_results_set(defer):
    one, other = defer.Deferred(), defer.Deferred()
    gathered = defer.DeferredList([one, other])
    one.callback(1)
    gathered.resultList = results = [None, None]
    other.callback(2)
    assert gathered.result is results
    assert results == [None, (True, 2)]


@pytest.mark.parametrize("name", [*FLAGS, "resultList"])
def test_what_a_list_is_set_to_is_let_go_of(defer, name):
    thing = Thing()
    gone = weakref.ref(thing)
    gathered = defer.DeferredList([defer.Deferred()])
    setattr(gathered, name, thing)
    thing.gathered = gathered
    del thing, gathered
    gc.collect()
    assert gone() is None
    gathered, thing = defer.DeferredList([defer.Deferred()]), Thing()
    gone = weakref.ref(thing)
    setattr(gathered, name, thing)
    del thing
    delattr(gathered, name)
    assert gone() is None
