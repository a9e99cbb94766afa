"""Finds out who holds a lock that others wait for.

A lock does not know its holder. But a holder by `run` or `async with` has a reference to the method
that will release the lock, and such references can be found among all objects.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType
from typing import Any

from . import _deferrous
from ._graph_objects import LINKS, WITH_FRAMES, is_deferred, one_of, slot_of
from ._graph_parts import is_our

__all__ = ["Holds", "all_are_known", "line_and_lock"]

#: What `run` and `async with` call to release a lock.
_RELEASES = ("_releaseAndReturn", "_done", "release", "__aexit__")
#: The attributes of a part of a lock, such as a side or a key, that refer to the lock.
_OF_PARTS = ("_release", "release")


def line_and_lock(deferred: Any) -> tuple[int, Any] | None:
    """Return the lock that a Deferred is in line for, with a number for the line, or None."""
    canceller = _deferrous._state_of(deferred, 0)[6]
    parts = _deferrous._parts_of(canceller)
    if parts is None:
        return None
    if parts[0] in ("lock", "semaphore"):
        return id(canceller), canceller
    # Each key has a line of its own.
    if parts[0] == "place" and (_is_in_turn(parts[2]) or _is_keyed(parts[2])):
        return id(parts[1]), parts[2]
    return None


def _is_in_turn(lock: object) -> bool:
    return is_our(lock, "concurrency.locks", "_InTurn")


def _is_keyed(lock: object) -> bool:
    return is_our(lock, "concurrency.locks", "KeyedLock")


def _keys_of(lock: Any) -> Iterator[tuple[Any, int, Any]]:
    """Yield the keys of a lock, each with the number of its line and the number of its holders."""
    keys = slot_of(lock, "_keys")
    for key, state in list(keys.items()) if type(keys) is dict else ():
        if type(state) is tuple and len(state) == 2:
            yield key, id(state[1]), state[0]


def _same(one: Any, other: Any, depth: int = 0) -> bool:
    """Return whether two keys are certainly the same, without calling their `__eq__`."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is tuple and len(one) == len(other) and depth < 3:
        return all(_same(a, b, depth + 1) for a, b in zip(one, other, strict=True))
    return one_of(type(one), (str, int, bytes)) and bool(one == other)


def all_are_known(line: int, lock: Any, holders: int, weight: int) -> bool:
    """Return whether this many holders, with this weight together, are all that there are."""
    parts = _deferrous._parts_of(lock)
    if parts is not None and parts[0] == "semaphore":
        return holders >= int(parts[3]) - int(parts[2])
    if _is_in_turn(lock):
        size, value = slot_of(lock, "_size"), slot_of(lock, "_value")
        return type(size) is int and type(value) is int and weight >= size - value
    for _, number, held in _keys_of(lock) if _is_keyed(lock) else ():
        if number == line:
            return type(held) is list and all(type(it) is int and weight >= it for it in held)
    return holders > 0


class Holds:
    """What was found about some locks: who will release each, and who has a reference to it."""

    def __init__(self, locks: dict[int, Any], referrers: Callable[[list[Any]], list[Any]]) -> None:
        #: The number of a line, what holds it, and how much of it.
        self.held: list[tuple[int, Any, int]] = []
        #: The number of a line, and a generator, or a frame on CPython 3.10, that knows the lock.
        self.known: list[tuple[int, Any]] = []
        self._referrers = referrers
        #: Locks, and their sides and keys, by address: what can be released.
        self._handles: dict[int, tuple[int, int]] = {}
        # Keeps what has an address above.
        self._kept: list[Any] = []
        #: What will release a lock when it is called.
        self._releases: dict[int, tuple[int, int]] = {}
        found = self._look(locks)
        self._find_holders(found)

    def _look(self, locks: dict[int, Any]) -> list[Any]:
        """Find the objects by which a lock can be released. Returns the generators among them."""
        keyed: dict[int, Any] = {}
        for line, lock in locks.items():
            if _is_keyed(lock):
                keyed[id(lock)] = lock
            else:
                self._handles[id(lock)] = (line, 1)
        owners = list({id(lock): lock for lock in locks.values()}.values())
        addresses = {id(lock) for lock in owners}
        frames: list[Any] = []
        methods, further = [], []
        for each in self._referrers(owners):
            if one_of(type(each), WITH_FRAMES):
                frames.append(each)
            elif is_our(each, "concurrency.events", "Condition"):
                further.append((each, self._handles.get(id(slot_of(each, "_lock")))))
            elif type(each) is MethodType and id(each.__self__) in addresses:
                if _name_of(each) in _OF_PARTS:
                    methods.append(each)
                self._note_release(each)
            else:
                self._note_release(each)
        for part in self._referrers(methods) if methods else ():
            if is_our(part, "concurrency.locks", "_Part"):
                further.append((part, self._part_of(part, keyed, locks)))
        others = []
        for each, handle in further:
            if handle is not None:
                self._kept.append(each)
                self._handles[id(each)] = handle
                others.append(each)
        for each in self._referrers(others) if others else ():
            if one_of(type(each), WITH_FRAMES):
                if all(each is not it for it in frames):
                    frames.append(each)
            else:
                self._note_release(each)
        return frames

    def _part_of(
        self, part: Any, keyed: dict[int, Any], locks: dict[int, Any]
    ) -> tuple[int, int] | None:
        """Return the line of a side or a key of a lock, and how much it takes."""
        release, what = slot_of(part, "_release"), slot_of(part, "_what")
        if type(release) is not MethodType:
            return None
        lock = keyed.get(id(release.__self__))
        if lock is None:
            handle = self._handles.get(id(release.__self__))
            return None if handle is None or type(what) is not int else (handle[0], what)
        for key, line, _ in _keys_of(lock):
            if line in locks and _same(key, what):
                return line, 1
        return None

    def _note_release(self, obj: Any) -> None:
        handle: tuple[int, int] | None = None
        if one_of(type(obj), (BuiltinFunctionType, MethodType)):
            if _name_of(obj) in _RELEASES:
                handle = self._handles.get(id(obj.__self__))
        else:
            parts = _deferrous._parts_of(obj)
            if parts is not None and parts[0] == "locked":
                handle = self._handles.get(id(parts[1]))
        if handle is not None:
            self._kept.append(obj)
            self._releases[id(obj)] = handle

    def _find_holders(self, frames: list[Any]) -> None:
        releases = [each for each in self._kept if id(each) in self._releases]
        arguments: dict[int, Any] = {}
        for each in self._referrers(releases) if releases else ():
            if is_deferred(each):
                for kind, one, other in _deferrous._state_of(each, LINKS)[7]:
                    found = self._releases.get(id(one))
                    if found and (kind == "call" or (kind == "waiter" and other == 1)):
                        self.held.append((found[0], each, found[1]))
            elif type(each) is tuple:
                arguments[id(each)] = each
            elif one_of(type(each), WITH_FRAMES):
                for held in gc.get_referents(each):
                    found = self._releases.get(id(held))
                    if found:
                        self.held.append((found[0], each, found[1]))
        for each in self._referrers(list(arguments.values())) if arguments else ():
            if is_deferred(each):
                self._find_run(each, arguments)
        for each in frames:
            held = gc.get_referents(each)
            for line in {self._handles[id(it)][0] for it in held if id(it) in self._handles}:
                self.known.append((line, each))
            # From CPython 3.14 on, `async with` keeps the function and the lock side by side.
            for function, lock in pairwise(held):
                handle = self._handles.get(id(lock))
                if handle and _name_of(function) in _RELEASES:
                    self.held.append((handle[0], each, handle[1]))

    def _find_run(self, deferred: Any, arguments: dict[int, Any]) -> None:
        """Note a Deferred that `run` waits for: its callback gets the releasing method."""
        links = _deferrous._state_of(deferred, LINKS)[7]
        if not any(one is _deferrous._release_after for _, one, _ in links):
            return
        for each in gc.get_referents(deferred):
            for held in each if id(each) in arguments else ():
                found = self._releases.get(id(held))
                if found:
                    self.held.append((found[0], deferred, found[1]))


def _name_of(function: Any) -> str:
    """Return the name of a function, or of what a bound method calls, or an empty string."""
    if type(function) is MethodType:
        function = function.__func__
    if type(function) is FunctionType:
        return function.__code__.co_name
    if one_of(type(function), (BuiltinFunctionType, MethodDescriptorType)):
        return str(function.__name__)
    return ""
