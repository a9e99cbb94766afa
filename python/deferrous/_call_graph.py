"""What waits for what, as a graph: by the names and in the shape of `asyncio.graph`.

It is asked for while programs are stuck, and inside callbacks. So nothing here changes anything,
and no code of anybody's is run: no attribute is asked of an object whose class could answer in its
own way, no object's text is made unless it is exactly of a type of Python's own, and no class is
asked whether something is its instance.
"""

from __future__ import annotations

import functools
import gc
import html
import itertools
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
)
from typing import Any, TextIO

from . import _deferrous

__all__ = [
    "CallbackEntry",
    "DeferredCallGraph",
    "FrameCallGraphEntry",
    "capture_call_graph",
    "format_call_graph",
    "print_call_graph",
]

#: So many of what one waits for, or of those that wait for one, are shown.
_BREADTH = 5
#: So many of its callbacks are.
_CALLBACKS = 10
#: So many steps of a way are shown before its middle is left out.
_DEPTH = 10
#: So many are shown of the end of such a way.
_END = 4
#: So many are shown in each direction at all.
_NODES = 50
#: So many links of a Deferred are looked at.
_LINKS = 200
#: So many frames are shown of the outside of a call stack, and of its inside.
_FRAMES = 10
#: No loop over what programs have built goes on for longer.
_STEPS = 100_000
#: From a coroutine that may hold a lock, so many of those around it are looked for.
_CLIMB = 8
#: How it is said that one may hold what another waits for.
_PERHAPS = "perhaps held by"
#: So often those are looked for who hold what others wait for, who hold what those wait for, ...
_ROUNDS = 5
#: Texts are cut after so many characters.
_TEXT = 60

_NAME_OF_CLASS = type.__dict__["__name__"].__get__
_MRO_OF_CLASS = type.__dict__["__mro__"].__get__
_DICT_OF_CLASS = type.__dict__["__dict__"].__get__
_ARGS_OF_ERROR = BaseException.__dict__["args"].__get__
_FUNC_OF_PARTIAL = functools.partial.__dict__["func"].__get__

_GENERATORS: tuple[type, ...] = (GeneratorType, CoroutineType, AsyncGeneratorType)
#: Iterators of the interpreter's that stand between two of these, and do not say so.
_BETWEEN = ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "FutureIter")
_WITH_FRAMES: tuple[type, ...] = (*_GENERATORS, FrameType)
_PREFIXES = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}
_INNER = {GeneratorType: "gi_yieldfrom", CoroutineType: "cr_await", AsyncGeneratorType: "ag_await"}
_KINDS = {
    GeneratorType: "generator",
    CoroutineType: "coroutine",
    AsyncGeneratorType: "async generator",
}


# -------------------------------------------------------------------------------------------------
# Texts and attributes, without asking anybody


def _clean(text: str) -> str:
    """Return a text on one line, cut where it is long, and a string of Python's own."""
    text = str.__str__(text)
    if len(text) > _TEXT * 3:
        text = f"{text[: _TEXT * 3]}..."
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _class_name(obj: object) -> str:
    return _clean(_NAME_OF_CLASS(type(obj)))


def _is(obj: object, *classes: type) -> bool:
    """Return whether an object is of one of these classes, by its type alone."""
    return any(_one_of(base, classes) for base in _MRO_OF_CLASS(type(obj)))


def _one_of(cls: type, classes: Iterable[type]) -> bool:
    """Return whether a class is one of these. `in` would ask its class whether it is equal."""
    return any(cls is each for each in classes)


def _is_generator(obj: object) -> bool:
    return _one_of(type(obj), _GENERATORS)


def _text_of(obj: object, depth: int = 0) -> str:
    """Return a short text for an object, without any code of its own."""
    kind = type(obj)
    if obj is None or kind is bool:
        return str(obj)
    if kind is int:
        assert isinstance(obj, int)
        return str(obj) if obj.bit_length() < 200 else f"int of {obj.bit_length():,} bits"
    if kind is float or kind is complex:
        return repr(obj)
    if kind is str or kind is bytes:
        assert isinstance(obj, (str, bytes))
        return _clean(repr(obj if len(obj) <= _TEXT else obj[:_TEXT])) + (
            "..." if len(obj) > _TEXT else ""
        )
    if _one_of(kind, (tuple, list, set, frozenset, dict)):
        assert isinstance(obj, (tuple, list, set, frozenset, dict))
        if kind is tuple and len(obj) <= 3 and depth < 2:
            items = ", ".join(_text_of(each, depth + 1) for each in obj)
            return f"({items},)" if len(obj) == 1 else f"({items})"
        return f"{kind.__name__} of {len(obj):,}"
    if kind is type:
        return f"class {_clean(_NAME_OF_CLASS(obj))}"
    return f"<{_class_name(obj)} at {id(obj):#x}>"


def _error_text(error: object) -> str:
    if not _is(error, BaseException):
        return _class_name(error)
    args = _ARGS_OF_ERROR(error)
    shown = ", ".join(_text_of(each) for each in args[:3])
    return f"{_class_name(error)}({shown}{', ...' if len(args) > 3 else ''})"


def _dict_of(obj: object) -> dict[str, Any]:
    """Return the attributes that an object has of its own."""
    for base in _MRO_OF_CLASS(type(obj)):
        found = _DICT_OF_CLASS(base).get("__dict__")
        if type(found) is GetSetDescriptorType:
            attributes = found.__get__(obj)
            return attributes if type(attributes) is dict else {}
    return {}


def _attribute(obj: object, cls: type, name: str) -> Any:
    """Return an attribute as a class that we know defines it, whatever a subclass makes of it."""
    for base in _MRO_OF_CLASS(cls):
        found = _DICT_OF_CLASS(base).get(name)
        if _one_of(type(found), (GetSetDescriptorType, MemberDescriptorType)):
            try:
                return found.__get__(obj)
            except AttributeError:
                return None
    own = _dict_of(obj)
    return own[name] if name in own else _DICT_OF_CLASS(cls).get(name)


def _is_deferred(obj: object) -> bool:
    return _is(obj, _deferrous.Deferred)


def _futures() -> tuple[type, ...]:
    """Return asyncio's classes of futures, if it is imported."""
    module = sys.modules.get("asyncio.futures")
    found = (getattr(module, name, None) for name in ("Future", "_PyFuture", "_CFuture"))
    return tuple({each for each in found if isinstance(each, type)})


def _tasks() -> tuple[type, ...]:
    module = sys.modules.get("asyncio.tasks")
    found = (getattr(module, name, None) for name in ("Task", "_PyTask", "_CTask"))
    return tuple({each for each in found if isinstance(each, type)})


def _of_future(future: object, name: str) -> Any:
    """Return an attribute of one of asyncio's futures, as asyncio defines it."""
    cls = next(each for each in _futures() if _is(future, each))
    return _attribute(future, cls, name)


def _theirs() -> tuple[type, ...]:
    """Return Twisted's own class of Deferreds, where it is in use beside ours."""
    theirs = getattr(sys.modules.get("twisted.internet.defer"), "Deferred", None)
    return (theirs,) if isinstance(theirs, type) and theirs is not _deferrous.Deferred else ()


def _is_node(obj: object) -> bool:
    return _is(obj, _deferrous.Deferred, *_futures(), *_theirs())


def _of_package(cls: type) -> bool:
    """Return whether a class, to all appearances, is one of this package's."""
    module = _DICT_OF_CLASS(cls).get("__module__")
    return type(module) is str and module.partition(".")[0] == "deferrous"


_PACKAGE = __file__.rpartition("_call_graph")[0]


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function has hold of in its closure."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:
            pass


def _held_by_function(obj: object, *names: str) -> Iterator[Any]:
    """Yield the Deferreds and futures that a function of this package's or of asyncio's is for."""
    if type(obj) is not FunctionType:
        return
    file = obj.__code__.co_filename
    if file.startswith(_PACKAGE):
        wanted = None
    elif file.endswith("tasks.py") and file.rpartition("tasks.py")[0].endswith(("asyncio/", "\\")):
        wanted = ("outer", "waiter")
    else:
        return
    for name, held in _cells(obj):
        for each in held if type(held) is tuple and len(held) < 4 else (held,):
            if (wanted is None or name in wanted) and (not names or name in names):
                if _is_node(each):
                    yield each


# -------------------------------------------------------------------------------------------------
# What is shown


class FrameCallGraphEntry:
    """A line at which a generator, a coroutine or a function is suspended."""

    __slots__ = ("file", "frame", "function", "kind", "line")

    def __init__(self, frame: FrameType, kind: str = "") -> None:
        code: CodeType = frame.f_code
        #: The frame itself. It has gone on since, or ended, if the program has.
        self.frame = frame
        self.file = _clean(code.co_filename)
        #: The line when the graph was captured.
        self.line: int = frame.f_lineno or code.co_firstlineno
        # CPython 3.10 knows no qualified names.
        self.function = _clean(getattr(code, "co_qualname", code.co_name))
        #: "generator", "coroutine", "async generator", or nothing for a function.
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
        #: Where it was written. None where it is not Python.
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
    """Return the name of something that can be called, and the code that will run."""
    owner = ""
    for _ in range(10):
        kind = type(obj)
        if kind is FunctionType:
            assert isinstance(obj, FunctionType)
            return owner + _clean(obj.__qualname__), obj.__code__
        if kind is MethodType:
            assert isinstance(obj, MethodType)
            obj = obj.__func__
        elif kind is BuiltinFunctionType:
            assert isinstance(obj, BuiltinFunctionType)
            bound = obj.__self__
            if bound is None or type(bound) is type(sys):
                return owner + _clean(obj.__name__), None
            return f"{owner}{_text_of(bound)}.{_clean(obj.__name__)}", None
        elif kind is MethodDescriptorType:
            assert isinstance(obj, MethodDescriptorType)
            return owner + _clean(obj.__name__), None
        elif kind is functools.partial:
            owner += "partial of "
            obj = _FUNC_OF_PARTIAL(obj)
        elif kind is type:
            return owner + _text_of(obj), None
        else:
            for base in _MRO_OF_CLASS(kind):
                call = _DICT_OF_CLASS(base).get("__call__")
                if type(call) is FunctionType:
                    return f"{owner}{_text_of(obj)}", call.__code__
            break
    return owner + _text_of(obj), None


def _callback(on: str, obj: object) -> CallbackEntry:
    name, code = _code_of(obj)
    if code is None:
        return CallbackEntry(on, name, None, None)
    return CallbackEntry(on, name, _clean(code.co_filename), code.co_firstlineno)


class _Edge:
    """A way from one to another, with how many are left out on it."""

    __slots__ = ("label", "skipped", "to")

    def __init__(self, to: int, label: str = "", skipped: int = 0) -> None:
        self.to = to
        self.label = label
        self.skipped = skipped


class _Node:
    """What is known of one Deferred or future."""

    __slots__ = (
        "any",
        "awaited_by",
        "awaited_by_more",
        "callbacks",
        "callbacks_more",
        "detail",
        "frames",
        "frames_more",
        "name",
        "obj",
        "state",
        "waits_for",
        "waits_for_more",
    )

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self.name = f"<{_class_name(obj)} at {id(obj):#x}>"
        self.state = "pending"
        self.detail = ""
        #: Whether one of what it waits for is enough.
        self.any = False
        self.frames: list[FrameCallGraphEntry] = []
        self.frames_more = 0
        self.callbacks: list[CallbackEntry] = []
        self.callbacks_more = 0
        self.waits_for: list[_Edge] = []
        self.waits_for_more = 0
        self.awaited_by: list[_Edge] = []
        self.awaited_by_more = 0


#: What one waits for, or who waits for one: objects with a word for each, and how many more.
_Found = tuple[list[tuple[Any, str]], int]


class _Graph:
    """All that was found from one Deferred or future."""

    def __init__(self, root: object, limit: int | None, skip: FrameType | None) -> None:
        self.nodes: list[_Node] = []
        self.limit = limit
        self._skip = skip
        self._at: dict[int, int] = {}
        self._locks: dict[int, tuple[Any, list[int]]] = {}
        self._add(root)
        self._explore([0], up=False)
        for _ in range(_ROUNDS):
            holders = self._find_holders()
            if not holders:
                break
            self._explore(holders, up=False)
        self._explore([0], up=True)
        self.cycles = self._find_cycles()
        del self._skip, self._at, self._locks

    # --- the search

    def _add(self, obj: object) -> int:
        place = self._at.get(id(obj))
        if place is None:
            place = self._at[id(obj)] = len(self.nodes)
            self.nodes.append(_Node(obj))
            self._describe(place)
        return place

    def _explore(self, starts: list[int], up: bool) -> None:
        """Go from these to all that they wait for, or `up`: to all that wait for them."""
        begin = len(self.nodes)
        queue = deque((start, 0) for start in starts)
        seen = set(starts)
        if not up:
            # Those whose ways are known.
            seen.update(place for place in range(begin) if self.nodes[place].waits_for)
        while queue:
            place, depth = queue.popleft()
            node = self.nodes[place]
            found, more = self._who_waits(node.obj) if up else self._waits_for(place)
            edges = []
            for obj, label in found[:_BREADTH]:
                skipped = 0
                further = depth + 1
                if id(obj) not in self._at:
                    if len(self.nodes) - begin >= _NODES:
                        more += 1
                        continue
                    if depth >= _DEPTH and len(found) == 1 and not more and _is_deferred(obj):
                        end = _deferrous._follow(obj, up, _END)
                        if end is None:
                            more = -1
                            break
                        if end[1] > 1:
                            (obj, *_), skipped = end
                            label, further = "", _DEPTH - _END
                to = self._add(obj)
                edges.append(_Edge(to, label, skipped))
                if to not in seen:
                    seen.add(to)
                    queue.append((to, further))
            if more >= 0:
                more += len(found[_BREADTH:])
            if up:
                node.awaited_by, node.awaited_by_more = edges, more
            else:
                node.waits_for, node.waits_for_more = edges, more

    def _find_cycles(self) -> list[tuple[list[int], bool]]:
        """Return those that wait for each other, and whether nothing can end that."""
        ways: list[set[int]] = [set() for _ in self.nodes]
        for place, node in enumerate(self.nodes):
            ways[place].update(edge.to for edge in node.waits_for)
            for edge in node.awaited_by:
                ways[edge.to].add(place)
        reached: list[set[int]] = []
        for place in range(len(self.nodes)):
            seen: set[int] = set()
            left = list(ways[place])
            while left:
                each = left.pop()
                if each not in seen:
                    seen.add(each)
                    left.extend(ways[each])
            reached.append(seen)
        cycles = []
        done: set[int] = set()
        for place in range(len(self.nodes)):
            if place in done or place not in reached[place]:
                continue
            members = [each for each in sorted(reached[place]) if place in reached[each]]
            done.update(members)
            certain = not any(
                self.nodes[each].any
                and (self.nodes[each].waits_for_more or not ways[each] <= set(members))
                for each in members
            ) and not any(
                edge.label == _PERHAPS and edge.to in members
                for each in members
                for edge in self.nodes[each].waits_for
            )
            cycles.append((members, certain))
        return cycles

    # --- the state of one

    def _describe(self, place: int) -> None:
        node = self.nodes[place]
        if _is_deferred(node.obj):
            self._describe_deferred(node)
        elif _is(node.obj, *_futures()):
            self._describe_future(node)
        else:
            self._describe_theirs(node)

    def _describe_deferred(self, node: _Node) -> None:
        outcome, held, called, paused, running, chained_to, canceller, links, calls, _ = (
            _deferrous._state_of(node.obj, _LINKS)
        )
        if chained_to is not None:
            node.state = "waiting"
            node.detail = "waits for a Deferred that one of its callbacks returned"
        elif called and paused != 0:
            node.state, node.detail = "paused", f"is paused ({paused} times)"
        elif running:
            node.state, node.detail = "running", "is running its callbacks"
        elif called:
            self._describe_outcome(node, outcome, held)
        else:
            self._describe_pending(node, canceller)
            if paused:
                node.detail += f", and is paused ({paused} times)"
        for kind, one, other in links:
            if kind != "call":
                continue
            if len(node.callbacks) >= _CALLBACKS:
                node.callbacks_more += 1
            elif one is None or other is None:
                on = "result" if other is None else "failure"
                node.callbacks.append(_callback(on, one if other is None else other))
            elif one is other:
                node.callbacks.append(_callback("both", one))
            else:
                node.callbacks.append(_callback("result", one))
                node.callbacks.append(_callback("failure", other))
        node.callbacks_more += max(0, calls - _LINKS)

    def _describe_outcome(self, node: _Node, outcome: str, held: Any) -> None:
        if outcome == "failure":
            error: Any = None
            if _is(held, _deferrous.FailureBase):
                error = _attribute(held, _deferrous.FailureBase, "value")
            if error is None:
                error = _dict_of(held).get("value", held)
            was_cancelled = _is(error, _deferrous.CancelledError)
            node.state = "cancelled" if was_cancelled else "failed"
            node.detail = f"failed with {_error_text(error)}"
        elif outcome == "taken":
            node.state, node.detail = "fired", "was fired, and its result was taken by another"
        else:
            node.state, node.detail = "fired", f"was fired with {_text_of(held)}"

    def _describe_pending(self, node: _Node, canceller: Any) -> None:
        members = _deferrous._members_of(node.obj, 0) or _deferrous._members_of(canceller, 0)
        if members is not None:
            _, missing, total, node.any, _ = members
            one = "one of " if node.any else ""
            node.detail = f"waits for {one}{missing:,} that are missing of {total:,}"
            node.state = "waiting"
            return
        parts = _deferrous._parts_of(canceller)
        if parts is not None and parts[0] == "task":
            node.state = "waiting"
            self._describe_generator(node, parts[1])
            return
        line = _line_of(canceller, node.obj)
        if line is not None:
            owner, at, count, held = line
            node.state = "waiting"
            node.detail = f"stands in line at {owner}, place {at + 1:,} of {count:,}{held}"
            return
        if any(each is not node.obj for each in _held_by_function(canceller)):
            node.state, node.detail = "waiting", "waits for a future, or for another's Deferred"
            return
        node.detail = "has not been fired"

    def _describe_generator(self, node: _Node, generator: Any) -> None:
        if generator is None:
            node.detail = "waits for a generator that has ended"
            return
        if not _is_generator(generator):
            node.detail = f"waits for {_text_of(generator)}"
            return
        kind = _KINDS[type(generator)]
        name = _clean(generator.__qualname__)
        if getattr(generator, f"{_PREFIXES[type(generator)]}_running"):
            node.state = "running"
            node.detail = f"waits for {kind} {name}, which is running"
        else:
            node.detail = f"waits for {kind} {name}"
        if self.limit != 0:
            frames = _frames(generator, self._skip)[0]
            frames.reverse()
            if self.limit is not None:
                frames = frames[: self.limit] if self.limit > 0 else frames[self.limit :]
            elif len(frames) > 2 * _FRAMES:
                node.frames_more = len(frames) - 2 * _FRAMES
                frames = frames[:_FRAMES] + frames[-_FRAMES:]
            node.frames = [FrameCallGraphEntry(frame, kind) for frame, kind in frames]

    def _describe_future(self, node: _Node) -> None:
        future = node.obj
        state = _of_future(future, "_state")
        node.state = {"CANCELLED": "cancelled", "FINISHED": "fired"}.get(state, "pending")
        if node.state == "cancelled":
            node.detail = "was cancelled"
        elif node.state == "fired":
            error = _of_future(future, "_exception")
            if error is not None:
                their_error = getattr(sys.modules.get("asyncio"), "CancelledError", None)
                was_cancelled = their_error is not None and _is(error, their_error)
                node.state = "cancelled" if was_cancelled else "failed"
                node.detail = f"failed with {_error_text(error)}"
            else:
                node.detail = f"was fired with {_text_of(_of_future(future, '_result'))}"
        else:
            node.detail = "has no result"
            for task in _tasks():
                if _is(future, task):
                    name = _attribute(future, task, "_name")
                    get_name = _DICT_OF_CLASS(task).get("get_name")
                    if name is None and type(get_name) is MethodDescriptorType:
                        name = get_name(future)
                    if _is(name, str):
                        node.name = f"<{_class_name(future)} {_clean(name)} at {id(future):#x}>"
                    node.state = "waiting"
                    self._describe_generator(node, _attribute(future, task, "_coro"))
                    break
        if node.state == "pending":
            for callback, _ in _future_callbacks(future):
                if _one_of(type(callback), (FunctionType, functools.partial)) and not _behind(
                    callback
                ):
                    if len(node.callbacks) < _CALLBACKS:
                        node.callbacks.append(_callback("both", callback))
                    else:
                        node.callbacks_more += 1

    def _describe_theirs(self, node: _Node) -> None:
        attributes = _dict_of(node.obj)
        node.name += " of Twisted's own"
        if attributes.get("called") is True or attributes.get("called") == 1:
            node.state, node.detail = "fired", "was fired"
        else:
            node.detail = "has not been fired"

    # --- the ways from one

    def _waits_for(self, place: int) -> _Found:
        node = self.nodes[place]
        obj = node.obj
        if _is(obj, *_futures()):
            return self._future_waits_for(obj)
        if not _is_deferred(obj):
            chained_to = _dict_of(obj).get("_chainedTo")
            return ([(chained_to, "chained to")] if _is_node(chained_to) else []), 0
        state = _deferrous._state_of(obj, 0)
        called, chained_to, canceller = state[2], state[5], state[6]
        if chained_to is not None:
            return [(chained_to, "chained to")], 0
        if called:
            return [], 0
        members = _deferrous._members_of(obj, _BREADTH) or _deferrous._members_of(
            canceller, _BREADTH
        )
        if members is not None:
            return [(each, "member") for each in members[0]], members[1] - len(members[0])
        parts = _deferrous._parts_of(canceller)
        if parts is not None and parts[0] == "task":
            end = _frames(parts[1], self._skip)[1]
            end = parts[3] if parts[3] is not None and not _is_node(end) else end
            if node.state == "running":
                return [], 0
            return ([(end, "awaits")] if _is_node(end) else []), 0
        if parts is not None and parts[0] in ("lock", "semaphore"):
            self._locks.setdefault(id(canceller), (canceller, []))[1].append(place)
        found = [(each, "stands for") for each in _held_by_function(canceller, "theirs", "future")]
        if not found and type(canceller) is FunctionType:
            found = [(e, "stands for") for e in _held_by_function(canceller) if e is not obj]
        return found, 0

    def _future_waits_for(self, future: Any) -> _Found:
        children = None
        gathering = getattr(sys.modules.get("asyncio.tasks"), "_GatheringFuture", None)
        if type(future) is gathering:
            children = future._children
        if type(children) is list:
            missing = [
                (each, "member")
                for each in children[:_STEPS]
                if _is(each, *_futures()) and _of_future(each, "_state") == "PENDING"
            ]
            return missing[:_BREADTH], len(missing[_BREADTH:])
        for task in _tasks():
            if _is(future, task):
                end = _frames(_attribute(future, task, "_coro"), self._skip)[1]
                if not _is_node(end):
                    end = _attribute(future, task, "_fut_waiter")
                return ([(end, "awaits")] if _is_node(end) else []), 0
        return [], 0

    def _who_waits(self, obj: Any) -> _Found:
        """Return those who wait for one, and how many links were not looked at."""
        found: list[tuple[Any, str]] = []
        more = 0
        if _is_deferred(obj):
            state = _deferrous._state_of(obj, _LINKS)
            for kind, one, other in state[7]:
                if kind == "deferred":
                    found.append((one, "chained to"))
                elif kind == "waiter":
                    found += [(each, "") for each in _waiters_behind(one)]
                else:
                    found += [(each, "by a callback") for each in _behind_callback(one)]
                    if other is not one:
                        found += [(each, "by a callback") for each in _behind_callback(other)]
            more = max(0, state[9] - _LINKS)
        elif _is(obj, *_futures()):
            by = _of_future(obj, "_asyncio_awaited_by")
            if _one_of(type(by), (set, frozenset)):
                found += [(each, "") for each in list(by)[:_LINKS] if _is_node(each)]
            for callback, _ in _future_callbacks(obj):
                found += [(each, "") for each in _behind_callback(callback)]
        else:
            for callback, _ in _callbacks_of_theirs(obj):
                found += [(each, "") for each in _behind_callback(callback)]
        unique = {id(each): (each, label) for each, label in reversed(found) if each is not obj}
        return list(reversed(unique.values())), more

    def _find_holders(self) -> list[int]:
        """Find who holds the locks in whose lines those stand that were found.

        Locks do not know. Those who hold them by `run` or `async with` have hold of what will
        release them, and that can be found among all objects. Returns the places of those that
        were not known before.
        """
        if not self._locks:
            return []
        begin = len(self.nodes)
        locks = [lock for lock, _ in self._locks.values()]
        names = ("_releaseAndReturn", "release", "__aexit__")
        releases: list[Any] = []
        # Generators, and their frames, which have hold of it in their place on Python 3.10.
        known: list[Any] = []
        for each in gc.get_referrers(*locks):
            parts = _deferrous._parts_of(each)
            if parts is not None and parts[0] == "locked":
                releases.append(each)
            elif type(each) is BuiltinFunctionType and each.__name__ in names:
                releases.append(each)
            elif _one_of(type(each), _WITH_FRAMES):
                known.append(each)
        holders: dict[int, list[Any]] = {}
        generators: list[tuple[int, Any]] = []
        of_release = {
            id(each): id(each.__self__)
            if type(each) is BuiltinFunctionType
            else id((_deferrous._parts_of(each) or ("", None))[1])
            for each in releases
        }
        for each in gc.get_referrers(*releases) if releases else ():
            if _is_deferred(each):
                for kind, one, other in _deferrous._state_of(each, _LINKS)[7]:
                    lock = of_release.get(id(one))
                    if lock is not None and (kind == "call" or (kind == "waiter" and other == 1)):
                        holders.setdefault(lock, []).append(each)
            elif _one_of(type(each), _WITH_FRAMES):
                held = gc.get_referents(each)
                generators += [(of_release[id(it)], each) for it in held if id(it) in of_release]
        for lock, each in generators:
            self._note_holder(each, lock, holders)
        # A coroutine that knows the lock, and does not wait for it, may hold it.
        perhaps: dict[int, list[Any]] = {}
        for each in known:
            ids = {id(it) for it in gc.get_referents(each)}
            for key in self._locks:
                if key in ids and key not in holders:
                    self._note_holder(each, key, perhaps)
        for key, (_, places) in self._locks.items():
            for place in places:
                for holder in holders.get(key, ())[:_BREADTH]:
                    self._add_holder(self.nodes[place], holder, "held by")
                for holder in perhaps.get(key, ())[:_BREADTH]:
                    self._add_holder(self.nodes[place], holder, _PERHAPS)
        self._locks.clear()
        return list(range(begin, len(self.nodes)))

    def _add_holder(self, node: _Node, holder: Any, label: str) -> None:
        if holder is not node.obj:
            to = self._add(holder)
            if all(edge.to != to for edge in node.waits_for):
                node.waits_for.append(_Edge(to, label))

    def _note_holder(self, obj: Any, lock: int, holders: dict[int, list[Any]]) -> None:
        """Note what a generator is to fire, if it does not wait for the lock itself."""
        noted = holders.get(lock, [])
        if len(noted) >= _BREADTH:
            return
        for generator in [obj] if _is_generator(obj) else _generators_of(obj):
            end = _frames(generator, self._skip)[1]
            if not _is_deferred(end) or id(_deferrous._state_of(end, 0)[6]) != lock:
                noted += [
                    each for each in _tasks_of(generator) if all(each is not it for it in noted)
                ]
        if noted:
            holders[lock] = noted


def _generators_of(frame: Any) -> list[Any]:
    """Return the generator or coroutine whose frame this is."""
    return [
        each
        for each in gc.get_referrers(frame)
        if _is_generator(each) and getattr(each, f"{_PREFIXES[type(each)]}_frame") is frame
    ]


def _tasks_of(generator: Any) -> list[Any]:
    """Return what a generator or coroutine, or one that waits for it, is to fire when it ends."""
    for _ in range(_CLIMB):
        found, outer = [], None
        for each in gc.get_referrers(generator):
            parts = _deferrous._parts_of(each)
            if parts is not None and parts[0] == "task":
                if parts[2] is not None:
                    found.append(parts[2])
            elif _is(each, *_tasks()):
                found.append(each)
            else:
                for other in [each] if _is_generator(each) else ():
                    if getattr(other, _INNER[type(other)]) is generator:
                        outer = other
                for other in _generators_of(each) if type(each) is FrameType else ():
                    if getattr(other, _INNER[type(other)]) is generator:
                        outer = other
        if found or outer is None:
            return found
        generator = outer
    return []


def _line_of(canceller: Any, deferred: Any) -> tuple[str, int, int, str] | None:
    """Return at what a Deferred stands in line, at which place, of how many, and how that is."""
    if type(canceller) is MethodType:
        canceller = canceller.__self__
    elif _of_package(type(canceller)):
        owner = _DICT_OF_CLASS(type(canceller)).get("owner")
        for base in _MRO_OF_CLASS(type(canceller)):
            owner = _DICT_OF_CLASS(base).get("owner", owner)
        if type(owner) is MemberDescriptorType:
            canceller = owner.__get__(canceller)
    parts = _deferrous._parts_of(canceller)
    name = f"<{_class_name(canceller)} at {id(canceller):#x}>"
    lines: list[Any] = []
    held = ""
    if parts is not None and parts[0] in ("lock", "semaphore", "queue"):
        lines = [parts[1]]
        if parts[0] == "lock":
            held = " (it is locked)" if parts[2] else " (it is not locked)"
        elif parts[0] == "semaphore":
            held = f" ({parts[2]:,} of {parts[3]:,} tokens are left)"
        else:
            held = f" (it holds {parts[2]:,})"
    elif _of_package(type(canceller)):
        lines = gc.get_referents(canceller)
    for line in itertools.islice(_within(lines), _STEPS):
        if type(line) is _deferrous._Fifo:
            place, count = _deferrous._place_in(line, deferred)
            if place is not None:
                return name, place, count, held
    return None


def _within(objects: list[Any], depth: int = 0) -> Iterator[Any]:
    """Yield objects, and what is in plain containers among them."""
    for each in objects:
        yield each
        if depth < 3 and _one_of(type(each), (dict, list, tuple)):
            yield from _within(gc.get_referents(each), depth + 1)


def _waiters_behind(waiter: Any) -> Iterator[Any]:
    """Yield the Deferreds and futures that something which stands in a chain is for."""
    if _is_node(waiter):
        yield waiter
        return
    members = _deferrous._members_of(waiter, 0)
    parts = _deferrous._parts_of(waiter)
    if members is not None:
        if members[4] is not None:
            yield members[4]
    elif parts is None:
        return
    elif parts[0] == "task":
        if parts[2] is not None:
            yield parts[2]
    elif parts[0] == "task callback":
        yield from _waiters_behind(parts[1])
    elif parts[0] == "awaiting" and parts[2] is not None:
        # The driver waits for a future of its own in its place. It, not that, is of interest.
        future = parts[2]
        drivers = [each for callback, _ in _future_callbacks(future) for each in _behind(callback)]
        yield from drivers or [future]


def _behind(callback: Any) -> list[Any]:
    return list(_behind_callback(callback))


def _behind_callback(callback: Any) -> Iterator[Any]:
    """Yield the Deferreds and futures that a callback is for, as far as that can be told."""
    if type(callback) is functools.partial:
        callback = _FUNC_OF_PARTIAL(callback)
    if _one_of(type(callback), (MethodType, BuiltinFunctionType)):
        owner = callback.__self__
        if _is_node(owner):
            yield owner
        else:
            yield from _waiters_behind(owner)
            parent = _dict_of(owner).get("_parent_task") if _is_task_group(owner) else None
            if parent is not None and _is_node(parent):
                yield parent
    elif type(callback) is FunctionType:
        yield from _held_by_function(callback)
    else:
        # A wrapper of asyncio's around a task that it is to wake.
        if _is(callback, *_tasks()):
            yield callback
        elif _class_name(callback) in ("TaskWakeupMethWrapper", "TaskStepMethWrapper"):
            yield from (each for each in gc.get_referents(callback) if _is_node(each))
        else:
            yield from _waiters_behind(callback)


def _is_task_group(obj: object) -> bool:
    group = getattr(sys.modules.get("asyncio.taskgroups"), "TaskGroup", None)
    return isinstance(group, type) and _is(obj, group)


def _future_callbacks(future: object) -> list[tuple[Any, Any]]:
    if not _is(future, *_futures()):
        if _theirs() and _is(future, *_theirs()):
            return _callbacks_of_theirs(future)
        return []
    callbacks = _of_future(future, "_callbacks")
    if type(callbacks) is not list:
        return []
    return [each for each in callbacks[:_LINKS] if type(each) is tuple and len(each) == 2]


def _callbacks_of_theirs(deferred: object) -> list[tuple[Any, Any]]:
    attributes = _dict_of(deferred)
    links = attributes.get("_callbacks", attributes.get("callbacks"))
    if type(links) is not list:
        return []
    found = []
    for link in links[:_LINKS]:
        if type(link) is tuple and len(link) == 2 and type(link[0]) is tuple and link[0]:
            found.append((link[0][0], None))
    return found


def _frames(generator: Any, skip: FrameType | None) -> tuple[list[tuple[FrameType, str]], Any]:
    """Return where a generator or coroutine is, the innermost frame last, and what it waits for."""
    frames: list[tuple[FrameType, str]] = []
    current = generator
    for _ in range(_STEPS):
        if not _is_generator(current):
            if _class_name(current) not in _BETWEEN or _of_package(type(current)):
                break
            held = [
                each for each in gc.get_referents(current) if _is_generator(each) or _is_node(each)
            ]
            if not held:
                break
            current = held[0]
            continue
        prefix = _PREFIXES[type(current)]
        frame = getattr(current, f"{prefix}_frame")
        if frame is None:
            break
        if getattr(current, f"{prefix}_running"):
            stack = _stack_down_to(frame, skip)
            frames += [(each, _kind_of_frame(each)) for each in stack]
            break
        frames.append((frame, _KINDS[type(current)]))
        current = getattr(current, _INNER[type(current)])
    parts = _deferrous._parts_of(current)
    if parts is not None and parts[0] == "awaiting":
        current = parts[1]
    return frames, current


def _stack_down_to(frame: FrameType, top: FrameType | None) -> list[FrameType]:
    """Return the frames that are on the stack above one, it first, or it alone."""
    stack = []
    current = top
    for _ in range(_STEPS):
        if current is None:
            return [frame]
        stack.append(current)
        if current is frame:
            return stack[::-1]
        current = current.f_back
    return [frame]


def _kind_of_frame(frame: FrameType) -> str:
    flags = frame.f_code.co_flags
    for flag, kind in ((0x80, "coroutine"), (0x200, "async generator"), (0x20, "generator")):
        if flags & flag:
            return kind
    return ""


# -------------------------------------------------------------------------------------------------
# The graph as programs see it


class DeferredCallGraph:
    """What waits for what, as seen from one Deferred, future or task.

    It has the attributes of asyncio's `FutureCallGraph`, and more. What it says was true when it
    was captured. It keeps the Deferred and the frames alive, as asyncio's does.
    """

    __slots__ = ("_graph", "_path", "_place")

    def __init__(self, graph: _Graph, place: int, path: tuple[int, ...] = ()) -> None:
        self._graph = graph
        self._place = place
        self._path = (*path, place)

    @property
    def _node(self) -> _Node:
        return self._graph.nodes[self._place]

    @property
    def future(self) -> Any:
        """The Deferred, future or task."""
        return self._node.obj

    @property
    def call_stack(self) -> tuple[FrameCallGraphEntry, ...]:
        """Where the generator or coroutine is that is to fire it, the innermost first."""
        return tuple(self._node.frames)

    @property
    def awaited_by(self) -> tuple[DeferredCallGraph, ...]:
        """Who waits for it. Those on the way here are left out, so this never goes in circles."""
        return self._step(self._node.awaited_by)

    @property
    def waits_for(self) -> tuple[DeferredCallGraph, ...]:
        """What it waits for. Those on the way here are left out."""
        return self._step(self._node.waits_for)

    def _step(self, edges: list[_Edge]) -> tuple[DeferredCallGraph, ...]:
        return tuple(
            DeferredCallGraph(self._graph, edge.to, self._path)
            for edge in edges
            if edge.to not in self._path
        )

    @property
    def state(self) -> str:
        """One of pending, waiting, running, paused, fired, failed, cancelled."""
        return self._node.state

    @property
    def detail(self) -> str:
        """What the state comes to, in words."""
        return self._node.detail

    @property
    def callbacks(self) -> tuple[CallbackEntry, ...]:
        """The callbacks that are still to be called, or the first of them."""
        return tuple(self._node.callbacks)

    @property
    def cycles(self) -> tuple[tuple[Any, ...], ...]:
        """Those that wait for each other, in the whole graph."""
        return tuple(
            tuple(self._graph.nodes[each].obj for each in members)
            for members, _ in self._graph.cycles
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._node.name}: {self._node.detail}>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as lists, dicts, texts and numbers, for JSON.

        `nodes` are numbered by their place; `waits_for` and `awaited_by` have these numbers.
        Where a number of `..._more` is -1, it is not known.
        """

        def edges(edges: list[_Edge]) -> list[dict[str, Any]]:
            return [{"to": e.to, "how": e.label, "left_out_between": e.skipped} for e in edges]

        return {
            "root": self._place,
            "nodes": [
                {
                    "name": node.name,
                    "state": node.state,
                    "detail": node.detail,
                    "call_stack": [each.to_dict() for each in node.frames],
                    "call_stack_more": node.frames_more,
                    "callbacks": [each.to_dict() for each in node.callbacks],
                    "callbacks_more": node.callbacks_more,
                    "waits_for": edges(node.waits_for),
                    "waits_for_more": node.waits_for_more,
                    "awaited_by": edges(node.awaited_by),
                    "awaited_by_more": node.awaited_by_more,
                }
                for node in self._graph.nodes
            ],
            "cycles": [
                {"nodes": members, "for_ever": certain} for members, certain in self._graph.cycles
            ],
        }

    # --- as text

    def _lines(self) -> Iterator[str]:
        seen: set[tuple[int, bool]] = set()
        yield from self._lines_of(self._place, None, seen, "")
        yield from self._cycle_texts()

    def _cycle_texts(self) -> Iterator[str]:
        for members, certain in self._graph.cycles:
            names = [self._graph.nodes[each].name for each in members[:_BREADTH]]
            if len(members) > _BREADTH:
                names.append(f"{len(members) - _BREADTH:,} more")
            if len(members) == 1:
                yield f"{names[0]} waits for itself: it can never fire."
            elif certain:
                yield f"{', '.join(names)} wait for each other: none of them can ever fire."
            else:
                yield f"{', '.join(names)} wait for each other, unless something else comes first."

    def _lines_of(
        self, place: int, up: bool | None, seen: set[tuple[int, bool]], indent: str, how: str = ""
    ) -> Iterator[str]:
        node = self._graph.nodes[place]
        if how:
            how = f"{how}: "
        first = all((place, way) not in seen for way in (False, True))
        if up is not None and ((place, up) in seen or place == self._place):
            yield f"{indent}* {how}{node.name}: see above"
            return
        yield f"{indent}* {how}{node.name} {node.detail}"
        for way in (False, True) if up is None else (up,):
            seen.add((place, way))
        if first:
            yield from self._details(node, indent)
        ways = (
            ("Waits for", False, node.waits_for, node.waits_for_more),
            ("Awaited by", True, node.awaited_by, node.awaited_by_more),
        )
        for title, way, edges, more in ways:
            if (up is not None and up != way) or not (edges or more):
                continue
            yield f"{indent}  + {title}:"
            for edge in edges:
                if edge.skipped:
                    yield f"{indent}    ... {edge.skipped:,} more, each waits for the next ..."
                yield from self._lines_of(edge.to, way, seen, indent + "    ", edge.label)
            if more < 0:
                yield f"{indent}    ... more, in a circle: they wait for each other for ever ..."
            elif more:
                yield f"{indent}    ... {more:,} more ..."

    def _details(self, node: _Node, indent: str) -> Iterator[str]:
        if node.frames:
            yield f"{indent}  + Call stack:"
        for place, frame in enumerate(node.frames):
            if node.frames_more and place == _FRAMES:
                yield f"{indent}  |   ... {node.frames_more:,} more ..."
            kind = "" if not frame.kind else f"{frame.kind} "
            yield f'{indent}  |   File "{frame.file}", line {frame.line}, in {kind}{frame.function}'
        if node.callbacks:
            yield f"{indent}  + Callbacks:"
        for callback in node.callbacks:
            yield f"{indent}  |   {callback}"
        if node.callbacks_more:
            yield f"{indent}  |   ... {node.callbacks_more:,} more ..."

    # --- as pictures

    def _arrows(self) -> Iterator[tuple[int, int, str]]:
        """Yield who waits for whom, and how, each once."""
        seen = set()
        for place, node in enumerate(self._graph.nodes):
            ways = [(place, edge.to, edge) for edge in node.waits_for]
            ways += [(edge.to, place, edge) for edge in node.awaited_by]
            for waiting, awaited, edge in ways:
                if (waiting, awaited) not in seen:
                    seen.add((waiting, awaited))
                    label = f"{edge.skipped:,} between" if edge.skipped else edge.label
                    yield waiting, awaited, label

    def _boxes(self) -> Iterator[tuple[int, list[str]]]:
        for place, node in enumerate(self._graph.nodes):
            lines = [node.name, node.detail]
            if node.frames:
                frame = node.frames[0]
                lines.append(f"{frame.file}:{frame.line} in {frame.function}")
            for more in (node.waits_for_more, node.awaited_by_more):
                if more:
                    lines.append(f"... {more:,} more ..." if more > 0 else "... more ...")
            yield place, lines

    def to_mermaid(self) -> str:
        """Return the graph as a flowchart of Mermaid's. Arrows go to what is waited for."""

        def quoted(text: str) -> str:
            text = text.replace("#", "#35;")
            for character, code in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
                text = text.replace(character, code)
            return text

        lines = ["flowchart TD"]
        for place, texts in self._boxes():
            lines.append(f'    n{place}["{"<br>".join(map(quoted, texts))}"]')
        for waiting, awaited, label in self._arrows():
            arrow = f'-- "{quoted(label)}" -->' if label else "-->"
            lines.append(f"    n{waiting} {arrow} n{awaited}")
        for members, _ in self._graph.cycles:
            for place in members:
                lines.append(f"    style n{place} stroke:#c00,stroke-width:2px")
        return "\n".join(lines) + "\n"

    def to_dot(self) -> str:
        """Return the graph in the language of Graphviz. Arrows go to what is waited for."""

        def quoted(text: str) -> str:
            return text.replace("\\", "\\\\").replace('"', '\\"')

        in_cycle = {place for members, _ in self._graph.cycles for place in members}
        lines = ["digraph waiting {", "    node [shape=box];"]
        for place, texts in self._boxes():
            colour = ", color=red" if place in in_cycle else ""
            label = "\\n".join(map(quoted, texts))
            lines.append(f'    n{place} [label="{label}"{colour}];')
        for waiting, awaited, label in self._arrows():
            shown = f' [label="{quoted(label)}"]' if label else ""
            lines.append(f"    n{waiting} -> n{awaited}{shown};")
        return "\n".join([*lines, "}"]) + "\n"

    def _repr_html_(self) -> str:
        """Return the text as HTML, for notebooks. Its colours are those of the page."""
        # Whole lines are folded: a deeper indentation belongs to the line before it.
        return f'<pre style="color: inherit; background: none">{html.escape(str(self))}</pre>'


def _current(frame: FrameType | None) -> Any:
    """Return what runs at a frame: a Deferred whose generator we drive, or a task of asyncio's."""
    running: dict[int, Any] = {}
    tasks: Any = sys.modules.get("asyncio.tasks")
    events: Any = sys.modules.get("asyncio.events")
    if tasks is not None and events is not None:
        loop = events._get_running_loop()
        task = None if loop is None else tasks.current_task(loop)
        for cls in _tasks():
            if task is not None and _is(task, cls):
                coroutine = _attribute(task, cls, "_coro")
                if _is_generator(coroutine):
                    running[id(getattr(coroutine, f"{_PREFIXES[type(coroutine)]}_frame"))] = task
    for generator in _deferrous._driven():
        if _is_generator(generator):
            of_frame = getattr(generator, f"{_PREFIXES[type(generator)]}_frame")
            running[id(of_frame)] = generator
    for _ in range(_STEPS):
        if frame is None:
            break
        found = running.get(id(frame))
        if _is_generator(found):
            # If it has not waited for anything so far, its Deferred is made here.
            task = _deferrous._task_for(found)
            return None if task is None else task[1]
        if found is not None:
            return found
        frame = frame.f_back
    return None


def _root_of(future: Any, frame: FrameType | None) -> Any:
    """Return the Deferred or future to begin at."""
    if future is None:
        return _current(frame)
    if _is_generator(future):
        for each in _tasks_of(future):
            return each
        raise TypeError(
            f"nothing runs this {_KINDS[type(future)]}, or only something that waits for it itself"
        )
    if not _is_node(future):
        raise TypeError(
            "a Deferred, a future, a task, or a coroutine or generator that one of them runs is "
            f"needed, not {_class_name(future)}"
        )
    return future


def capture_call_graph(
    future: Any = None, /, *, depth: int = 1, limit: int | None = None
) -> DeferredCallGraph | None:
    """Return what a Deferred waits for and who waits for it, at this moment.

    It says of each whether it was fired and with what, whether it is paused, running or cancelled;
    at which lines generators and coroutines are suspended; where it stands in line; who is missing
    in a list or race; which callbacks are still to be called; and who waits for each other.

    Nothing is changed, and nobody's code is run, so it may be asked at any time, in callbacks,
    too. Large graphs are cut, with the number of what was left out.

    ```python
    from deferrous import Deferred, capture_call_graph, gatherResults

    d = Deferred()
    both = gatherResults([d, Deferred()])
    graph = capture_call_graph(d)
    print(graph.detail)
    print(graph.awaited_by[0].future is both)
    ```

    Arguments:

    - `future`: a Deferred, an asyncio future or task, or a coroutine or generator that runs as one
      of them. By default it is what runs now; where nothing does, None is returned.
    - `depth`: how many frames at the top of the stack are left out of what runs now.
    - `limit`: for each call stack, so many of the innermost frames, or of the outermost if it is
      below 0. None for all.

    Errors:

    - TypeError: it is something else, or nothing runs the coroutine or generator.
    """
    skip: FrameType | None = sys._getframe(0)
    for _ in range(max(depth, 0)):
        if skip is not None:
            skip = skip.f_back
    root = _root_of(future, skip)
    return None if root is None else DeferredCallGraph(_Graph(root, limit, skip), 0)


def format_call_graph(future: Any = None, /, *, depth: int = 1, limit: int | None = None) -> str:
    """Return what `capture_call_graph` finds, as a text; an empty one if nothing runs now.

    ```python
    from deferrous import Deferred, format_call_graph

    print("has not been fired" in format_call_graph(Deferred()))
    ```

    Arguments:

    - `future`, `depth`, `limit`: as for `capture_call_graph`.

    Errors:

    - TypeError: as for `capture_call_graph`.
    """
    graph = capture_call_graph(future, depth=depth + 1, limit=limit)
    return "" if graph is None else str(graph)


def print_call_graph(
    future: Any = None,
    /,
    *,
    file: TextIO | None = None,
    depth: int = 1,
    limit: int | None = None,
) -> None:
    """Print what `format_call_graph` returns.

    ```python
    from deferrous import Deferred, print_call_graph

    print_call_graph(Deferred())
    ```

    Arguments:

    - `future`, `depth`, `limit`: as for `capture_call_graph`.
    - `file`: where to print it, by default standard output.

    Errors:

    - TypeError: as for `capture_call_graph`.
    """
    print(format_call_graph(future, depth=depth + 1, limit=limit), file=file)
