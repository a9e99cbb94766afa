"""Twisted on deferrous: our Deferred and Failure instead of Twisted's.

Call `install()` before anything of Twisted's is imported:

```python
import deferrous

deferrous.install()

from twisted.internet import defer

assert defer.Deferred is deferrous.Deferred
```

This imports nothing from Twisted. It adds a finder to `sys.meta_path`. When
`twisted.python.failure` and `twisted.internet.defer` are imported, Twisted's own code creates these
modules as usual, and before anybody sees them, our names replace Twisted's. So they are the modules
that programs expect, with their name, file and specification; the rest is Twisted's and runs on our
classes. Our classes and functions claim to be from these modules, so that messages, logs and
pickles look the same.

One more module is changed: `twisted.trial.reporter` removes Twisted's frames from tracebacks, and
finds them by position. Ours have fewer, so it gets the frames that it expects.

Nothing else in deferrous needs Twisted.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from . import __version__, _deferrous, _report
from ._environment import OFF

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "NEWEST_TWISTED",
    "OLDEST_TWISTED",
    "InstallError",
    "describe",
    "install",
    "installed",
]

#: The oldest version of Twisted that this version is tested with.
OLDEST_TWISTED = (24, 10)
#: The newest version of Twisted that this version is tested with.
NEWEST_TWISTED = (26, 10)

#: Set to 1, it makes each Python process install deferrous at startup. 0, no, false and off count
#: as not set. See `deferrous_install.pth`.
ENVIRONMENT_VARIABLE = "DEFERROUS_INSTALL"

_DEFER = "twisted.internet.defer"
_FAILURE = "twisted.python.failure"
_REPORTER = "twisted.trial.reporter"

#: The modules of ours that replace names of Twisted's.
_HOMES = {_FAILURE: "deferrous.failure", _DEFER: "deferrous"}

#: The modules that were changed last.
_made: dict[str, ModuleType] = {}


class InstallError(RuntimeError):
    """Twisted's own modules were imported before `install()` was called."""


class _FailureModule(ModuleType):
    """The module `twisted.python.failure`.

    If a program replaces one of our names in it (`DO_POST_MORTEM`, for instance), that is replaced
    in our own module, too, where our functions look it up.

    The other module is a plain one, because CPython reads attributes of plain modules faster.
    """

    def __getattr__(self, name: str) -> int:
        if name == "count":
            # It is counted in Rust.
            return _deferrous.failure_count()
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        home = _home(self.__name__)
        if not _is_dunder(name) and name in vars(home):
            setattr(home, name, value)


class _Loader:
    """Loads a module with its original loader, and then changes it.

    The module and its specification keep the original loader.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._theirs, "create_module", None)
        module: ModuleType | None = create(spec) if create else None
        return module

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__loader__ = self._theirs
        if module.__spec__ is not None:
            module.__spec__.loader = self._theirs
        if name == _FAILURE:  # Which the others import.
            _warn_unless_supported()
        if name in _HOMES:
            _made[name] = module
        self._theirs.exec_module(module)
        if name in _HOMES:
            _put_ours_over(module)
            _logger.debug("%s has the names of deferrous %s now", name, __version__)
        else:
            _adapt_reporter(module)


class _Finder:
    """Finds the modules in their usual places, and loads them with `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _HOMES and name != _REPORTER:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None and not isinstance(spec.loader, _Loader):
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


_finder = _Finder()

_logger = logging.getLogger("deferrous")


def installed() -> bool:
    """Return whether Twisted uses deferrous in this process, or will once it is imported.

    ```python
    import deferrous

    print(deferrous.installed())
    ```

    This prints `False`.
    """
    return _finder in sys.meta_path and not _imported_without_us()


def install() -> None:
    """Replace Twisted's Deferred and Failure by ours, for the whole process.

    Call it before Twisted is imported. It imports nothing of Twisted's and needs no Twisted.
    Another call does nothing.

    Errors:

    - InstallError: Twisted's own modules have been imported already. Nothing is changed.

    ```python
    import deferrous

    deferrous.install()
    print(deferrous.installed())
    ```

    This prints `True`.
    """
    early = _imported_without_us()
    if early:
        raise InstallError(_too_late(early[0]))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        _logger.debug("deferrous %s is installed: Twisted will run on it", __version__)


def _imported_without_us() -> list[str]:
    # `sys.modules` is in the order in which imports began.
    return [
        name
        for name, module in list(sys.modules.items())
        if name in _HOMES and module is not None and _made.get(name) is not module
    ]


def _put_ours_over(module: ModuleType) -> None:
    name, home = module.__name__, _home(module.__name__)
    namespace = vars(module)
    for each, value in _ours(home, namespace):
        _rename(value, home.__name__, name)
        namespace[each] = value
    if name == _DEFER:
        _deferrous.set_namespace(namespace)
        _report.report_by(namespace)
    else:
        namespace.pop("count", None)
        module.__class__ = _FailureModule


def _ours(home: ModuleType, theirs: dict[str, object]) -> list[tuple[str, object]]:
    """List what replaces Twisted's: our objects under its names, and names that only we have."""
    public = frozenset(home.__all__)
    return [
        (name, value)
        for name, value in vars(home).items()
        if not _is_dunder(name)
        and not isinstance(value, ModuleType)
        and (name in theirs or name in public)
    ]


def _home(name: str) -> ModuleType:
    return importlib.import_module(_HOMES[name])


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _rename(obj: Any, package: str, name: str) -> None:
    """Let a class or function of ours, and the methods of a class, claim to be from a module."""
    if not (inspect.isclass(obj) or inspect.isroutine(obj)):
        return
    if str(getattr(obj, "__module__", "")).partition(".")[0] != package.partition(".")[0]:
        return
    obj.__module__ = name
    if not inspect.isclass(obj):
        return
    # Removes the module from the name that CPython's messages use for a native class.
    obj.__name__ = obj.__name__
    for member in list(vars(obj).values()):
        for function in _functions(member):
            _rename(function, package, name)


def _functions(member: object) -> Iterator[FunctionType]:
    """Yield the Python functions in a member of a class."""
    if isinstance(member, property):
        members: tuple[object, ...] = (member.fget, member.fset, member.fdel)
    elif isinstance(member, (classmethod, staticmethod)):
        members = (member.__func__,)
    else:
        members = (member,)
    for each in members:
        if isinstance(each, FunctionType):
            yield each


def _adapt_reporter(module: ModuleType) -> None:
    reporter = getattr(module, "Reporter", None)
    trim = getattr(reporter, "_trimFrames", None)
    if trim is None:
        return

    @functools.wraps(trim)
    def trim_frames(self: object, frames: Sequence[Any]) -> Any:
        return trim(self, _with_expected_frames(frames))

    reporter._trimFrames = trim_frames  # type: ignore[union-attr]


def _with_expected_frames(frames: Sequence[Any]) -> Sequence[Any]:
    """Make the surroundings of a failed test look as in a callback of Twisted's own Deferred."""
    around: list[Any] = []
    expected = ["_runCallbacks"]
    places = [(frame[0], os.path.basename(frame[1])) for frame in frames]
    if ("_deferSetUpAndRun", "_asynctest.py") in places[:1]:  # Since Twisted 25.5.
        around.append(frames[0])
        expected.insert(0, "__iter__")
    first = len(around)
    while ("runWithWarningsSuppressed", "utils.py") in places[first : first + 1]:
        first += 1
    if first in (0, len(frames)) or places[first] == ("__iter__", "defer.py"):
        return frames
    around += [(name, "defer.py", 0, (), ()) for name in expected]
    return [*around, *frames[first:]]


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _twisted_version() -> tuple[str, tuple[int, ...]]:
    """Return the version of the imported Twisted: as a string, and its first two numbers."""
    text = str(getattr(sys.modules.get("twisted"), "__version__", "?"))
    try:
        return text, tuple(int(number) for number in text.split(".")[:2])
    except ValueError:
        return text, ()


def _warn_unless_supported() -> None:
    text, version = _twisted_version()
    if OLDEST_TWISTED <= version <= NEWEST_TWISTED:
        return
    warnings.warn(
        f"deferrous {__version__} is tested with Twisted {_dotted(OLDEST_TWISTED)} to "
        f"{_dotted(NEWEST_TWISTED)}; this is Twisted {text}",
        RuntimeWarning,
        stacklevel=2,
    )


def _too_late(early: str) -> str:
    users = _users_of_twisted()
    by = f", by way of {users[0]}" if users else ""
    before = "it imports anything that imports Twisted"
    if users and users[0] != "__main__" and not _is_twisted(users[0]):
        before = f"it imports {users[0].partition('.')[0]} or anything else that imports Twisted"
    return (
        f"{early} was imported before deferrous.install() was called{by}. Move the call to the "
        f"very start of the program, before {before}; or start the program with `python -m "
        f"deferrous`, or with {ENVIRONMENT_VARIABLE}=1 in its environment."
    )


def _users_of_twisted() -> list[str]:
    """List the modules that hold objects of Twisted's, in the order of their imports.

    If there are modules of the program itself, only these are listed; otherwise those of other
    packages; and those of Twisted only if there is nothing else.
    """
    users = [
        name
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType)
        and any(_is_twisted(_origin(value)) for value in list(vars(module).values()))
    ]
    others = [name for name in users if not _is_twisted(name)]
    return [name for name in others if not _is_of_a_package(name)] or others or users


def _is_of_a_package(name: str) -> bool:
    """Return whether a module was installed, and so is not part of the program itself."""
    file = getattr(sys.modules[name], "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _is_twisted(name: str) -> bool:
    return name == "twisted" or name.startswith("twisted.")


def _origin(value: object) -> str:
    """Return the module that an object is, or is from. Runs no code of the object."""
    if isinstance(value, ModuleType):
        name = vars(value).get("__name__", "")
    elif type(value) in (type, FunctionType):
        name = getattr(value, "__module__", "")
    else:
        name = vars(type(value)).get("__module__", "")
    return name if isinstance(name, str) else ""


def describe() -> str:
    """Return a text, for people, about what is installed in this process. Imports nothing.

    ```python
    from deferrous.twisted import describe

    print(type(describe()).__name__)
    ```

    This prints `str`.
    """
    version = sys.version.split()[0]
    lines = [
        f"installed: {'yes' if installed() else 'no'}",
        f"deferrous {__version__}: {_deferrous.__file__}",
        f"Python {version}: {sys.executable}",
    ]
    if "twisted" in sys.modules:
        text, _ = _twisted_version()
        supported = f"{_dotted(OLDEST_TWISTED)} to {_dotted(NEWEST_TWISTED)} are supported"
        lines.append(f"Twisted {text} ({supported}): {_file(sys.modules['twisted'])}")
    else:
        lines.append("Twisted: not imported")
    for name in _HOMES:
        lines += _described(name)
    setting = os.environ.get(ENVIRONMENT_VARIABLE)
    hook = _startup_file()
    if hook is None:
        lines.append(f"child processes: no deferrous_install.pth reads {ENVIRONMENT_VARIABLE}")
    else:
        now = f"is {setting}" if setting else "is not set"
        if setting and setting.strip().lower() in OFF:
            now += " (off)"
        lines.append(f"child processes: {ENVIRONMENT_VARIABLE} {now}; {hook} reads it")
    return "\n".join(lines)


def _described(name: str) -> list[str]:
    module = sys.modules.get(name)
    if module is None:
        return [f"{name}: not imported"]
    if _made.get(name) is not module:
        return [f"{name}: Twisted's own, {_file(module)}"]
    namespace = vars(module)
    ours = {each for each, value in _ours(_home(name), namespace) if namespace.get(each) is value}
    theirs = sorted(
        each
        for each, value in namespace.items()
        if each not in ours and getattr(value, "__module__", None) == name and callable(value)
    )
    return [
        f"{name}: {len(ours)} names from deferrous, in {_file(module)}",
        *(
            f"    Twisted's own, which is fine, as they run on deferrous: {each}"
            for each in [", ".join(theirs)]
            if each
        ),
    ]


def _file(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "built in")


def _startup_file() -> str | None:
    """Return the path of the file that installs deferrous at startup of a Python like this one."""
    import site

    folders = [*site.getsitepackages(), site.getusersitepackages()]
    paths = [os.path.join(folder, "deferrous_install.pth") for folder in folders]
    return next((path for path in paths if os.path.isfile(path)), None)
