"""The child process of the memory test: runs a program whose allocations fail."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import logging
import re
import sys
import traceback
import types

from .programs import loop, turns

#: What a child ends with.
FINISHED, HIT, WRONG, LOST, NOT_SAID = 0, 10, 11, 12, 13

LIBRARY = b"_deferrous"

#: CPython 3.11 itself forgets at some places to say that it has no memory, such as where a function
#: written in Python raises. What it, or we, make of that then:
FORGOTTEN = re.compile(
    r"<function \S+ at 0x\w+> returned NULL without setting an exception"
    r"|error return without exception set|an error without an exception"
)

#: CPython 3.13 says so at some places, and goes on. Whatever it calls next is blamed for that.
WENT_ON = re.compile(r"<[^<>]*> returned a result with an exception set$")


class Stuck(Exception):
    """A Deferred has a result, and does not call what is added to it; a lock or an item is lost."""


def go_on(kept) -> None:
    """See that each Deferred calls what is added to it, if it has a result; that no lock, token
    or item has been lost."""
    for it in kept:
        if hasattr(it, "addBoth"):
            seen = []
            it.addBoth(seen.append)
            if it.called and not it.paused and not seen:
                raise Stuck(repr(it))
            if seen and not it.called:
                raise Stuck(f"{it!r} called back without a result")
            continue
        nobody_waits_in_vain(it)
        if hasattr(it, "release"):
            while it.waiting:
                waiting = len(it.waiting)
                it.release()
                nobody_waits_in_vain(it)
                if len(it.waiting) >= waiting:
                    raise Stuck(f"{it!r} is released, and {waiting} still wait")


def nobody_waits_in_vain(it) -> None:
    there = it.pending if hasattr(it, "pending") else getattr(it, "tokens", 0)
    if hasattr(it, "locked"):
        there = not it.locked
    if it.waiting and there:
        raise Stuck(f"{it!r} is there, and {len(it.waiting)} wait for it")


class Heard:
    """What is told of errors elsewhere than where they are raised: reports, and finalizers."""

    def __init__(self, implementation: str) -> None:
        self.texts: list[str] = []
        self.reports = 0
        sys.unraisablehook = lambda it: self.note(it.exc_type, it.exc_value)
        loop().set_exception_handler(lambda _, it: self.note(it["message"], it.get("exception")))
        if implementation == "twisted":
            from twisted.logger import globalLogPublisher

            globalLogPublisher.addObserver(self.twisted)
        else:
            handler = logging.Handler()
            handler.handle = self.logged
            logging.getLogger("deferrous").addHandler(handler)
            logging.getLogger("deferrous").propagate = False

    def note(self, *what) -> None:
        try:
            self.texts.append(repr(what))
        except RecursionError:
            self.texts.append("something that contains itself")

    def twisted(self, event) -> None:
        self.reports += 1
        self.note(event.get("log_failure"))

    def logged(self, record) -> None:
        self.reports += 1
        self.note(record.exc_info, record.msg)


def logging_off() -> None:
    """Have nobody see the reports of failures: only that they can be made matters."""
    logging.getLogger("deferrous").addHandler(logging.NullHandler())
    logging.getLogger("deferrous").propagate = False


class Failures:
    """Allocations that fail, from one on: that one alone, or all."""

    __slots__ = ("at", "hit", "mode", "testcapi")

    def __init__(self, at: int, mode: str) -> None:
        import _testcapi

        self.at, self.mode, self.testcapi = at, mode, _testcapi
        #: Whether one has failed, as far as is known.
        self.hit = False

    def begin(self) -> None:
        stop = self.at + 1 if self.mode.endswith("one") else 1 << 30
        if self.mode.startswith("native"):
            helper().refuse(LIBRARY, self.at, stop)
        else:
            self.testcapi.set_nomemory(self.at, 0 if self.mode == "all" else stop)

    def look(self) -> None:
        """Find out whether all fail by now."""
        if self.mode == "all":
            try:
                bytearray(5000)
            except MemoryError:
                self.hit = True

    def end(self) -> None:
        self.testcapi.remove_mem_hooks()
        asyncio._set_running_loop(None)
        asked = helper().grant()
        if self.mode.startswith("native"):
            self.hit = self.hit or asked > self.at


def run_with_failures(names, program, expected, at: int, mode: str, heard: Heard) -> int:
    """Run a program whose allocations fail. Returns what the process is to end with."""
    kept: list = []

    def keep(it):
        kept.append(it)
        return it

    got = None
    failures = Failures(at, mode)
    failures.begin()
    try:
        got = program(names, keep)
    except MemoryError:
        failures.hit = True
    except BaseException as error:
        # What a program makes of a MemoryError: it was the first.
        failures.hit = True
        failures.end()
        if code := unlike_memory_error(error):
            return code
    failures.look()
    failures.end()
    try:
        # What was kept for want of memory is done by now, or here.
        turns(loop())
        lost = got is not None and mode.endswith("one") and repr(got) != expected
        heard.note(got, [getattr(it, "result", None) for it in kept])
        go_on(kept)
        del kept[:]
        gc.collect()
        again = program(names, keep)
        go_on(kept)
        del kept[:]
        gc.collect()
    except BaseException:
        traceback.print_exc()
        return WRONG
    told = f"{got!r} instead of {expected}" if lost else ""
    return afterwards(repr(again), expected, told, heard) or (HIT if failures.hit else FINISHED)


def unlike_memory_error(error: BaseException) -> int:
    """Return what the process is to end with, if this is not what a program makes of one; or 0."""
    if FORGOTTEN.search(repr(error)):
        return NOT_SAID
    if isinstance(error, SystemError) and WENT_ON.search(str(error)):
        traceback.print_exc()
        return NOT_SAID
    if isinstance(error, SystemError) or "Panic" in type(error).__name__:
        traceback.print_exc()
        return WRONG
    return 0


def afterwards(again: str, expected: str, lost: str, heard: Heard) -> int:
    """Return what the process is to end with, if something is wrong after all; or 0."""
    all_heard = "\n".join(heard.texts)
    if "SystemError" in all_heard or FORGOTTEN.search(all_heard):
        print(all_heard, file=sys.stderr)
        return NOT_SAID if FORGOTTEN.search(all_heard) else WRONG
    if again != expected:
        print(f"afterwards {again} instead of {expected}", file=sys.stderr)
        return WRONG
    if lost and "MemoryError" not in all_heard:
        print(f"nobody heard of it, and there is {lost}", file=sys.stderr)
        return LOST
    return 0


#: Code objects, each several times.
CODE: list[types.CodeType] = []


def keep_code() -> None:
    """Refer to all code several times.

    CPython 3.12 and the first releases of 3.13 let go of a function's code twice where they cannot
    make the function (python/cpython#122752). It is used after it was freed, then, which ends in a
    crash sooner or later, whoever's function it is.
    """
    todo = [it.__code__ for it in gc.get_objects() if isinstance(it, types.FunctionType)]
    seen = set()
    while todo:
        code = todo.pop()
        if id(code) not in seen:
            seen.add(id(code))
            CODE.extend([code] * 10)
            todo.extend(it for it in code.co_consts if isinstance(it, types.CodeType))


@functools.cache
def helper() -> ctypes.CDLL:
    """What is preloaded."""
    library = ctypes.CDLL(None)
    library.grant.restype = ctypes.c_ulong
    library.refuse.argtypes = ctypes.c_char_p, ctypes.c_ulong, ctypes.c_ulong
    return library
