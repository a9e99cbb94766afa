"""Frames of failures as data, and objects that imitate frames and tracebacks."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any

#: The function's name, the file, the line, the local and the global variables.
FrameInfo = tuple[str, str, int, Iterable[Any], Iterable[Any]]


class _Code:
    """As much of a code object as formatting a traceback needs."""

    co_firstlineno = 0
    co_argcount = co_posonlyargcount = co_kwonlyargcount = 0
    co_nlocals = co_stacksize = co_flags = 0
    co_code = co_lnotab = b""
    co_cellvars: tuple[str, ...] = ()
    co_consts: tuple[object, ...] = ()
    co_freevars: tuple[str, ...] = ()
    co_names: tuple[str, ...] = ()

    def __init__(self, name: str, filename: str) -> None:
        self.co_name = self.co_qualname = name
        self.co_filename = filename
        self.co_varnames: list[str] = []

    def co_positions(self) -> tuple[tuple[None, None, None, None], ...]:
        return ((None, None, None, None),)


class _Frame:
    """As much of a frame as formatting a traceback needs."""

    def __init__(self, frameinfo: FrameInfo, back: _Frame | None) -> None:
        name, filename, line, local_vars, global_vars = frameinfo
        self.f_code = _Code(name, filename)
        self.f_lineno = line
        self.f_lasti = 0
        self.f_globals = dict(global_vars or {})
        self.f_locals = dict(local_vars or {})
        self.f_back = back
        self.f_trace = None

    @cached_property
    def f_builtins(self) -> dict[str, Any]:
        return vars(builtins).copy()


class _TracebackFrame:
    """As much of a traceback as the module traceback needs."""

    tb_next: _TracebackFrame | None

    def __init__(self, frame: _Frame) -> None:
        self.tb_frame = frame
        self.tb_lineno = frame.f_lineno
        self.tb_lasti = frame.f_lasti
        self.tb_next = None


def _Traceback(tbFrames: list[FrameInfo]) -> _TracebackFrame:
    """Return an imitation of a traceback, made of the entries of `Failure.frames`."""
    assert len(tbFrames) > 0, "Must pass some frames"
    frame: _Frame | None = None
    links = []
    for frameinfo in tbFrames:
        frame = _Frame(frameinfo, frame)
        links.append(_TracebackFrame(frame))
    for link, following in pairwise(links):
        link.tb_next = following
    return links[0]


def _variables(variables: Mapping[str, object]) -> list[tuple[str, object]]:
    if type(variables) is dict:
        copied = variables.copy()
        copied.pop("__builtins__", None)
        return list(copied.items())
    found = list(variables.items())
    if "__builtins__" in variables:
        found = [pair for pair in found if pair[0] != "__builtins__"]
    return found


def add_frames_with_variables(frames: list[FrameInfo], tb: Any) -> None:
    """Append the frames of a traceback, with their variables, to a list."""
    # Frames of one module share their globals, but each entry gets a list of its own.
    of_modules: dict[int, list[tuple[str, object]]] = {}
    while tb is not None:
        frame = tb.tb_frame
        all_locals, all_globals = frame.f_locals, frame.f_globals
        local_vars = _variables(all_locals)
        global_vars: list[tuple[str, object]] = []
        if all_locals is not all_globals:
            known = of_modules.get(id(all_globals))
            if known is None:
                known = of_modules[id(all_globals)] = _variables(all_globals)
            global_vars = known.copy()
        code = frame.f_code
        frames.append((code.co_name, code.co_filename, tb.tb_lineno, local_vars, global_vars))
        tb = tb.tb_next
