"""Texts and attributes of objects, without running any of their code: for the graph."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
)
from typing import Any

from . import _deferrous
from ._futures import held_by_link

#: The most links of a Deferred that are examined.
LINKS = 200
#: The most iterations of any loop over a program's data.
STEPS = 100_000
#: The most characters of a text.
_TEXT = 60

NAME_OF_CLASS = type.__dict__["__name__"].__get__
MRO_OF_CLASS = type.__dict__["__mro__"].__get__
DICT_OF_CLASS = type.__dict__["__dict__"].__get__
_ARGS_OF_ERROR = BaseException.__dict__["args"].__get__
FUNC_OF_PARTIAL = functools.partial.__dict__["func"].__get__
ARGS_OF_PARTIAL = functools.partial.__dict__["args"].__get__

GENERATORS: tuple[type, ...] = (GeneratorType, CoroutineType, AsyncGeneratorType)
#: The interpreter's iterators that can stand between two of these without a reference to follow.
BETWEEN = ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "FutureIter")
WITH_FRAMES: tuple[type, ...] = (*GENERATORS, FrameType)
PREFIXES = {GeneratorType: "gi", CoroutineType: "cr", AsyncGeneratorType: "ag"}
INNER = {GeneratorType: "gi_yieldfrom", CoroutineType: "cr_await", AsyncGeneratorType: "ag_await"}
KINDS = {
    GeneratorType: "generator",
    CoroutineType: "coroutine",
    AsyncGeneratorType: "async generator",
}


def clean(text: str) -> str:
    """Return a text as a plain `str` on one line, shortened if it is long."""
    text = str.__str__(text)
    if len(text) > _TEXT * 3:
        text = f"{text[: _TEXT * 3]}..."
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def class_name(obj: object) -> str:
    return clean(NAME_OF_CLASS(type(obj)))


def is_a(obj: object, *classes: type) -> bool:
    """Return whether an object is an instance of one of these classes, going by its type."""
    return any(one_of(base, classes) for base in MRO_OF_CLASS(type(obj)))


def one_of(cls: type, classes: Iterable[type]) -> bool:
    """Return whether a class is one of these. `in` would call the metaclass's `__eq__`."""
    for each in classes:  # `any` takes longer.
        if cls is each:
            return True
    return False


def is_generator(obj: object) -> bool:
    return one_of(type(obj), GENERATORS)


def is_running(generator: Any) -> bool:
    """Return whether a generator or coroutine is running."""
    running = bool(getattr(generator, f"{PREFIXES[type(generator)]}_running"))
    # An asynchronous generator also claims to while it waits.
    return running and (type(generator) is not AsyncGeneratorType or generator.ag_await is None)


def text_of(obj: object, depth: int = 0) -> str:
    """Return a short text for an object, without running its code."""
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
        return clean(repr(obj if len(obj) <= _TEXT else obj[:_TEXT])) + (
            "..." if len(obj) > _TEXT else ""
        )
    if one_of(kind, (tuple, list, set, frozenset, dict)):
        assert isinstance(obj, (tuple, list, set, frozenset, dict))
        if kind is tuple and len(obj) <= 3 and depth < 2:
            items = ", ".join(text_of(each, depth + 1) for each in obj)
            return f"({items},)" if len(obj) == 1 else f"({items})"
        return f"{kind.__name__} of {len(obj):,}"
    if kind is type:
        return f"class {clean(NAME_OF_CLASS(obj))}"
    return f"<{class_name(obj)} at {id(obj):#x}>"


def error_text(error: object) -> str:
    if not is_a(error, BaseException):
        return class_name(error)
    args = _ARGS_OF_ERROR(error)
    shown = ", ".join(text_of(each) for each in args[:3])
    return f"{class_name(error)}({shown}{', ...' if len(args) > 3 else ''})"


def dict_of(obj: object) -> dict[str, Any]:
    """Return the instance dict of an object."""
    for base in MRO_OF_CLASS(type(obj)):
        found = DICT_OF_CLASS(base).get("__dict__")
        if type(found) is GetSetDescriptorType:
            attributes = found.__get__(obj)
            return attributes if type(attributes) is dict else {}
    return {}


def attribute(obj: object, cls: type, name: str) -> Any:
    """Return an attribute as a class of ours defines it, even if a subclass overrides it."""
    for base in MRO_OF_CLASS(cls):
        found = DICT_OF_CLASS(base).get(name)
        if one_of(type(found), (GetSetDescriptorType, MemberDescriptorType)):
            try:
                return found.__get__(obj)
            except AttributeError:
                return None
    own = dict_of(obj)
    return own[name] if name in own else DICT_OF_CLASS(cls).get(name)


def slot_of(obj: Any, name: str) -> Any:
    """Return an attribute of an object of ours or asyncio's, without running its code."""
    return attribute(obj, type(obj), name)


def held_by(generator: Any) -> list[Any]:
    """Return what a generator or coroutine refers to. On CPython 3.10, its frame does."""
    if sys.version_info >= (3, 11):
        return gc.get_referents(generator)
    return gc.get_referents(getattr(generator, f"{PREFIXES[type(generator)]}_frame"))


def is_deferred(obj: object) -> bool:
    return is_a(obj, _deferrous.Deferred)


def objects_of(wanted: Callable[[object], bool]) -> list[Any]:
    """Return all objects in the process whose class is wanted. Each class is tested once."""
    # By the addresses of the classes. These live as long as the objects, which are in this list.
    known: dict[int, bool] = {}
    every = gc.get_objects()
    found = []
    for each in every:
        cls = id(type(each))
        of_wanted = known.get(cls)
        if of_wanted is None:
            of_wanted = known[cls] = wanted(each)
        if of_wanted:
            found.append(each)
    return found


def future_classes() -> tuple[type, ...]:
    """Return asyncio's future classes, if it has been imported."""
    module = sys.modules.get("asyncio.futures")
    found = (getattr(module, name, None) for name in ("Future", "_PyFuture", "_CFuture"))
    return tuple({each for each in found if isinstance(each, type)})


def task_classes() -> tuple[type, ...]:
    module = sys.modules.get("asyncio.tasks")
    found = (getattr(module, name, None) for name in ("Task", "_PyTask", "_CTask"))
    return tuple({each for each in found if isinstance(each, type)})


def of_future(future: object, name: str) -> Any:
    """Return an attribute of an asyncio future, as asyncio defines it."""
    cls = next(each for each in future_classes() if is_a(future, each))
    return attribute(future, cls, name)


def their_classes() -> tuple[type, ...]:
    """Return Twisted's own Deferred class, if it is in use beside ours."""
    theirs = getattr(sys.modules.get("twisted.internet.defer"), "Deferred", None)
    return (theirs,) if isinstance(theirs, type) and theirs is not _deferrous.Deferred else ()


def is_node(obj: object) -> bool:
    return is_a(obj, _deferrous.Deferred, *future_classes(), *their_classes())


def of_package(cls: type) -> bool:
    """Return whether a class seems to be defined in this package."""
    module = DICT_OF_CLASS(cls).get("__module__")
    return type(module) is str and module.partition(".")[0] == "deferrous"


#: How the names of the files of this package begin.
PACKAGE = __file__.rpartition("_graph_objects")[0]


def cells_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the contents of a function's closure, with their names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:
            pass


def is_of_asyncio_tasks(function: FunctionType) -> bool:
    before, name, _ = function.__code__.co_filename.rpartition("tasks.py")
    return bool(name) and before.endswith(("asyncio/", "\\"))


def is_function_in(obj: object, *module: str) -> bool:
    """Return whether an object is a function of one of these modules of this package."""
    if type(obj) is not FunctionType:
        return False
    return obj.__code__.co_filename == f"{os.path.join(PACKAGE, *module)}.py"


def in_its_context(obj: object) -> Any:
    """Return the function that a wrapper made by `in_context` calls, or None."""
    if is_function_in(obj, "concurrency", "context"):
        assert isinstance(obj, FunctionType)
        for name, held in cells_of(obj):
            if name == "function":
                return held
    return None


def held_by_function(obj: object, *names: str) -> Iterator[Any]:
    """Yield the Deferreds and futures that a function of this package or of asyncio refers to."""
    if type(obj) is MethodType:
        name, held = held_by_link(obj)
        if is_node(held) and (not names or name in names):
            yield held
        return
    if type(obj) is not FunctionType:
        return
    file = obj.__code__.co_filename
    if file.startswith(PACKAGE) and os.path.dirname(file) == os.path.dirname(PACKAGE):
        wanted = None
    elif is_of_asyncio_tasks(obj):
        wanted = ("outer", "waiter")
    else:
        return
    for name, held in cells_of(obj):
        for each in held if type(held) is tuple and len(held) < 4 else (held,):
            if (wanted is None or name in wanted) and (not names or name in names):
                if is_node(each):
                    yield each
