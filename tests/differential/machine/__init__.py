"""Runs a program on one implementation and records everything that can be observed.

`run(implementation, program)` gives a `Trace`. Its `lines` are in the order in which things
happened; objects have names by order of creation (d0, d1, f0, s0 ...), addresses and module names
of the implementation are taken out. Its `deaths` are the reports and finalizers of dropped objects,
with the number of the step at whose end they had run. An implementation may run them earlier than
the oracle, but not later: it decides when a cycle is collected, or a traceback is dropped.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import globalLogPublisher

from ..mended import mended
from ..program import DEFAULT_FEATURES, Program
from .failures import Failures
from .generators import Generators
from .implementation import Current, Implementation, load
from .observing import ours
from .trace import Trace, difference

__all__ = ["Implementation", "Machine", "Trace", "difference", "load", "run"]


class Machine(Generators, Failures):
    """Performs the acts of a program, one after the other."""

    def warned(
        self,
        message: Any,
        category: type,
        filename: str,
        lineno: int,
        file: Any = None,
        line: Any = None,
    ) -> None:
        text = f"{category.__name__} {self.text(str(message))}"
        if "never awaited" in text or "never retrieved" in text:
            self.died(text)
            return
        where = f"line {lineno}" if ours(filename) else "elsewhere"
        self.log(f"warning {text} {where}")

    def logged(self, event: dict[str, Any]) -> None:
        if "reports" not in self.features:
            return
        parts = [event["log_level"].name, str(event.get("log_format"))]
        if "isError" in event:
            parts.append(f"isError={event['isError']}")
        if self.trace.recursed is not None:
            return
        failure = event.get("log_failure")
        if failure is not None:
            parts.append(self.dead_error(failure.value))
            # Python's own exceptions have no place to hang a name on.
            parts.append(self.text(str(event.get("debugInfo", "none"))))
        self.died("report " + " ".join(parts))

    def unraisable(self, event: Any) -> None:
        self.died(f"unraisable {self.dead_error(event.exc_value)}")

    def run(self, program: Program) -> None:
        for self.step, act in enumerate(program):
            self.step_began = len(self.trace.lines)
            self.depth = 0
            self.log(f"[{self.step}]")
            self.do(act)
            if self.trace.recursed is None:
                self.observe(final=True)
            if act[0] == "drop":
                gc.collect()
            if self.fuel < 0:
                break
        self.step = len(program)
        self.ended = True
        # Locks and semaphores go last, and nobody waits for them any more by then: a script that
        # is closed gives back what it holds, which resumes who waits for it unless that one was
        # closed before, and which of the two a collection closes first is its own affair.
        self.collect()
        self.collect(locks=True)

    def collect(self, locks: bool = False) -> None:
        # What dies in a collection may run scripts, which make new objects.  And a script closed
        # in it may bring all that was found back to life, for the next one: nothing was
        # collected then, but only nothing twice in a row means that nothing is left.
        idle = 0
        for _ in range(10):
            self.forget(locks)
            idle = 0 if gc.collect() else idle + 1
            if idle == 2:
                break

    def forget(self, locks: bool) -> None:
        self.states.clear()
        self.ds.clear()
        self.futures.clear()
        self.loop.forget()
        self.clock.calls.clear()
        self.sync["queue"].clear()
        if locks:
            for kind in ("lock", "sem"):
                for thing in self.sync[kind]:
                    thing.waiting.clear()
                self.sync[kind].clear()


@contextmanager
def machine_in_quiet_process(
    implementation: Implementation, features: frozenset[str]
) -> Iterator[Machine]:
    """Put what the process shares aside, and back afterwards."""
    publisher = globalLogPublisher
    observers = publisher._observers
    hook = sys.unraisablehook
    debugging = implementation.Deferred.debug
    collecting = gc.isenabled()
    gc.disable()
    # Collections have only this run's objects to look at.  The machine is one of
    # them: what hangs on a frozen object is never collected.
    gc.freeze()
    machine = Machine(implementation, features)
    publisher._observers = [machine.logged]
    sys.unraisablehook = machine.unraisable
    Current.machine = machine
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = machine.warned
            with mended(implementation):
                yield machine
    finally:
        Current.machine = None
        sys.unraisablehook = hook
        publisher._observers = observers
        implementation.Deferred.debug = debugging
        for name, module in sys.modules.items():
            if name.startswith(__package__):
                vars(module).pop("__warningregistry__", None)
        gc.unfreeze()
        if collecting:
            gc.enable()


def run(
    implementation: Implementation,
    program: Program,
    features: frozenset[str] = DEFAULT_FEATURES,
) -> Trace:
    """What can be seen of the program on this implementation."""

    def observed() -> Trace:
        with machine_in_quiet_process(implementation, features) as machine:
            machine.run(program)
        return machine.trace

    # All of it: without the GIL, the filters of warnings belong to the context.
    return contextvars.Context().run(observed)
