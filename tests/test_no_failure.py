"""Deferreds whose exceptions cannot be made into a Failure.

A program may have replaced `Failure.__init__` by something that raises, a subclass may have a
`debug` that does, or memory has run out. The exception that comes of it comes out of the call
that ran the Deferred, and the Deferred goes on with its next link the next time it is run.

Each scenario keeps a log, and both implementations have to come to the same one.
"""

import importlib
from contextlib import contextmanager

import pytest
from helpers import IMPLEMENTATIONS, ignore, raiser

pytestmark = pytest.mark.deferrous_only


class Broken(Exception):
    """What cannot be made a Failure of raises this."""


class World:
    """One implementation, whose Failures can be broken, and a log."""

    def __init__(self, name):
        self.defer, self.failure = map(importlib.import_module, IMPLEMENTATIONS[name])
        self.log = []

    @contextmanager
    def broken(self, error=Broken):
        """For a while, no Failure can be made."""
        original = self.failure.Failure.__init__

        def init(self, *args, **kwargs):
            raise error("no failure")

        self.failure.Failure.__init__ = init
        try:
            yield
        finally:
            self.failure.Failure.__init__ = original

    def attempt(self, function, *args):
        """Call, and note what is raised, and while handling what."""
        try:
            function(*args)
        except BaseException as error:
            self.log.append(("raised", type(error).__name__, type(error.__context__).__name__))
        else:
            self.log.append("returned")

    def note(self, name):
        """A callback or errback that notes what it gets, and lets it pass."""

        def note(result):
            if isinstance(result, self.failure.Failure):
                self.log.append((name, type(result.value).__name__))
            else:
                self.log.append((name, self.shown(result)))
            return result

        return note

    def shown(self, result):
        known = (int, str, type(None), list, tuple)
        return result if isinstance(result, known) else type(result).__name__

    def look(self, deferred):
        """Note what can be seen of a Deferred, then give it a callback more."""
        result = getattr(deferred, "result", "no result")
        if isinstance(result, self.failure.Failure):
            result = result.value
        self.log.append((deferred.called, deferred.paused, self.shown(result)))
        self.attempt(lambda: deferred.addBoth(self.note("later")) and None)
        deferred.addErrback(ignore)


def callback_raises(world):
    deferred = world.defer.Deferred()
    deferred.addCallback(raiser(ValueError())).addBoth(world.note("next"))
    with world.broken():
        world.attempt(deferred.callback, 1)
    world.look(deferred)


def added_callback_raises(world):
    deferred = world.defer.succeed(1)
    for add in (deferred.addCallback, deferred.addBoth):
        with world.broken():
            world.attempt(add, raiser(ValueError()))
        world.look(deferred)


def added_callback_with_arguments_raises(world):
    deferred = world.defer.succeed(1)
    with world.broken():
        world.attempt(deferred.addCallbacks, raiser(ValueError()), None, (1,), {"a": 1})
    world.look(deferred)


def errback_raises(world):
    deferred = world.defer.fail(ValueError())
    with world.broken(MemoryError):
        world.attempt(deferred.addErrback, raiser(KeyError()))
    world.look(deferred)


def callback_raises_base_exception(world):
    deferred = world.defer.Deferred().addCallback(raiser(KeyboardInterrupt()))
    with world.broken(KeyboardInterrupt):
        world.attempt(deferred.callback, 1)
    world.look(deferred)


def inner_raises(world):
    """One that waits for another, whose callback raises."""
    inner, outer = world.defer.Deferred(), world.defer.succeed(0)
    outer.addCallback(lambda _: inner).addBoth(world.note("outer"))
    inner.addCallback(raiser(ValueError()))
    with world.broken():
        world.attempt(inner.callback, 1)
    world.look(outer)
    world.look(inner)
    world.look(outer)


def outer_raises(world):
    """One that waited for another raises when it goes on."""
    inner, outer = world.defer.Deferred(), world.defer.succeed(0)
    outer.addCallback(lambda _: inner).addCallback(raiser(ValueError()))
    outer.addBoth(world.note("outer"))
    with world.broken():
        world.attempt(inner.callback, 1)
    world.look(inner)
    world.look(outer)


def ready_inner(world):
    """A callback returns a Deferred that has fired, and the next raises."""
    outer = world.defer.Deferred().addCallback(lambda _: world.defer.succeed(2))
    outer.addCallback(raiser(ValueError())).addBoth(world.note("outer"))
    with world.broken():
        world.attempt(outer.callback, 1)
    world.look(outer)


def chain_deferred(world):
    first, second = world.defer.Deferred(), world.defer.Deferred()
    second.addCallback(raiser(ValueError())).addBoth(world.note("second"))
    first.chainDeferred(second).addBoth(world.note("first"))
    with world.broken():
        world.attempt(first.callback, 1)
    world.look(first)
    world.look(second)


def fired_in_a_callback(world):
    inner = world.defer.Deferred().addCallback(raiser(ValueError()))
    outer = world.defer.Deferred().addCallback(inner.callback).addBoth(world.note("outer"))
    with world.broken():
        world.attempt(outer.callback, 1)
    world.look(inner)
    world.look(outer)


def already_fired(world):
    """A chained Deferred that had been fired: AlreadyCalledError, of which no Failure is made."""
    first, second = world.defer.Deferred(), world.defer.succeed(2)
    first.chainDeferred(second).addBoth(world.note("first"))
    with world.broken():
        world.attempt(first.callback, 1)
    world.look(first)
    world.look(second)


def paused(world):
    deferred = world.defer.Deferred().addCallback(raiser(ValueError()))
    deferred.addBoth(world.note("next"))
    deferred.pause()
    deferred.callback(1)
    with world.broken():
        world.attempt(deferred.unpause)
    world.look(deferred)


def errback_with_exception(world):
    deferred = world.defer.Deferred().addBoth(world.note("next"))
    with world.broken():
        world.attempt(deferred.errback, ValueError())
        world.attempt(world.defer.fail, ValueError())
        world.attempt(world.defer.maybeDeferred, raiser(ValueError()))
        world.attempt(world.defer.execute, raiser(ValueError()))
        world.attempt(deferred.cancel)
    world.log.append(deferred.called)
    deferred.callback(3)
    world.look(deferred)


def cancelled_without_failure(world):
    deferred = world.defer.Deferred(ignore).addBoth(world.note("next"))
    with world.broken():
        world.attempt(deferred.cancel)
    world.log.append(deferred.called)
    world.attempt(deferred.cancel)
    world.look(deferred)


def generator_raises(world):
    @world.defer.inlineCallbacks
    def waits(deferred):
        yield deferred
        raise ValueError

    deferred = world.defer.Deferred()
    result = waits(deferred).addBoth(world.note("generator"))
    with world.broken():
        world.attempt(deferred.callback, 1)
    world.log.append(result.called)
    world.look(deferred)


def generator_raises_at_once(world):
    @world.defer.inlineCallbacks
    def fails():
        raise ValueError
        yield

    with world.broken():
        world.attempt(fails)


def generator_cancelled(world):
    @world.defer.inlineCallbacks
    def waits(deferred):
        yield deferred

    deferred = world.defer.Deferred()
    result = waits(deferred).addBoth(world.note("generator"))
    with world.broken():
        world.attempt(result.cancel)
    world.log.append((result.called, deferred.called))
    deferred.callback(2)
    world.look(result)


def coroutine_raises(world):
    async def waits(deferred):
        await deferred
        raise ValueError

    deferred = world.defer.Deferred()
    result = world.defer.ensureDeferred(waits(deferred)).addBoth(world.note("coroutine"))
    with world.broken():
        world.attempt(deferred.callback, 1)
    world.log.append(result.called)
    world.look(deferred)


def list_of_one_that_raises(world):
    one, two = world.defer.Deferred().addCallback(raiser(ValueError())), world.defer.Deferred()
    both = world.defer.DeferredList([one, two], consumeErrors=True).addBoth(world.note("list"))
    with world.broken():
        world.attempt(one.callback, 1)
    two.callback(2)
    world.look(both)
    world.look(one)


def list_that_fails(world):
    one, two = world.defer.Deferred(), world.defer.Deferred()
    both = world.defer.gatherResults([one, two], consumeErrors=True).addBoth(world.note("list"))
    reason = world.failure.Failure(ValueError())
    with world.broken():
        world.attempt(one.errback, reason)
    world.log.append((both.called, both.finishedCount))
    world.look(one)
    two.errback(ValueError())
    world.look(both)


def list_whose_callback_raises(world):
    one = world.defer.Deferred()
    everything = world.defer.DeferredList([one]).addCallback(raiser(ValueError()))
    everything.addBoth(world.note("list"))
    with world.broken():
        world.attempt(one.callback, 1)
    world.look(everything)
    world.look(one)


def list_cancelled(world):
    """Where what a canceller raises cannot even be logged."""
    one, two = world.defer.Deferred(raiser(ValueError())), world.defer.Deferred(ignore)
    both = world.defer.DeferredList([one, two], consumeErrors=True)
    for _ in range(150):
        with world.broken():
            world.attempt(both.cancel)
    world.log.append((one.called, two.called, both.called))


def race_whose_losers_fail(world):
    one, two = world.defer.Deferred(), world.defer.Deferred()
    first = world.defer.race([one, two]).addBoth(world.note("race"))
    reason = world.failure.Failure(ValueError())
    one.errback(reason)
    with world.broken():
        world.attempt(two.errback, reason)
    world.log.append(first.called)
    world.look(two)


def lock_run(world):
    lock = world.defer.DeferredLock()
    lock.acquire()
    result = lock.run(raiser(ValueError())).addBoth(world.note("run"))
    with world.broken():
        world.attempt(lock.release)
    world.log.append((lock.locked, len(lock.waiting)))
    world.look(result)


def lock_run_that_waits(world):
    deferred, lock = world.defer.Deferred(), world.defer.DeferredLock()
    result = lock.run(lambda: deferred).addCallback(raiser(ValueError()))
    result.addBoth(world.note("run"))
    with world.broken():
        world.attempt(deferred.callback, 1)
    world.log.append(lock.locked)
    world.look(deferred)
    world.look(result)


def queue_put(world):
    queue = world.defer.DeferredQueue()
    got = queue.get().addCallback(raiser(ValueError())).addBoth(world.note("got"))
    with world.broken():
        world.attempt(queue.put, 1)
    world.look(got)
    queue.put(2)
    world.log.append(list(queue.pending))


class Whim:
    """Makes a subclass whose `debug` raises when it is told to."""

    def __new__(cls, world):
        class Sub(world.defer.Deferred):
            raises = False

            @property
            def debug(self):
                if self.raises:
                    raise Broken("debug")
                return False

        return Sub


def debug_raises(world):
    sub = Whim(world)()
    sub.addCallback(raiser(ValueError())).addBoth(world.note("next"))
    sub.pause()
    sub.callback(1)
    sub.raises = True
    world.attempt(sub.unpause)
    sub.raises = False
    world.look(sub)


def debug_raises_when_fired(world):
    sub = Whim(world)().addBoth(world.note("next"))
    sub.raises = True
    world.attempt(sub.callback, 1)
    world.attempt(sub.errback, ValueError())
    world.attempt(sub.cancel)
    sub.raises = False
    world.look(sub)


def debug_info_refuses(world):
    """A DebugInfo that takes no failure."""

    class Refuses:
        def __setattr__(self, name, value):
            raise Broken(name)

    outer, inner = world.defer.Deferred(), world.defer.Deferred()
    outer.addCallback(lambda _: inner).addBoth(world.note("outer"))
    outer.callback(0)
    inner._debugInfo = Refuses()
    world.attempt(inner.callback, 1)
    world.log.append((outer.result, outer.paused, inner.result))
    inner._debugInfo = None
    world.look(inner)


SCENARIOS = [
    scenario
    for name, scenario in list(globals().items())
    if getattr(scenario, "__code__", None) is not None
    and scenario.__code__.co_varnames[:1] == ("world",)
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_as_with_twisted(scenario):
    logs = []
    for name in IMPLEMENTATIONS:
        world = World(name)
        scenario(world)
        logs.append(world.log)
    twisted, ours = logs
    assert twisted
    assert ours == twisted


def test_a_generator_goes_on_when_what_it_waits_for_does():
    """With Twisted it waits for ever."""
    world = World("deferrous")
    reached = []

    @world.defer.inlineCallbacks
    def waits(deferred):
        reached.append((yield deferred))

    deferred = world.defer.Deferred().addCallback(raiser(ValueError()))
    deferred.pause()
    deferred.callback(1)
    deferred.paused = 0  # So that it can be run, but has not been.
    with world.broken():
        world.attempt(waits, deferred)
    assert world.log == [("raised", "Broken", "ValueError")]
    assert reached == []
    deferred.addCallback(ignore)
    assert reached == [1]
