"""Actions on Deferreds."""

from __future__ import annotations

import weakref
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from ..program import Node
from .making import Making
from .observing import VARIABLES


class Deferreds(Making):
    """Makes, fires, chains, pauses, cancels and times out."""

    ARGUMENTS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((), {}),
        ((1,), {}),
        ((), {"k": 2}),
        ((1, None), {"k": 2, "callback": 3}),
    )

    def op_new(self, owner: Any, canceller: Node, cls: int) -> Any:
        made = self.make_canceller(canceller)
        if canceller[0] == "noop":
            return self.register(self.impl.classes[cls](canceller=made))
        if made is None and cls:
            return self.register(self.impl.classes[cls]())
        return self.register(self.impl.classes[cls](made))

    def op_add(self, owner: Any, n: int, how: int, first: Node, second: Any, form: int) -> Any:
        target = weakref.ref(self.pick(n, owner))
        one = self.make_callback(first, target)
        two = self.make_callback(second, target)
        args, kwargs = self.ARGUMENTS[form]
        if form == 3 and how != 9:
            kwargs = {"k": 2}
        d = target()
        if how < 3:
            return d.addCallback(one, *args, **kwargs)
        if how < 6:
            return d.addErrback(one, *args, **kwargs)
        if how < 9:
            return d.addBoth(one, *args, **kwargs)
        if how == 9:
            return d.addCallbacks(one, two, args, kwargs, args[:1], kwargs)
        if how == 10:
            return d.addCallbacks(one, errback=two, errbackArgs=args, errbackKeywords=kwargs)
        if how == 11:
            return d.addCallbacks(
                callback=one, errback=two, callbackKeywords=kwargs, callbackArgs=args
            )
        if how == 12:
            return d.addCallbacks(one)
        if how == 13:
            return d.addCallbacks(one, None, None, None, None, None)
        if how == 14:
            return d.addCallback(None if form == 3 else one)
        return d.addBoth(one)

    def op_fire(self, owner: Any, n: int, value: Node) -> Any:
        made = self.value(value, owner)
        return self.pick(n, owner).callback(self.straight(made, self.pick(n, owner)))

    def fails(self, method: Any, kind: int, name: str) -> Any:
        if kind == 0:
            return method(self.impl.Failure(self.new_error(name)))
        if kind == 1:
            return method(self.new_error(name))
        if kind == 2:
            try:
                raise self.new_error(name)
            except BaseException:
                return method()
        if kind == 3:
            return method(self.raised(name))
        if kind == 4:
            # (No text or class: a generator that it is thrown into is never resumed, and how
            # long Twisted's frames then keep that open is not compared.)
            return method(self.impl.Failure(self.new_error(name), None, None, True))
        return method(None)

    def op_err(self, owner: Any, n: int, kind: int = 0, name: str = "Boom") -> Any:
        return self.fails(self.pick(n, owner).errback, kind, name)

    def op_succeed(self, owner: Any, value: Node) -> Any:
        return self.register(self.impl.defer.succeed(self.value(value, owner)))

    def op_fail(self, owner: Any, kind: int, name: str) -> Any:
        return self.register(self.fails(self.impl.defer.fail, kind, name))

    def op_execute(self, owner: Any, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.impl.defer.execute(call, *args, **kwargs))

    def op_maybe(self, owner: Any, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.impl.defer.maybeDeferred(call, *args, **kwargs))

    def op_chain(self, owner: Any, n: int, m: int) -> Any:
        return self.pick(n, owner).chainDeferred(self.pick(m, owner))

    def meddle(self, deferred: Any) -> bool:
        """Whether a Deferred may be paused or made uncalled now.

        A coroutine that awaits one whose callbacks are running while it is paused
        goes round for ever in Twisted: the two must not meet.  One that waits for
        another may come to that later: if it is unpaused by hand it is run, and
        paused less than not at all when what it waits for is there.
        """
        if self.depth > 1 or deferred._chainedTo is not None:
            if deferred in self.awaited:
                return False
            self.meddled.add(deferred)
        return True

    def give_awaited(self, sid: str, spec: Node) -> Any:
        return self.mark_awaited(self.give(sid, spec))

    def mark_awaited(self, value: Any) -> Any:
        if isinstance(value, self.impl.Deferred):
            if value in self.meddled:
                return self.impl.defer.succeed("meddled")
            self.awaited.add(value)
        return value

    def op_pause(self, owner: Any, n: int) -> Any:
        if self.meddle(self.pick(n, owner)):
            return self.pick(n, owner).pause()
        return "awaited"

    def op_unpause(self, owner: Any, n: int) -> Any:
        if self.meddle(self.pick(n, owner)):
            return self.pick(n, owner).unpause()
        return "awaited"

    def op_cancel(self, owner: Any, n: int) -> Any:
        seen = set()
        item = self.pick(n, owner)
        while isinstance(item, self.impl.Deferred) and item.called:
            if id(item) in seen:
                return "circular"
            seen.add(id(item))
            item = getattr(item, "result", None)
        del item
        self.fuel -= 2
        return self.pick(n, owner).cancel()

    def op_drop(self, owner: Any, n: int) -> Any:
        live = [i for i, deferred in enumerate(self.ds) if deferred is not None]
        if live:
            i = live[-1] if n < 0 else live[n % len(live)]
            self.ds[i] = None
        return None

    def op_ctx(self, owner: Any, which: int, value: int) -> Any:
        VARIABLES[which].set(value)

    def op_timeout(self, owner: Any, n: int, seconds: int, callback: Any) -> Any:
        target = self.pick(n, owner)
        call = self.make_callback(callback, weakref.ref(target))
        if call is None:
            return target.addTimeout(seconds, self.clock)
        return target.addTimeout(seconds, self.clock, onTimeoutCancel=call)

    def op_advance(self, owner: Any, seconds: int) -> Any:
        self.advancing += 1
        try:
            return self.clock.advance(seconds)
        except (AlreadyCalled, AlreadyCancelled) as error:
            return type(error).__name__
        finally:
            self.advancing -= 1

    def op_setresult(self, owner: Any, n: int, value: Node) -> Any:
        made = self.value(value, owner)
        made = self.straight(made, self.pick(n, owner))
        self.pick(n, owner).result = made

    def op_setcalled(self, owner: Any, n: int, value: int) -> Any:
        target, called = self.pick(n, owner), (False, True, 0, "yes", None, 1, "", 0.5)[value % 8]
        if (hasattr(target, "result") or not called) and self.meddle(target):
            target.called = called

    def op_debug(self, owner: Any, on: int) -> Any:
        self.impl.defer.setDebugging(on)
        return self.impl.defer.getDebugging()

    def op_iter(self, owner: Any, n: int) -> Any:
        return next(iter(self.pick(n, owner)))

    def op_callbacks(self, owner: Any, n: int) -> Any:
        return len(self.pick(n, owner).callbacks)

    def op_old(self, owner: Any, which: int, n: int, name: str) -> Any:
        defer = self.impl.defer
        if which == 0:
            return defer.timeout(self.pick(n, owner))
        if which == 1:
            failure = self.raised(name)
            return defer.logError(failure) is failure
        return defer.passthru(self.value(("v", 1)))
