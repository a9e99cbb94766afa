"""Scripts as source code of generators and coroutines."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from ..program import Node

#: The file that scripts are said to be in.
SCRIPT = "<script>"


class _Writer:
    """Writes a script as the body of a generator or coroutine function."""

    def __init__(self, wait: str) -> None:
        self.wait = wait
        self.lines: list[str] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        self.constants.append(value)
        return f"K[{len(self.constants) - 1}]"

    def line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def body(self, statements: Any, indent: int) -> None:
        for statement in statements or ():
            self.statement(statement, indent)
        self.line(indent, "pass")

    def statement(self, statement: Node, indent: int) -> None:
        kind = statement[0]
        if kind == "yield":
            give = "give_awaited" if self.wait == "await" else "give"
            given = f"m.{give}(sid, {self.constant(statement[1])})"
            self.line(indent, f"m.got(sid, ({self.wait} {given}))")
        elif kind == "act":
            self.line(indent, f"m.do({self.constant(statement[1])})")
        elif kind == "return":
            self.line(indent, f"return m.last({self.constant(statement[1])})")
        elif kind == "raise":
            self.line(indent, f"raise m.new_error({self.constant(statement[1])})")
        elif kind == "rv":
            given = f"m.last({self.constant(statement[1])})"
            self.line(indent, f"m.impl.defer.returnValue({given})")
        elif kind == "hrv":
            self.line(indent, f"m.helper({self.constant(statement[1])})")
        elif kind == "nest":
            how, script = statement[1:]
            if self.wait == "await" and how == 1:
                how = 2  # a generator cannot be awaited
            given = f"m.nested(sid, {how}, {self.constant(script)})"
            self.line(indent, f"m.got(sid, ({self.wait} {given}))")
        elif kind == "twice":
            self.line(indent, "for _ in range(2):")
            self.body(statement[1], indent + 1)
        elif kind == "with":
            k, inside = statement[1:]
            if self.wait == "await":
                self.line(indent, f"async with m.context_manager({k}) as held:")
                self.line(indent + 1, "with m.holding(sid):")
                self.line(indent + 2, "m.got(sid, held)")
                self.body(inside, indent + 2)
            else:
                self.line(indent, f"held = yield m.context_manager({k}).acquire()")
                self.body(inside, indent)
                self.line(indent, "held.release()")
        elif kind == "try":
            self.attempt(statement, indent)

    def attempt(self, statement: Node, indent: int) -> None:
        _, body, caught, handler, final = statement
        self.line(indent, "try:")
        self.body(body, indent + 1)
        if caught is not None:
            self.line(indent, f"except m.cls({caught!r}) as error:")
            self.line(indent + 1, "if m.caught(sid, error):")
            self.line(indent + 2, "raise")
            self.body(handler, indent + 1)
        if final is not None or caught is None:
            self.line(indent, "finally:")
            self.line(indent + 1, "if m.finally_(sid):")
            self.body(final, indent + 2)


@lru_cache(maxsize=256)
def source(script: Node, wait: str) -> tuple[str, tuple[Any, ...]]:
    writer = _Writer(wait)
    prefix = "async " if wait == "await" else ""
    writer.line(0, f"{prefix}def script(m, sid):")
    writer.line(1, "m.began(sid)")
    if wait == "yield":
        writer.line(1, "if not sid:")
        writer.line(2, "yield")
    writer.body(script[1], 1)
    return "\n".join(writer.lines) + "\n", tuple(writer.constants)


@lru_cache(maxsize=256)
def compiled(script: Node) -> tuple[Any, Any]:
    """The script as a generator function and as a coroutine function."""
    functions = []
    for wait in ("yield", "await"):
        text, constants = source(script, wait)
        space: dict[str, Any] = {"K": constants, "__name__": __name__}
        with warnings.catch_warnings():
            # Of a `return` in a `finally` block, since 3.14.
            warnings.simplefilter("ignore", SyntaxWarning)
            exec(compile(text, SCRIPT, "exec"), space)
        functions.append(space["script"])
    return tuple(functions)
