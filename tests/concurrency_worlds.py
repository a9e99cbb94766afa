"""Worlds in which programs of `deferrous.concurrency` run, step by step.

One actor of a program can be cancelled between any two steps. A step is one function that the world
calls, because somebody has asked the clock or the loop for it.
"""

from __future__ import annotations

import asyncio

from deferrous import CancelledError, ensureDeferred, inlineCallbacks
from deferrous.testing import Clock

#: More rounds than any program takes. What has not ended by then hangs.
ROUNDS = 500


class Run:
    """One run of a program: its actors, and how each of them ended."""

    def __init__(self, program, victim, step):
        self.program = program
        self.victim = victim
        self.step = step
        self.steps = 0
        #: Whether the victim was still there at the step at which it was cancelled.
        self.hit = self.too_early = False
        #: Which have begun. A task of asyncio that is cancelled before never does.
        self.begun = set()
        self.ended = {}
        self.actors = []

    def before_step(self):
        if self.steps == self.step:
            self.too_early = self.victim not in self.begun
            if not self.too_early and self.victim not in self.ended:
                self.hit = True
                self.actors[self.victim].cancel()
        self.steps += 1

    def keep(self, number, actor):
        """Make a note of how an actor ends."""

        async def kept():
            self.begun.add(number)
            try:
                self.ended[number] = ("returned", await actor())
            except (CancelledError, asyncio.CancelledError) as error:
                self.ended[number] = ("cancelled", error.args)
                raise
            except BaseException as error:
                self.ended[number] = ("raised", error)
                raise

        return kept

    def check(self):
        actors = len(self.program.actors)
        missing = [number for number in range(actors) if number not in self.ended]
        assert not missing, f"actors {missing} hang"
        for number, (how, what) in self.ended.items():
            if how == "raised":
                raise AssertionError(f"actor {number} has raised {what!r}") from what
            assert how == "returned" or number == self.victim, (number, how)
        self.program.check(self.victim if self.hit else None, self.ended)


class SteppingClock(Clock):
    def __init__(self, before_step):
        super().__init__()
        self.before_step = before_step

    def callLater(self, delay, function, *args, **kwargs):
        def step():
            self.before_step()
            function(*args, **kwargs)

        return super().callLater(delay, step)


def ignore(_):
    pass


def start(run, number, actor):
    deferred = ensureDeferred(run.keep(number, actor)())
    deferred.addErrback(ignore)
    return deferred


def start_generator(run, number, actor):
    @inlineCallbacks
    def generator():
        return (yield run.keep(number, actor)())

    deferred = generator()
    deferred.addErrback(ignore)
    return deferred


def on_a_fake_clock(make, victim=None, step=None, start=start):
    """Coroutines that Deferreds drive, and a clock that stands still."""
    run = Run(None, victim, step)
    clock = SteppingClock(run.before_step)
    run.program = make(clock)
    for number, actor in enumerate(run.program.actors):
        run.actors.append(start(run, number, actor))
    for _ in range(ROUNDS):
        run.before_step()
        calls = clock.getDelayedCalls()
        if not calls:
            break
        clock.advance(max(calls[0].getTime() - clock.seconds(), 0))
    run.check()
    assert clock.getDelayedCalls() == []
    return run


def in_generators(make, victim=None, step=None):
    """The same, with generators that yield the coroutines."""
    return on_a_fake_clock(make, victim, step, start_generator)


class SteppingLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes when there is nothing else to do."""

    def __init__(self):
        super().__init__()
        self.fake_time = 0.0
        self.before_step = None

    def time(self):
        return self.fake_time

    def wrapped(self, callback):
        if self.before_step is None:
            return callback

        def step(*args):
            if self.before_step is not None:
                self.before_step()
            callback(*args)

        return step

    def call_soon(self, callback, *args, context=None):
        return super().call_soon(self.wrapped(callback), *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        return super().call_at(when, self.wrapped(callback), *args, context=context)

    def _run_once(self):
        if not self._ready and self._scheduled:
            times = [each._when for each in self._scheduled if not each._cancelled]
            self.fake_time = max(self.fake_time, min(times, default=0))
        super()._run_once()


def in_tasks(make, victim=None, step=None):
    """Tasks of asyncio. A step may come between the moment that one is woken and that it runs."""
    loop = SteppingLoop()
    try:

        async def main():
            run = Run(None, victim, step)
            run.program = make(loop)
            loop.before_step = run.before_step
            for number, actor in enumerate(run.program.actors):
                run.actors.append(loop.create_task(run.keep(number, actor)()))
            for _ in range(ROUNDS):
                if all(task.done() for task in run.actors):
                    break
                await asyncio.sleep(0.5)
            loop.before_step = None
            for task in run.actors:
                task.cancel()
            await asyncio.gather(*run.actors, return_exceptions=True)
            return run

        asyncio.set_event_loop(loop)
        run = loop.run_until_complete(main())
        run.check()
        return run
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class ReactorClock(SteppingClock):
    """Twisted's reactor, which makes each call in a turn of its own, and waits for none."""

    def __init__(self, reactor, before_step):
        super().__init__(before_step)
        self.reactor = reactor

    def callLater(self, delay, function):
        self.reactor.callLater(0, self.call_next)
        return super().callLater(delay, function)

    def call_next(self):
        calls = self.getDelayedCalls()
        if calls:
            self.advance(max(calls[0].getTime() - self.seconds(), 0))


async def under_the_reactor(reactor, make, victim=None, step=None):
    """Coroutines that Deferreds drive, under a reactor that runs."""
    from deferrous import concurrency

    run = Run(None, victim, step)
    clock = ReactorClock(reactor, run.before_step)
    run.program = make(clock)
    for number, actor in enumerate(run.program.actors):
        run.actors.append(start(run, number, actor))
    run.before_step()
    for _ in range(ROUNDS):
        if len(run.ended) == len(run.actors):
            break
        await concurrency.sleep(0, clock=reactor)
    run.check()
    return run


def sweep(world, make):
    """Cancel each actor at each step until it ends before. Returns how many points there were."""
    actors = len(world(make).program.actors)
    points = 0
    for victim in range(actors):
        for step in range(10_000):
            run = world(make, victim, step)
            if not run.hit and not run.too_early:
                break
            points += run.hit
        else:
            raise AssertionError("no end")
    return points
