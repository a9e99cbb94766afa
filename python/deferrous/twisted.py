"""Twisted on deferrous: our Deferred and our Failure in the place of Twisted's.

Call `install()` before anything of Twisted's is imported that uses them:

    import deferrous.twisted

    deferrous.twisted.install()

    from twisted.internet import defer, reactor    # `defer.Deferred` is ours

From then on `twisted.internet.defer` and `twisted.python.failure` are modules made here. They have
all names of Twisted's: ours, and for what deferrous does not offer, Twisted's own code, which then
runs on our classes. They keep their name, file and import specification; our classes and functions
say in turn that they are of these modules, so that messages, logs, and pickles read as they always
did.

Twisted has to be installed, with its sources. Nothing else in deferrous needs it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

import deferrous
import deferrous.failure

from . import _deferrous

__all__ = ["install", "installed"]

#: What stands in for what. Failures come first: Twisted's Deferred module imports them.
_HOMES: dict[str, ModuleType] = {
    "twisted.python.failure": deferrous.failure,
    "twisted.internet.defer": deferrous,
}


class _StandIn(ModuleType):
    """A module in the place of one of Twisted's.

    A name of ours that is replaced or deleted in it is replaced or deleted in our own module,
    too, because that is where our functions look it up.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if _is_shared(name) and name in vars(_HOMES[self.__name__]):
            setattr(_HOMES[self.__name__], name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if _is_shared(name) and name in vars(_HOMES[self.__name__]):
            delattr(_HOMES[self.__name__], name)


def _is_shared(name: str) -> bool:
    return not (name.startswith("__") and name.endswith("__"))


def installed() -> bool:
    """Return whether Twisted runs on deferrous in this process."""
    return all(isinstance(sys.modules.get(name), _StandIn) for name in _HOMES)


def install() -> None:
    """Put deferrous in the place of Twisted's Deferred and Failure, for the whole process.

    Calling it again does nothing.

    Raises RuntimeError if Twisted's own modules have been imported: other modules hold their
    classes already. Raises ImportError if Twisted is not installed, or without its sources.
    Where it raises, everything is as before.
    """
    if installed():
        return
    # Modules stand in the order in which they were first imported.
    early = next((name for name in sys.modules if name in _HOMES), None)
    if early is not None:
        raise RuntimeError(
            f"{early} has been imported already: "
            "call deferrous.twisted.install() before anything imports it"
        )
    done: list[str] = []
    replaced: list[tuple[str, set[str]]] = []
    try:
        for name, home in _HOMES.items():
            module, code, ours = _prepare(name, home)
            done.append(name)
            _place(name, module)
            exec(code, vars(module))
            replaced.append((name, ours))
    except BaseException:
        for name in done:
            _remove(name)
        raise
    for name, ours in replaced:
        for each in ours:
            _rename(vars(_HOMES[name]).get(each), name)
    _deferrous.set_namespace(vars(sys.modules["twisted.internet.defer"]))


def _place(name: str, module: ModuleType) -> None:
    parent, _, child = name.rpartition(".")
    sys.modules[name] = module
    setattr(importlib.import_module(parent), child, module)


def _remove(name: str) -> None:
    parent, _, child = name.rpartition(".")
    sys.modules.pop(name, None)
    vars(sys.modules[parent]).pop(child, None)


def _prepare(name: str, home: ModuleType) -> tuple[ModuleType, CodeType, set[str]]:
    """Make a module with our names in it, and the code that adds Twisted's remaining ones.

    The code is Twisted's without the definitions of what we have. As the rest of it looks up
    these names in the module, as ever, it finds ours. Returns, third, the names left out.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ImportError(f"cannot find {name}", name=name)
    get_source = getattr(spec.loader, "get_source", None)
    source = get_source(name) if get_source else None
    if source is None:
        raise ImportError(f"{name} is there without its source", name=name)

    tree = ast.parse(source, spec.origin)
    ours: set[str] = set()
    remaining: list[ast.stmt] = []
    for statement in tree.body:
        defined = list(_defines(statement))
        if defined and all(_is_shared(each) and hasattr(home, each) for each in defined):
            ours.update(defined)
        else:
            remaining.append(statement)
    tree.body = remaining

    module = importlib.util.module_from_spec(spec)
    module.__class__ = _StandIn
    names = {
        each: value
        for each, value in vars(home).items()
        if each == "__getattr__"
        or (_is_shared(each) and not isinstance(value, ModuleType))
    }
    vars(module).update(names)
    return module, compile(tree, spec.origin, "exec", dont_inherit=True), ours


def _defines(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement exists to define."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            # Anything but a plain name makes the statement one to be kept.
            yield target.id if isinstance(target, ast.Name) else "__not_a_name__"
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id


def _rename(obj: Any, name: str) -> None:
    """Let a class or function of ours, and what is defined in a class, say it is of a module."""
    if not (inspect.isclass(obj) or inspect.isroutine(obj)):
        return
    if not str(getattr(obj, "__module__", "")).startswith(deferrous.__name__):
        return
    obj.__module__ = name
    if inspect.isclass(obj):
        for member in list(vars(obj).values()):
            if isinstance(member, property):
                members = [member.fget, member.fset, member.fdel]
            elif isinstance(member, (classmethod, staticmethod)):
                members = [member.__func__]
            else:
                members = [member]
            for each in members:
                if inspect.isfunction(each):
                    _rename(each, name)
