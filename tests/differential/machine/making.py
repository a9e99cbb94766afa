"""Finds and makes the objects that actions need: Deferreds, values, callbacks, cancellers."""

from __future__ import annotations

import weakref
from typing import Any

from ..program import LATEST, SELF, Node
from .implementation import BUILTIN, LOCAL, Current
from .observing import Observing


class Falsy:
    """A canceller that is false: as if there were none."""

    def __bool__(self) -> bool:
        return False

    def __call__(self, deferred: object) -> None:
        Current.machine.log("falsy canceller was called")


class Making(Observing):
    """Makes things, and performs acts on them."""

    def register(self, deferred: Any) -> Any:
        if isinstance(deferred, self.impl.Deferred):
            self.name(deferred, "d")
            if not any(known is deferred for known in self.ds):
                self.ds.append(deferred)
        return deferred

    def pick(self, number: int, owner: Any = None) -> Any:
        if number == SELF and owner is not None:
            mine = owner()
            if mine is not None:
                return mine
        live = [deferred for deferred in self.ds if deferred is not None]
        if not live:
            return self.register(self.impl.Deferred())
        return live[-1] if number in (SELF, LATEST) else live[number % len(live)]

    def cls(self, name: str) -> type[BaseException]:
        found = LOCAL.get(name) or BUILTIN.get(name)
        return found or getattr(self.impl.defer, name)

    def new_error(self, name: str) -> BaseException:
        return self.cls(name)(self.count("e"))

    def raised(self, name: str) -> Any:
        try:
            raise self.new_error(name)
        except BaseException:
            return self.impl.Failure()

    def value(self, spec: Node, owner: Any = None, argument: Any = None) -> Any:
        kind = spec[0]
        if kind == "v":
            return f"v{spec[1]}" if spec[1] else 0
        if kind == "d":
            return self.pick(spec[1], owner)
        if kind == "self":
            return self.pick(SELF, owner)
        if kind == "same":
            return argument
        if kind == "f":
            return self.impl.Failure(self.new_error(spec[1]))
        if kind == "rf":
            return self.raised(spec[1])
        if kind == "exc":
            return self.new_error(spec[1])
        if kind == "sd":
            return self.register(self.impl.defer.succeed(self.count("s")))
        if kind == "fd":
            return self.register(self.impl.defer.fail(self.new_error(spec[1])))
        if kind == "pd":
            return self.register(self.impl.Deferred())
        if kind == "sub":
            return self.register(self.impl.classes[2]())
        return None

    def make_callback(self, spec: Node | None, owner: Any) -> Any:
        if spec is None:
            return None
        name = self.count("c")

        def callback(*args: Any, **kwargs: Any) -> Any:
            return self.run_callback(spec, name, owner, args, kwargs)

        callback.diff_name = name  # type: ignore[attr-defined]
        return callback

    def run_callback(
        self,
        spec: Node,
        name: str,
        owner: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        self.depth += 1
        try:
            shown = f"{self.norm(args)} {self.norm(kwargs)}" if kwargs else ""
            self.log(f"<{name} {shown or self.norm(args)} ctx={self.contexts()}")
            self.observe()
            argument = args[0] if args else None
            del args
            for act in spec[1]:
                self.do(act, owner)
            outcome = spec[2]
            kind = outcome[0]
            if kind == "ret":
                result = self.value(outcome[1], owner, argument)
                self.log(f">{name} {self.norm(result)}")
                return self.straight(result, owner and owner())
            self.log(f">{name} {outcome[:1]}")
            if kind == "raise":
                raise self.new_error(outcome[1])
            if kind == "raw":
                return self.straight(self.act(outcome[1], owner), owner and owner())
            if isinstance(argument, self.impl.Failure):
                if kind == "trap":
                    return argument.trap(self.cls(outcome[1])).__name__
                argument.raiseException()
            return argument
        finally:
            self.depth -= 1

    def make_canceller(self, spec: Node) -> Any:
        kind = spec[0]
        if kind == "nothing":
            return None
        if kind == "falsy":
            return Falsy()
        name = self.count("k")

        def cancel(deferred: Any) -> None:
            self.log(f"<{name} {self.norm(deferred)}")
            self.fuel -= 20
            self.observe()
            if kind == "fires":
                made = self.value(spec[1], weakref.ref(deferred))
                deferred.callback(self.straight(made, deferred))
            elif kind == "fails":
                deferred.errback(self.new_error(spec[1]))
            elif kind == "raises":
                raise self.new_error(spec[1])
            elif kind == "acts":
                for act in spec[1]:
                    self.do(act, weakref.ref(deferred))
            self.log(f">{name}")

        def canceller(deferred: Any) -> Any:
            try:
                cancel(deferred)
            except BaseException:
                # What a canceller raises when a time runs out keeps a Deferred of ours from
                # nothing (docs/differences.md).
                if not self.advancing:
                    raise
            return "ignored"

        canceller.diff_name = name  # type: ignore[attr-defined]
        return canceller

    def do(self, act: Node, owner: Any = None) -> None:
        """Perform an act; write down how it ended, whatever that was."""
        if self.ended:
            return
        self.fuel -= 1
        if self.gathered and self.circular():
            self.fuel = -1
        if self.fuel < 0:
            return
        self.log("> " + " ".join(str(x) for x in act if not isinstance(x, tuple)))
        self.depth += 1
        try:
            shown = self.norm(self.act(act, owner))
        except BaseException as error:
            if type(error) is KeyboardInterrupt and not error.args:
                raise
            shown = f"raised {self.error(error)}"
        self.depth -= 1
        self.log(f"= {shown}")

    def act(self, act: Node, owner: Any = None) -> Any:
        return getattr(self, "op_" + act[0])(owner, *act[1:])

    def circular(self, waiting: Any = None, awaited: Any = None) -> bool:
        """Whether something gathered waits for what gathered it.

        Twisted then cancels round and round, twice as often at every turn, so the
        program ends before it can come to that.  The answer depends on what is alive,
        and something may die sooner than with the oracle: so it is put down.
        """
        at = len(self.trace.lines)
        if self.in_a_circle(waiting, awaited):
            self.trace.circles.append(at)
            return True
        return False

    def in_a_circle(self, waiting: Any, awaited: Any) -> bool:
        edges: dict[int, list[Any]] = {}
        starts = []
        for list_, members in self.gathered:
            gathering = self.living(list_)
            if gathering is not None:
                edges[id(gathering)] = [m for m in map(self.living, members) if m is not None]
                starts.append(gathering)
        for root, values in self.waits.items():
            waiter = self.living(self.script_deferreds.get(self.roots.get(root, root)))
            if waiter is not None:
                found = [v for v in map(self.living, values) if v is not None]
                edges.setdefault(id(waiter), []).extend(found)
        for start in starts:
            seen: set[int] = set()
            todo = list(edges[id(start)])
            while todo:
                item = todo.pop()
                if item is start:
                    return True
                if id(item) in seen:
                    continue
                seen.add(id(item))
                todo.extend(edges.get(id(item), ()))
                after = [getattr(item, "result", None), getattr(item, "_chainedTo", 0)]
                if item is waiting:
                    after.append(awaited)
                todo.extend(x for x in after if isinstance(x, self.impl.Deferred))
        return False

    def living(self, reference: Any) -> Any:
        """What a weak reference leads to; that it is dead is put down, the first time."""
        found = None if reference is None else reference()
        if found is None and reference is not None and self.trace.missed is None:
            self.trace.missed = len(self.trace.lines)
        return found

    def script_deferred(self, sid: str) -> Any:
        known = self.script_deferreds.get(self.roots.get(sid, sid))
        return None if known is None else known()

    def waiting(self, sid: str, value: Any) -> Any:
        """What a script may wait for, if it was about to wait for this."""
        if isinstance(value, self.impl.Deferred):
            mine = self.script_deferred(sid)
            if self.gathered and mine is not None and self.circular(mine, value):
                return None
            self.waits.setdefault(self.roots[sid], []).append(weakref.ref(value))
        return value

    def straight(self, value: Any, target: Any = None) -> Any:
        """A result for `target` (or for whichever Deferred takes it) that makes no cycle."""
        if self.gathered and isinstance(value, self.impl.Deferred):
            if target is None or self.circular(target, value):
                return None
        return value

    def gathers(self, gathering: Any, members: list[Any]) -> Any:
        found = [weakref.ref(member) for member in members]
        self.gathered.append((weakref.ref(gathering), found))
        return self.register(gathering)
