"""The first part of the programs that test_hostile_calls.py runs."""

PRELUDE = '''
import asyncio
import copy
import gc
import itertools
import logging
import pickle
import random
import resource
import sys
import types
import warnings

import deferrous
from deferrous import (
    Deferred, DeferredList, DeferredLock, DeferredQueue, DeferredSemaphore, _deferrous,
    ensureDeferred, inlineCallbacks, race,
)
from deferrous.failure import Failure

logging.disable(logging.CRITICAL)
# `print` is called, too, with a text that is no Unicode. The test reads the output as UTF-8.
sys.stdout.reconfigure(errors="backslashreplace")
warnings.simplefilter("ignore")
bugs = []

def unraisable(info):
    look_at(info.exc_value, "in a finalizer")

def look_at(error, what):
    """The exceptions that only a bug of ours raises."""
    while error is not None:
        if type(error).__name__ == "PanicException" or (
            isinstance(error, SystemError) and "bug" in str(error)
        ):
            bugs.append((what, repr(error)))
            print(bugs[-1], file=sys.stderr)
        error = error.__context__

sys.unraisablehook = unraisable


# How to come by an object of each class.


class Insists(Deferred):
    """Shows what is added to it."""

    def addBoth(self, callback, *args, **kwargs):
        seen.append(callback)
        return super().addBoth(callback, *args, **kwargs)

    def addCallback(self, callback, *args, **kwargs):
        seen.append(callback)
        return super().addCallback(callback, *args, **kwargs)


class Lock(DeferredLock):
    def acquire(self):
        return Insists()


class Concrete(DeferredLock.__base__):
    def acquire(self):
        return Insists()

    def release(self):
        pass


seen = []


async def waits(d):
    return await d


@inlineCallbacks
def yields(d):
    return (yield d)


def task():
    return ensureDeferred(waits(Deferred()))._canceller


def ended_task():
    d = Deferred()
    task = yields(d).addErrback(lambda _: None)._canceller
    d.callback(1)
    return task


def task_callback():
    seen.clear()
    yields(Insists())
    return seen[0]


def timeout(*args):
    class Clock:
        def callLater(self, seconds, function):
            self.function = function
            return self

    clock = Clock()
    Deferred().addTimeout(1, clock, *args)
    return clock.function


def locked():
    seen.clear()
    Lock().run(lambda *args, **kwargs: 1)
    return seen[0]


def place(owner, what):
    """That of the second in a line."""
    line = deferrous._deferrous._Fifo()
    deferrous._deferrous._wait_in(line, None, None)
    return deferrous._deferrous._wait_in(line, owner, what)._canceller


def wakeup(loop=None):
    """What stands in the queue of a loop."""
    loop = loop or asyncio.new_event_loop()

    async def wait(deferred):
        await deferred

    deferred = Deferred()
    task = loop.create_task(wait(deferred))
    task._log_destroy_pending = False
    loop.call_soon(loop.stop)
    loop.run_forever()
    deferred.callback(None)
    found = loop._ready.pop()
    loop.close()
    return found


def failed():
    return deferrous.fail(ValueError("failed"))


def chained():
    d = Deferred().addCallback(lambda _: Deferred())
    d.callback(1)
    return d


def cleared(make):
    """As the collector leaves it, and as nobody should ever see it."""
    def make_cleared():
        kept = []
        class Keeps:
            def __del__(self):
                kept.append(self.it)
        it = make()
        try:
            it.keeps = Keeps()
            it.keeps.it = it
        except AttributeError:
            return it
        del it
        gc.collect()
        return kept.pop() if kept else make()
    return make_cleared


def queue(*items):
    q = DeferredQueue()
    for item in items:
        q.put(item)
    return q


def waited_for(thing, method):
    getattr(thing, method)()
    getattr(thing, method)()
    return thing


def new(cls):
    """Without `__init__`."""
    return lambda: cls.__new__(cls)


def sub(cls):
    return type("Sub", (cls,), {})


MAKERS = {
    "Deferred": [
        Deferred, new(Deferred), lambda: deferrous.succeed([1]), failed, chained, sub(Deferred),
        lambda: Deferred(lambda d: d.errback(KeyError())), lambda: waits_for_a_task(),
        lambda: Deferred().addCallback(print).addBoth(print, 1, a=2), cleared(Deferred),
    ],
    "DeferredList": [
        lambda: DeferredList([Deferred(), failed()], consumeErrors=True), new(DeferredList),
        lambda: DeferredList([]), lambda: sub(DeferredList)([Deferred()], fireOnOneCallback=True),
        lambda: DeferredList([failed()], fireOnOneErrback=True).addErrback(lambda _: 1),
        cleared(lambda: DeferredList([Deferred()])),
    ],
    "_DeferredIterator": [
        lambda: Deferred().__await__(), lambda: iter(deferrous.succeed(1)),
        lambda: iter(failed()), lambda: deferrous.fail(StopIteration(1)).__await__(),
    ],
    "_Task": [task, ended_task],
    "_TaskCallback": [task_callback],
    "_Timeout": [timeout, lambda: timeout(int), lambda: timeout(lambda *args: 1 / 0)],
    "_LockRun": [locked],
    "_Race": [
        lambda: race([])._canceller, lambda: race([Deferred(), Deferred()])._canceller,
        lambda: race([failed(), Deferred()])._canceller,
    ],
    "_Fifo": [
        lambda: queue().pending, lambda: queue(1, 2, [3]).pending, lambda: type(queue().pending)(),
        lambda: waited_for(DeferredLock(), "acquire").waiting,
    ],
    "_Wakeup": [wakeup, cleared(wakeup)],
    "_Place": [
        lambda: place(None, 1), lambda: place([], {}), cleared(lambda: place(Concrete(), 1)),
    ],
    "_ConcurrencyPrimitive": [Concrete],
    "DeferredLock": [
        DeferredLock, lambda: waited_for(DeferredLock(), "acquire"), sub(DeferredLock),
        new(DeferredLock), cleared(DeferredLock),
    ],
    "DeferredSemaphore": [
        lambda: DeferredSemaphore(2), lambda: waited_for(DeferredSemaphore(1), "acquire"),
        new(DeferredSemaphore), lambda: sub(DeferredSemaphore)(1),
    ],
    "DeferredQueue": [
        DeferredQueue, lambda: queue(1, 2), lambda: waited_for(DeferredQueue(), "get"),
        lambda: DeferredQueue(0, 0), lambda: DeferredQueue("x", []), new(DeferredQueue),
        sub(DeferredQueue), cleared(DeferredQueue),
    ],
    "FailureBase": [
        lambda: Failure(ValueError(1)), new(Failure), new(_deferrous.FailureBase),
        lambda: _deferrous.FailureBase(KeyError(1)), lambda: Failure("text", int),
        lambda: sub(Failure)(ValueError(2)), lambda: Failure(Failure(OSError(3))),
    ],
}
if hasattr(_deferrous, "_Steps"):
    # For interpreters that can do without the GIL.
    MAKERS["_Steps"] = [_deferrous._Steps]


def waits_for_a_task():
    return yields(ensureDeferred(waits(Deferred())))


# What to call things with.


class Lies:
    __class__ = property(lambda self: 1 / 0)


class LiesWell:
    __class__ = Deferred


class LiesAboutFailing:
    __class__ = Failure


class Raises:
    """Whatever it is asked."""
    def __getattr__(self, name):
        raise OSError(name)
    __eq__ = __lt__ = __hash__ = __bool__ = __len__ = __index__ = __iter__ = __call__ = __repr__ = (
        lambda self, *args: 1 / 0
    )


class Text(str):
    pass


class Meta(type):
    """In the place of `type`, which as a callback gives the class of a result: `list` as a
    canceller has no end."""


class Int(int):
    pass


def generator():
    yield Deferred()


def exception(cls, *args):
    try:
        raise cls(*args)
    except BaseException as error:
        return error


def hostile():
    """Anew each time: many of them are used up."""
    return [
        None, True, 0, 1, -1, 2**31 - 1, -2**31, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -2**63, 2**63,
        2**64, -2**100, Int(3), 1.5, float("inf"), float("nan"), 1j, "", "text", "a\\udc80",
        b"bytes",
        Text("callback"), (), (1,), (1, 2, 3), ((print, (), {}), (print, (), {})), [], [1], [None],
        [[]], {}, {"a": 1}, {1: 2}, set(), range(5), slice(None), slice(5, -5, -1), ..., object(),
        object, int, Meta, Deferred, Failure, ValueError, StopIteration,
        GeneratorExit, print, len, lambda *args, **kwargs: 1 / 0, lambda *args, **kwargs: None,
        lambda *args, **kwargs: Deferred(), lambda *args, **kwargs: args[0], Lies(), LiesWell(),
        LiesAboutFailing(), Raises(), sys, generator(), generator,
        waits(Deferred()), exception(ValueError, 1), exception(StopIteration, 2), KeyError(3),
        KeyboardInterrupt(), Failure(ValueError(4)), sub(Failure)(ValueError(5)),
        Failure.__new__(Failure), _deferrous.FailureBase(ValueError(6)), deferrous.succeed(7),
        failed(), chained(), Deferred(), sub(Deferred)(), DeferredList([Deferred()]),
        DeferredLock(), DeferredSemaphore(1), queue(1), queue(1).pending, iter(Deferred()), task(),
        race([Deferred()])._canceller, memoryview(b"m"), bytearray(b"b"), types.SimpleNamespace(),
        exception(ValueError).__traceback__, sys._getframe(), Deferred().callback,
        Deferred.callback, property(), staticmethod(len), itertools.repeat(1, 3),
    ]


ENDLESS = (Deferred, type(iter(Deferred())))


def endless(thing, name, args):
    """What takes all that an iterable gives has no end with a Deferred, which gives itself."""
    return (
        (name in ("__init__", "__new__", "extend", "__iadd__", "waiting", "pending",
                  "gatherResults", "race", "__call__", "__setstate__", "_callbacks", "parents",
                  "addCallbacks", "_end_all"))
        and any(issubclass(type(arg), ENDLESS) for arg in args)
    )


# Calling.


def call(what, function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        look_at(error, what)


def method(name, *args):
    """What calls a method. (Not as `it.name()`: where an object has a method of C as an attribute,
    CPython 3.11, 3.12 and the first 3.13 can crash where that is called, python/cpython#131998.)"""
    return lambda it: getattr(it, name)(*args)


def use(thing):
    """Operations that must be safe on any object of ours, in any state."""
    for function in (
        repr, str, hash, len, list, bool, copy.copy, copy.deepcopy, gc.get_referents, dir,
        lambda it: pickle.loads(pickle.dumps(it)), lambda it: it == it, lambda it: it.__dict__,
        method("callback", 1), method("addBoth", lambda result: result), method("cancel"),
        method("unpause"), method("release"), method("get"), method("put", 1),
        lambda it: it.value, method("check", ValueError), method("acquire"),
        method("getTraceback"), lambda it: it.result, method("send", None), next,
    ):
        if isinstance(thing, ENDLESS) and function is list:
            continue
        call((type(thing), function), function, thing)


#: Native attributes of an object's class: getters, setters and slots.
ATTRIBUTES = (types.GetSetDescriptorType, types.MemberDescriptorType)


def native_names(cls):
    """What is native in a class or its bases."""
    native = (
        types.MethodDescriptorType, types.WrapperDescriptorType, *ATTRIBUTES,
        types.BuiltinFunctionType, types.ClassMethodDescriptorType, staticmethod, classmethod,
    )
    return sorted({
        name for base in cls.__mro__
        if base is not object and base.__module__.startswith("deferrous")
        for name, value in vars(base).items() if isinstance(value, native)
    })


def native_classes():
    """Those whose methods are written in Rust."""
    native = (
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        *ATTRIBUTES,
    )
    found, todo = [], [object]
    while todo:
        for cls in type.__subclasses__(todo.pop()):
            todo.append(cls)
            own = {
                name: it
                for name, it in vars(cls).items()
                if name not in ("__dict__", "__weakref__")
            }
            if (
                cls.__module__.startswith("deferrous")
                and any(isinstance(it, native) for it in own.values())
                and not any(isinstance(it, types.FunctionType) for it in own.values())
            ):
                found.append(cls.__name__)
    return sorted(set(found))


def call_everything(name):
    random.seed(name)
    for make in MAKERS[name]:
        thing = make()
        names = native_names(type(thing))
        assert names, name
        for attribute in names:
            print(name, attribute, file=sys.stderr)
            call_attribute(make, attribute)
    gc.collect()
    assert not bugs, bugs


def call_attribute(make, attribute):
    # Reading, setting, deleting.
    settable = isinstance(getattr(type(make()), attribute, None), ATTRIBUTES)
    values = hostile()
    for value in values if settable else random.sample(values, 3):
        thing = make()
        what = type(thing).__name__, attribute, type(value)
        call(what, getattr, thing, attribute)
        # (A copy unpacks whatever a `__reduce__` of the object's own gives.)
        if attribute != "__reduce__" and not endless(thing, attribute, [value]):
            call(what, setattr, thing, attribute, value)
            use(thing)
    thing = make()
    call((attribute, "deleted"), delattr, thing, attribute)
    use(thing)
    # Calling with one of each, and with some of two and three.
    calls = [(), *((value,) for value in hostile())]
    for count in (2, 3):
        columns = [hostile() for _ in range(count)]
        for column in columns:
            random.shuffle(column)
        calls.extend(zip(*columns))
    thing = make()
    for args in calls:
        method = call(attribute, getattr, thing, attribute)
        if not callable(method) or endless(thing, attribute, args):
            continue
        call((attribute, args), method, *args)
        if random.random() < 0.3:
            call((attribute, args), method, *args[:-1], unknown=1)
            call((attribute, args), getattr(type(thing), attribute, None), *args)
        if random.random() < 0.1:
            use(thing)
            thing = make()
    use(thing)
'''
