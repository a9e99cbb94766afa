"""Actions on generators and coroutines, and the functions that their scripts call."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from typing import Any

from ..program import Node
from .scripts import compiled
from .waiters import Waiters


@dataclass
class Holding:
    """Around what a script does while it holds a lock: sees it being closed there."""

    machine: Generators
    sid: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, cls: object, error: object, tb: object) -> None:
        if self.machine.closing(error):
            trace = self.machine.trace
            trace.closed.setdefault(self.sid, len(trace.lines))


class Generators(Waiters):
    """Starts scripts, and is called by them."""

    def op_gen(self, owner: Any, how: int, script: Node) -> Any:
        return self.register(self.start(how, script))

    def start(self, how: int, script: Node) -> Any:
        sid = self.count("g")
        self.roots[sid] = sid
        made = self.started(how, script, sid)
        if isinstance(made, self.impl.Deferred):
            self.script_deferreds[sid] = weakref.ref(made)
        return made

    def started(self, how: int, script: Node, sid: str) -> Any:
        defer = self.impl.defer
        generator, coroutine = compiled(script)
        if how in (0, 1):
            return defer.inlineCallbacks(generator)(self, sid)
        if how == 2:
            return defer.ensureDeferred(coroutine(self, sid))
        if how == 3:
            return defer.Deferred.fromCoroutine(coroutine(self, sid))
        if how == 4:
            return defer.maybeDeferred(coroutine, self, sid=sid)
        if how == 5:
            return defer.ensureDeferred(generator(self, sid))
        return defer.inlineCallbacks(generator)(self, sid=sid)

    def nested(self, sid: str, how: int, script: Node) -> Any:
        """What a script yields or awaits to run another script."""
        generator, coroutine = compiled(script)
        if how in (0, 1):
            inner = self.count("g")
            self.roots[inner] = self.roots[sid]
            return (coroutine if how == 0 else generator)(self, inner)
        made = self.start({2: 0, 3: 2}.get(how, 3), script)
        return self.mark_awaited(self.waiting(sid, self.register(made)))

    def op_notgen(self, owner: Any, which: int, n: int) -> Any:
        defer = self.impl.defer

        def plain() -> Any:
            return 3

        def returning() -> Any:
            defer.returnValue(3)

        def raising() -> Any:
            raise self.new_error("Boom")

        if which < 3:
            function = (plain, returning, raising)[which]
            return defer.inlineCallbacks(function)()
        if which == 3:
            return defer.ensureDeferred(42)
        if which == 4:
            target = self.pick(n, owner)
            return defer.ensureDeferred(target) is target
        if which == 5:
            return defer.Deferred.fromCoroutine(self.pick(n, owner))
        return defer.Deferred.fromCoroutine("text")

    def closing(self, error: object) -> bool:
        """Whether a script is being thrown away: not one of our own exceptions."""
        return type(error) is GeneratorExit and not error.args

    def began(self, sid: str) -> None:
        self.log(f"{sid} begins ctx={self.contexts()}")
        self.observe()

    def got(self, sid: str, value: Any) -> None:
        self.log(f"{sid} got {self.norm(value)} ctx={self.contexts()}")
        self.observe()

    def caught(self, sid: str, error: BaseException) -> bool:
        if self.closing(error):
            self.died(f"{sid} closed in except")
            return True
        self.log(f"{sid} caught {self.error(error)} ctx={self.contexts()}")
        self.observe()
        return self.ended

    def finally_(self, sid: str) -> bool:
        error = sys.exc_info()[1]
        if self.ended or self.closing(error):
            self.died(f"{sid} closed in finally")
            return False
        self.log(f"{sid} finally {self.error(error) if error else ''}")
        self.observe()
        return True

    def give(self, sid: str, spec: Node) -> Any:
        return self.waiting(sid, self.value(spec))

    def last(self, spec: Node) -> Any:
        return self.straight(self.value(spec))

    def helper(self, spec: Node) -> Any:
        self.impl.defer.returnValue(self.last(spec))

    def context_manager(self, k: int) -> Any:
        return self.some(("lock", "sem")[k % 2], k)

    def holding(self, sid: str) -> Holding:
        return Holding(self, sid)
