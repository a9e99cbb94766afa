"""An event loop that makes its calls when told to."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import Any


class HandFuture(asyncio.Future[Any]):
    """A future that takes a StopIteration as those of CPython 3.12 and newer do.

    Before that, Twisted's `asFuture` never ends with one (docs/differences.md).
    """

    def set_exception(self, exception: Any) -> None:
        if isinstance(exception, StopIteration):
            instead = RuntimeError(
                "StopIteration interacts badly with generators and cannot be raised into a Future"
            )
            instead.__cause__ = instead.__context__ = exception
            exception = instead
        super().set_exception(exception)


class HandLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as futures need; calls run when told to."""

    def __init__(self, machine: Any) -> None:
        self._machine = weakref.ref(machine)
        self._ready: list[tuple[Any, Any, Any]] = []

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        context = contextvars.copy_context() if context is None else context
        self._ready.append((callback, args, context))

    def create_future(self) -> Any:
        return HandFuture(loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        machine = self._machine()
        if machine is not None:
            error = context.get("exception")
            machine.died(f"loop: {context['message']} {machine.dead_error(error)}")

    def spin(self, machine: Any) -> None:
        ready, self._ready = self._ready, []
        for callback, args, context in ready:
            try:
                context.run(callback, *args)
            except BaseException as error:
                machine.log(f"loop saw {machine.error(error)}")

    def forget(self) -> None:
        self._ready = []
