"""Frames and callbacks as shown in the graph."""

from __future__ import annotations

import functools
import sys
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
)
from typing import Any

from ._graph_objects import (
    DICT_OF_CLASS,
    FUNC_OF_PARTIAL,
    MRO_OF_CLASS,
    NAME_OF_CLASS,
    clean,
    in_its_context,
    is_a,
    text_of,
)

__all__ = ["CallbackEntry", "FrameCallGraphEntry", "callback_entry"]


class FrameCallGraphEntry:
    """A line at which a generator, a coroutine or a function is suspended."""

    __slots__ = ("file", "frame", "function", "kind", "line")

    def __init__(self, frame: FrameType, kind: str = "") -> None:
        code: CodeType = frame.f_code
        #: The frame itself. If the program has continued, so has the frame.
        self.frame = frame
        self.file = clean(code.co_filename)
        #: The line when the graph was captured.
        self.line: int = frame.f_lineno or code.co_firstlineno
        # CPython 3.10 has no qualified names.
        self.function = clean(getattr(code, "co_qualname", code.co_name))
        #: "generator", "coroutine", "async generator", or "" for a function.
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.file}:{self.line} in {self.function}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the same as a dict, without the frame."""
        return {
            "function": self.function,
            "kind": self.kind,
            "file": self.file,
            "line": self.line,
        }


class CallbackEntry:
    """A callback that is still to be called."""

    __slots__ = ("file", "line", "name", "on")

    def __init__(self, on: str, name: str, file: str | None, line: int | None) -> None:
        #: "result", "failure" or "both"
        self.on = on
        self.name = name
        #: Where it is defined. None if it is not Python code.
        self.file = file
        self.line = line

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        where = "" if self.file is None else f', file "{self.file}", line {self.line}'
        return f"{self.name} on {self.on}{where}"

    def to_dict(self) -> dict[str, Any]:
        """Return the same as a dict."""
        return {"on": self.on, "name": self.name, "file": self.file, "line": self.line}


def _code_of(obj: object) -> tuple[str, CodeType | None]:
    """Return the name of a callable, and the code that will run."""
    owner = ""
    for _ in range(10):
        kind = type(obj)
        if kind is FunctionType:
            assert isinstance(obj, FunctionType)
            inner = in_its_context(obj)
            if inner is not None:
                obj = inner
                continue
            return owner + clean(obj.__qualname__), obj.__code__
        if kind is MethodType:
            assert isinstance(obj, MethodType)
            obj = obj.__func__
        elif is_a(obj, BuiltinFunctionType):
            assert isinstance(obj, BuiltinFunctionType)
            bound = obj.__self__
            if bound is None or type(bound) is type(sys):
                return owner + clean(obj.__name__), None
            return f"{owner}{text_of(bound)}.{clean(obj.__name__)}", None
        elif kind is MethodDescriptorType:
            assert isinstance(obj, MethodDescriptorType)
            return owner + clean(obj.__name__), None
        elif kind is functools.partial:
            owner += "partial of "
            obj = FUNC_OF_PARTIAL(obj)
        elif is_a(obj, type):
            return f"{owner}class {clean(NAME_OF_CLASS(obj))}", _code_of_class(obj)
        else:
            for base in MRO_OF_CLASS(kind):
                call = DICT_OF_CLASS(base).get("__call__")
                if type(call) is FunctionType:
                    return f"{owner}{text_of(obj)}", call.__code__
            break
    return owner + text_of(obj), None


def _code_of_class(cls: Any) -> CodeType | None:
    """Return the code that makes an instance of a class, if it is Python."""
    for name in ("__init__", "__new__"):
        every = (DICT_OF_CLASS(base).get(name) for base in MRO_OF_CLASS(cls))
        found = next((each for each in every if each is not None), None)
        if type(found) is staticmethod:
            found = found.__func__
        if type(found) is FunctionType:
            return found.__code__
    return None


def callback_entry(on: str, obj: object) -> CallbackEntry:
    name, code = _code_of(obj)
    if code is None:
        return CallbackEntry(on, name, None, None)
    return CallbackEntry(on, name, clean(code.co_filename), code.co_firstlineno)
