"""Errors are raised early and say what is wrong; unusual classes, generators and exceptions."""

import abc
import asyncio
import collections.abc
import concurrent.futures
import dataclasses
import typing
import weakref

import attr
import pytest
from helpers import caught, outcome, run_script

ours_only = pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)

GATHER = {
    "DeferredList": lambda defer: defer.DeferredList,
    "gatherResults": lambda defer: defer.gatherResults,
    "race": lambda defer: defer.race,
}


@ours_only
@pytest.mark.parametrize("name", GATHER)
def test_a_single_deferred(defer, name):
    """It iterates itself without end: with Twisted, until memory is full."""

    class Sub(defer.Deferred):
        pass

    for single in (defer.Deferred(), defer.succeed(1), Sub(), defer.DeferredList([])):
        with pytest.raises(TypeError, match="an iterable of Deferreds"):
            GATHER[name](defer)(single)


@ours_only
@pytest.mark.parametrize("name", GATHER)
def test_a_single_deferred_of_twisted(defer, name):
    from twisted.internet.defer import Deferred

    with pytest.raises(TypeError, match="an iterable of Deferreds"):
        GATHER[name](defer)(Deferred())


@ours_only
def test_a_subclass_that_iterates_others(defer):
    class Several(defer.Deferred):
        def __iter__(self):
            return iter([defer.succeed(1)])

    assert defer.gatherResults(Several()).result == [1]


@pytest.mark.parametrize("name", GATHER)
@pytest.mark.parametrize("item", [1, None, "text", object()])
def test_what_is_no_deferred(defer, implementation, name, item):
    first = defer.Deferred()
    with pytest.raises(AttributeError, match="addCallbacks") as raised:
        GATHER[name](defer)([first, item])
    if implementation == "deferrous":
        assert "an iterable of Deferreds is needed, and item 1 is none" in str(raised.value)
        assert first._callbacks == []


@ours_only
def test_a_coroutine_among_deferreds(defer):
    async def coroutine():
        pass

    one = coroutine()
    with pytest.raises(AttributeError, match="use ensureDeferred"):
        defer.gatherResults([one])
    one.close()


@pytest.mark.parametrize("name", GATHER)
def test_what_is_no_iterable(defer, name):
    with pytest.raises(TypeError, match="not iterable"):
        GATHER[name](defer)(5)


@pytest.mark.parametrize("name", GATHER)
def test_memory_at_a_limit(name):
    done = run_script(
        "deferrous",
        f"""
        import itertools, resource
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
        d = defer.Deferred()
        for endless in ([d] * 3 * 10**7, itertools.repeat(d)):
            try:
                defer.{name}(endless)
            except MemoryError:
                print("MemoryError")
            d = defer.Deferred()
        """,
    )
    assert done.stdout == "MemoryError\n" * 2


def test_inline_callbacks_of_async_def(defer, implementation):
    async def coroutine():
        pass

    made = []

    def function():
        made.append(coroutine())
        return made[0]

    with pytest.raises(TypeError, match=r"inlineCallbacks requires .* instead got") as raised:
        defer.inlineCallbacks(function)()
    made[0].close()
    assert ("ensureDeferred" in str(raised.value)) is (implementation == "deferrous")


def test_already_called(defer, implementation):
    with pytest.raises(defer.AlreadyCalledError) as raised:
        defer.succeed(1).callback(2)
    assert (str(raised.value), raised.value.args) == ("", ())
    notes = "".join(getattr(raised.value, "__notes__", []))
    assert ("setDebugging(True)" in notes) is (implementation == "deferrous")


# Generators of any make.


def iterator_of(steps, log):
    """A generator that is none of CPython's, as Cython's are."""

    class Steps(collections.abc.Generator):
        def __init__(self):
            self.inner = steps()

        def send(self, value):
            log.append("send")
            return self.inner.send(value)

        def throw(self, *args):
            log.append("throw")
            return self.inner.throw(*args)

    return Steps()


@ours_only
def test_generators_of_any_make(defer):
    log = []

    def steps(*deferreds):
        seen = []
        for each in deferreds:
            try:
                seen.append((yield each))
            except ValueError as error:
                seen.append(error.args)
        return seen

    late = defer.Deferred()
    deferreds = [defer.succeed(1), defer.fail(ValueError(2)), 3, late]
    result = defer.inlineCallbacks(lambda: iterator_of(lambda: steps(*deferreds), log))()
    assert not result.called
    late.errback(ValueError(4))
    assert outcome(result) == [[1, (2,), 3, (4,)]]
    assert log == ["send", "send", "throw", "send", "throw"]


@ours_only
def test_generators_of_any_make_fail_and_are_cancelled(defer):
    def fails():
        yield defer.succeed(1)
        raise KeyError

    assert outcome(defer.inlineCallbacks(lambda: iterator_of(fails, []))())[0].type is KeyError

    def waits():
        yield defer.Deferred()

    result = defer.inlineCallbacks(lambda: iterator_of(waits, []))()
    result.cancel()
    assert outcome(result)[0].type is defer.CancelledError


# Exceptions that refuse attributes.


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int = 0


class Slots(Exception):
    __slots__ = ("number",)


class Refuses(Exception):
    def __setattr__(self, name, value):
        raise TypeError(name)


@pytest.mark.parametrize("cls", [Frozen, Slots, Refuses])
def test_exceptions_that_refuse_attributes(defer, failure, implementation, cls):
    f = caught(failure, cls())
    with pytest.raises(cls):
        f.raiseException()
    with pytest.raises(cls):
        f.trap(KeyError)
    assert f.trap(cls) is cls

    def generator():
        try:
            yield
        except cls as error:
            yield error

    suspended = generator()
    next(suspended)
    assert f.throwExceptionIntoGenerator(suspended) is f.value

    @defer.inlineCallbacks
    def waits(deferred):
        try:
            yield deferred
        except cls as error:
            return error

    late = defer.Deferred()
    waiting = waits(late)
    late.errback(f)
    assert waiting.result is f.value
    if implementation == "twisted" and cls is not Slots:
        return
    f.cleanFailure()
    assert (f.tb, f.value.__traceback__) == (None, None)
    assert len(f.frames) > 0


# Classes.

BASES = {
    "Deferred": (),
    "DeferredList": ([],),
    "DeferredLock": (),
    "DeferredSemaphore": (1,),
    "DeferredQueue": (),
}


class NoSlots:
    __slots__ = ()


T = typing.TypeVar("T")


@pytest.mark.parametrize("name", BASES)
def test_slotted_classes(defer, name):
    base, args = getattr(defer, name), BASES[name]

    @attr.define(init=False, eq=False)
    class Attrs(base):
        number: int = 0

    class Mixed(base, NoSlots):
        __slots__ = ("number",)

    class First(NoSlots, base):
        __slots__ = ()

    class Generic(base, typing.Generic[T]):
        __slots__ = ("number",)

    for cls in (Attrs, Mixed, First, Generic, Generic[int]):
        obj = cls(*args)
        obj.number = 1
        obj.other = 2
        reference = weakref.ref(obj)
        assert (obj.number, obj.other, reference()) == (1, 2, obj)
        assert obj.__weakref__ is reference
        del obj
        assert reference() is None
    obj = base(*args)
    assert obj.__weakref__ is None
    for slots in ("__weakref__", "__dict__"):
        with pytest.raises(TypeError):
            type("Sub", (base,), {"__slots__": (slots,)})


@pytest.mark.parametrize("name", BASES)
def test_abstract_classes(defer, name):
    base, args = getattr(defer, name), BASES[name]

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def method(self):
            pass

    class Lacks(base, Abstract):
        pass

    class Has(Lacks):
        def method(self):
            return 1

    with pytest.raises(TypeError, match=r"instantiate abstract class Lacks .*method"):
        Lacks(*args)
    with pytest.raises(TypeError, match=r"instantiate abstract class Lacks .*method"):
        base.__new__(Lacks)
    assert Has(*args).method() == 1


def test_the_base_of_locks_is_abstract(defer):
    with pytest.raises(TypeError, match="instantiate abstract class"):
        defer._ConcurrencyPrimitive()


@ours_only
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda defer, _: defer.Deferred().callback(1, 2), "Deferred.callback() takes 1 "),
        (lambda defer, _: defer.DeferredQueue().put(1, 2), "DeferredQueue.put() takes 1 "),
        (lambda defer, _: defer.succeed(1, 2), "succeed() takes 1 positional argument but 2 were"),
        (lambda _, failure: failure.Failure(1, 2, 3, 4, 5), "Failure.__init__() takes from 0 to"),
        (lambda _, failure: failure.Failure(nothing=1), "Failure.__init__() got an unexpected"),
    ],
)
def test_wrong_arguments(defer, failure, call, expected):
    with pytest.raises(TypeError) as error:
        call(defer, failure)
    assert str(error.value).startswith(expected)
    assert "1 positional arguments" not in str(error.value)


# Exceptions that share a name with Python's own.


@pytest.mark.parametrize("name", ["TimeoutError", "CancelledError"])
def test_what_shares_a_name_with_pythons_is_caught_as_with_twisted(defer, failure, name):
    """Programs that wait for the disk or the network to fail do not take it, others do."""
    cls = getattr(defer, name)
    assert cls.__bases__ == (Exception,)
    with pytest.raises(cls):
        try:
            raise cls(5, "Deferred")
        except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError):
            pytest.fail("taken for Python's own")
    with pytest.raises(cls):
        try:
            raise cls(5, "Deferred")
        except (TimeoutError, asyncio.TimeoutError):
            pytest.fail("taken for Python's own")
    f = failure.Failure(cls(5, "Deferred"))
    assert f.check(OSError, asyncio.CancelledError) is None
    assert f.check(Exception) is Exception
    assert str(f.value) == "(5, 'Deferred')"
