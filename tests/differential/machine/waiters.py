"""Actions on lists and races of Deferreds, and on locks, queues and futures."""

from __future__ import annotations

from typing import Any

from ..program import Node
from .deferreds import Deferreds


class Waiters(Deferreds):
    """Gathers, acquires, puts and gets; goes to asyncio and back."""

    def op_dlist(self, owner: Any, refs: tuple[int, ...], flags: int) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        made = self.impl.defer.DeferredList(
            chosen,
            fireOnOneCallback=bool(flags & 1),
            fireOnOneErrback=bool(flags & 2),
            consumeErrors=bool(flags & 4),
        )
        return self.gathers(made, chosen)

    def op_gather(self, owner: Any, refs: tuple[int, ...], consume: int) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        made = self.impl.defer.gatherResults(chosen, bool(consume))
        return self.gathers(made, chosen)

    def op_race(self, owner: Any, refs: tuple[int, ...]) -> Any:
        chosen = [self.pick(n, owner) for n in refs]
        return self.gathers(self.impl.defer.race(chosen), chosen)

    def op_firsterror(self, owner: Any, one: int, two: int, name: str) -> Any:
        FirstError = self.impl.defer.FirstError
        failure = self.impl.Failure(self.new_error(name))
        other = failure if two < 2 else self.impl.Failure(self.new_error(name))
        a, b = FirstError(failure, one % 2), FirstError(other, two % 2)
        shown = [a, a.subFailure is failure, a == b, a != b, a == "a", a == a]
        if one % 2 != two % 2:
            shown += [a < b, a > b, a <= b, a >= b]
        return shown

    def some(self, kind: str, k: int) -> Any:
        things = self.sync[kind]
        if not things:
            self.act({"queue": ("queue", 0, 0), "sem": ("sem", 2)}.get(kind, (kind,)))
        return things[k % len(things)]

    def made(self, kind: str, thing: Any) -> Any:
        self.name(thing, kind)
        self.sync[kind].append(thing)
        return thing

    def op_lock(self, owner: Any) -> Any:
        return self.made("lock", self.impl.defer.DeferredLock())

    def op_sem(self, owner: Any, tokens: int) -> Any:
        return self.made("sem", self.impl.defer.DeferredSemaphore(tokens))

    def op_queue(self, owner: Any, size: int, backlog: int) -> Any:
        made = self.impl.defer.DeferredQueue(
            size=size - 1 if size else None, backlog=backlog - 1 if backlog else None
        )
        return self.made("queue", made)

    def guard(self, k: int) -> Any:
        return self.some(("lock", "sem")[k % 2], k // 2)

    def op_acquire(self, owner: Any, k: int) -> Any:
        return self.register(self.guard(k).acquire())

    def op_release(self, owner: Any, k: int) -> Any:
        return self.guard(k).release()

    def op_run(self, owner: Any, k: int, callback: Node, form: int) -> Any:
        args, kwargs = self.ARGUMENTS[form]
        call = self.make_callback(callback, None)
        kwargs = {"k": 2} if kwargs else {}
        return self.register(self.guard(k).run(call, *args, **kwargs))

    def op_put(self, owner: Any, k: int, value: Node) -> Any:
        return self.some("queue", k).put(self.straight(self.value(value, owner)))

    def op_get(self, owner: Any, k: int) -> Any:
        return self.register(self.some("queue", k).get())

    def future(self, k: int) -> Any:
        if not self.futures:
            self.op_future(None)
        return self.futures[k % len(self.futures)]

    def op_future(self, owner: Any) -> Any:
        future = self.loop.create_future()
        self.futures.append(future)
        return future

    def op_asfuture(self, owner: Any, n: int) -> Any:
        future = self.pick(n, owner).asFuture(self.loop)
        self.futures.append(future)
        return future

    def op_fromfuture(self, owner: Any, k: int, cls: int) -> Any:
        future = self.future(k)
        return self.register(self.impl.classes[cls].fromFuture(future))

    def op_futset(self, owner: Any, k: int, value: Node) -> Any:
        made = self.straight(self.value(value, owner))
        future = self.future(k)
        if isinstance(made, self.impl.Failure):
            made = made.value
        if isinstance(made, BaseException):
            return future.set_exception(made)
        return future.set_result(made)

    def op_futcancel(self, owner: Any, k: int) -> Any:
        return self.future(k).cancel()

    def op_spin(self, owner: Any, *_: Any) -> Any:
        return self.loop.spin(self)
