"""Failures: exceptions that can be passed on like results.

`Failure` holds an exception and its traceback. Making one, checking its class and raising it again
are written in Rust. Formatting, pickling and printing are here.
"""

from __future__ import annotations

import copy
import copyreg
import linecache
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from io import StringIO, TextIOWrapper
from itertools import groupby
from operator import itemgetter
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ._deferrous import (
    FailureBase,
    NoCurrentExceptionError,
    failure_count,
    has_room_for_text,
    pieces_of_frames,
    plain_pieces,
    plain_repr,
    plain_state,
    plain_traceback,
    register_failure_class,
    stands_alone,
)
from ._frames import (
    FrameInfo,
    _Code,  # noqa: F401 - a name of Twisted's module, as those below
    _Frame,  # noqa: F401
    _Traceback,
    _TracebackFrame,  # noqa: F401
)
from ._frames import add_frames_with_variables as _add_frames_with_variables  # noqa: F401
from ._linked_errors import NOTHING, what_is_around
from ._reflect import qual, safe_repr, safe_str

__all__ = [
    "DO_POST_MORTEM",
    "EXCEPTION_CAUGHT_HERE",
    "DefaultException",
    "Failure",
    "NoCurrentExceptionError",
    "format_frames",
    "startDebugMode",
    "traceupLength",
]

_F = TypeVar("_F", bound=Callable[..., object])

#: A name that Twisted's module has always had. Nothing here uses it.
traceupLength = 4

#: Another such name.
EXCEPTION_CAUGHT_HERE = "--- <exception caught here> ---"


class DefaultException(Exception):
    """A generic exception."""


if TYPE_CHECKING:
    #: The number of Failures so far.
    count: int
else:

    def __getattr__(name: str) -> int:
        if name == "count":
            return failure_count()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def format_frames(
    frames: Iterable[FrameInfo],
    write: Callable[[str], object],
    detail: str = "default",
) -> None:
    """Write frames that have the form of `Failure.frames`.

    Arguments:

    - `frames`: the frames.
    - `write`: a function that is called with pieces of text.
    - `detail`: "default", "brief", "verbose", or "verbose-vars-not-captured" for frames without
      variables.

    Errors:

    - ValueError: `detail` is none of these.
    """
    if detail not in ("default", "brief", "verbose", "verbose-vars-not-captured"):
        raise ValueError(
            "Detail must be default, brief, verbose, or "
            f"verbose-vars-not-captured. (not {detail!r})"
        )
    pieces = pieces_of_frames(frames, detail)
    if pieces is not None:
        for piece in pieces:
            write(piece)
        return
    for function, file, line, local_vars, global_vars in frames:
        if detail == "brief":
            write(f"{file}:{line}:{function}\n")
        elif detail == "default":
            write(f'  File "{file}", line {line}, in {function}\n')
            write(f"    {linecache.getline(file, line).strip()}\n")
        else:
            write(f"{file}:{line}: {function}(...)\n")
        if detail == "verbose":
            for title, variables in (
                (" [ Locals ]\n", local_vars),
                (" ( Globals )\n", global_vars),
            ):
                write(title)
                for name, value in variables:
                    write(f"  {name} : {value!r}\n")
    if detail == "verbose-vars-not-captured":
        write(" [Capture of Locals and Globals disabled (use captureVars=True)]\n")


_inlineCallbacksExtraneous: list[CodeType] = []


def _extraneous(f: _F) -> _F:
    """Mark a function as part of the machinery, and return it."""
    _inlineCallbacksExtraneous.append(f.__code__)
    return f


#: Sets the traceback of an exception, even if its class overrides `__traceback__`.
_set_traceback: Callable[[BaseException, object], None] = BaseException.__traceback__.__set__  # type: ignore[union-attr]


def _error_message(failure: Failure) -> str:
    """The body of `Failure.getErrorMessage`."""
    value = failure.value
    return value.getErrorMessage() if isinstance(value, Failure) else safe_str(value)


def _copy(failure: Failure) -> Any:
    """Copy a failure as `copy.copy` copies objects without `__copy__`."""
    reductor = copyreg.dispatch_table.get(type(failure))
    reduced = failure.__reduce_ex__(4) if reductor is None else reductor(failure)
    if isinstance(reduced, str):
        return failure
    return copy._reconstruct(failure, None, *reduced)  # type: ignore[attr-defined]


def _twisted_in_use() -> bool:
    """Return whether to show Failures in Twisted's words."""
    if "twisted.python.failure" in sys.modules:
        return True
    return "deferrous.twisted" in sys.modules and bool(sys.modules["deferrous.twisted"].installed())


class _BeingShown(threading.local):
    """The failures that a thread is formatting, each nested in the one before."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []


_being_shown = _BeingShown()

#: The greatest depth of nested failures in a text.
_NESTED = 10

#: How many equal frames in a row are shown. The others are only counted.
_REPEATED = 3


def _write_folded(frames: list[FrameInfo], write: Callable[[str], object]) -> None:
    """Write frames as `format_frames` does, with repeated ones folded as in Python."""
    for _, repeated in groupby(frames, itemgetter(0, 1, 2)):
        same = list(repeated)
        format_frames(same[:_REPEATED], write)
        if (more := len(same) - _REPEATED) > 0:
            write(f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n")


class Failure(FailureBase):
    """An exception and its traceback, as a value.

    Arguments:

    - `exc_value`: the exception, or any other object. A Failure is copied. By default, the
      exception that is being handled.
    - `exc_type`: its class. By default, that of `exc_value`.
    - `exc_tb`: the traceback. By default, that of the exception.
    - `captureVars`: whether `frames` keeps the variables of each frame.

    `value` is the exception, `type` its class, and `tb` its traceback or None. All state is in
    `__dict__`, and any attribute can be set.

    Errors:

    - NoCurrentExceptionError: nothing is given, and no exception is being handled.

    Differs from Twisted: a traceback has no frames of the library itself.

    ```python
    from deferrous import Failure

    try:
        int("x")
    except ValueError:
        failure = Failure()
    print(failure.type.__name__)
    ```

    This prints `ValueError`.
    """

    #: 1 if this was cleaned or unpickled, and so has no traceback.
    pickled = 0
    _parents: list[Any] | None = None
    _frames: list[FrameInfo]

    def raiseException(self) -> NoReturn:
        """Raise the exception again, with its traceback.

        Errors:

        - AttributeError: this is a Failure of something else than an exception.

        ```python
        from deferrous import Failure

        try:
            Failure(KeyError("name")).raiseException()
        except KeyError:
            print("raised")
        ```

        This prints `raised`.
        """
        # In Python, because programs expect to see this frame.
        raise self._raised

    def __repr__(self) -> str:
        text = plain_repr(self)
        if text is not None:
            return text
        return f"<{qual(self.__class__)} {qual(self.type)}: {self.getErrorMessage()}>"

    def __str__(self) -> str:
        text = plain_traceback(self, "brief")
        return f"[Failure instance: {self.getBriefTraceback() if text is None else text}]"

    def __setstate__(self, state: dict[str, Any]) -> None:  # type: ignore[override]
        state.pop("stack", None)
        state["_parents"] = state.pop("parents")
        state["_frames"] = state.pop("frames")
        self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the traceback and the variables in its frames."""
        plain = plain_state(self)
        if plain is not None:
            return plain
        parents = self.parents
        state = self.__dict__.copy()
        state.pop("_parents", None)
        state.pop("_frames", None)
        frames: list[Any] = self.frames
        if self.captureVars:
            frames = [
                [
                    name,
                    file,
                    line,
                    _safeReprVars(local_vars),
                    _safeReprVars(global_vars),
                ]
                for name, file, line, local_vars, global_vars in frames
            ]
        state.update(parents=parents, stack=[], frames=frames, tb=None, pickled=1)
        return state

    def __reduce__(self) -> tuple[Any, ...]:
        # With names by which Twisted's own Failure can be unpickled, too.
        if self.__class__ is Failure:
            return (copyreg.__newobj__, (Failure,), self.__getstate__())  # type: ignore[attr-defined]
        # As in Twisted, a subclass's instance becomes a plain Failure. `pickle` would refuse to
        # make one of another class in the same way.
        return (_new, (), self.__getstate__())

    def cleanFailure(self) -> None:
        """Drop the traceback, also that of the exception itself, and all objects in its frames.

        `tb` is None afterwards. What can be printed of it stays in `frames`.
        """
        state = self.__getstate__()
        state["_frames"] = state.pop("frames")
        self.__dict__ = state
        if getattr(self.value, "__traceback__", None):
            try:
                self.value.__traceback__ = None
            except Exception:
                # Its attributes cannot be set (a frozen dataclass, for instance), but its traceback
                # can.
                if not isinstance(self.value, BaseException):
                    raise
                _set_traceback(self.value, None)

    def getTracebackObject(self) -> Any:
        """Return the traceback, an imitation if only `frames` is left, or None."""
        tb = self.tb
        if tb is not None:
            return tb
        frames = self.frames
        return _Traceback(frames) if len(frames) > 0 else None

    def getBriefTraceback(self) -> str:
        """Return what `printBriefTraceback` prints."""
        text = plain_traceback(self, "brief")
        if text is not None:
            return text
        buffer = StringIO()
        self.printBriefTraceback(file=buffer)
        return buffer.getvalue()

    def getTraceback(self, elideFrameworkCode: int = 0, detail: str = "default") -> str:
        """Return what `printTraceback` prints. Raises what that raises."""
        text = plain_traceback(self, detail)
        if text is not None:
            return text
        buffer = StringIO()
        self.printTraceback(file=buffer, elideFrameworkCode=elideFrameworkCode, detail=detail)
        return buffer.getvalue()

    def printTraceback(
        self,
        file: Any = None,
        elideFrameworkCode: int = False,
        detail: str = "default",
    ) -> None:
        """Print the traceback as Python does.

        Unless Twisted is in use, this includes the causes and contexts of the exception, its notes,
        and the members of a group, unless `detail` is "brief". Twisted omits them.

        `file` needs a method `write`. By default, the text goes to Twisted's log if Twisted is in
        use, and otherwise to standard error. `detail` is "default", "brief" or "verbose"; any other
        value raises ValueError. `elideFrameworkCode` is ignored.
        """
        if file is None:
            log = sys.modules.get("twisted.python.log")
            file = sys.stderr if log is None else log.logerr
        # If nobody can tell the difference, the text is written at once, which saves a call for
        # each piece.
        if type(file) in (StringIO, TextIOWrapper):
            text = plain_traceback(self, detail)
            # If a piece cannot be encoded, the pieces before it must have been written.
            if text is not None and (text.isascii() or type(file) is StringIO):
                file.write(text)
                return
        pieces = plain_pieces(self, detail)
        if pieces is not None:
            write = file.write
            for piece in pieces:
                write(piece)
            return
        shown = _being_shown.failures
        if shown and (
            any(each is self for each in shown) or len(shown) == _NESTED or not has_room_for_text()
        ):
            # Each shows the one inside it twice: as a text, and below.
            file.write(f"{qual(self.__class__)} in a Failure\n")
            return
        shown.append(self)
        try:
            write = file.write
            value, frames = self.value, self.frames
            if detail == "brief":
                title = "Traceback" if frames else "Traceback (failure with no frames)"
                write(f"{title}: {safe_str(self.type)}: {safe_str(value)}\n")
                if frames:
                    format_frames(frames, write, detail)
            else:
                self._printInFull(write, value, frames, detail)
            if isinstance(value, Failure):
                write(" (chained Failure)\n")
                value.printTraceback(file, elideFrameworkCode, detail)
            if detail == "verbose":
                write("*--- End of Failure #%d ---\n" % self.count)  # noqa: UP031
        finally:
            shown.pop()

    def _printInFull(
        self,
        write: Callable[[str], object],
        value: Any,
        frames: list[FrameInfo],
        detail: str,
    ) -> None:
        around = NOTHING
        if (alone := not _twisted_in_use()) and not stands_alone(value):
            try:
                around = what_is_around(value)
            except Exception:
                # Reading the exception raises. Its own text may show the error.
                pass
        verbose = detail == "verbose"
        if verbose:
            mark = " (pickled) " if self.pickled else " "
            write("*--- Failure #%d%s---\n" % (self.count, mark))  # noqa: UP031
            write(around.before)
        else:
            write(f"{around.before}Traceback (most recent call last):\n")
        if not frames:
            start = "Failure: "
        else:
            start = ""
            if alone and not verbose and len(frames) > _REPEATED:
                _write_folded(frames, write)
            else:
                captured = not verbose or self.captureVars
                format_frames(frames, write, detail if captured else "verbose-vars-not-captured")
        text = safe_str(value) if around.text is None else around.text
        write(f"{around.place}{start}{qual(self.type)}: {text}\n{around.after}")

    def printBriefTraceback(self, file: Any = None, elideFrameworkCode: int = 0) -> None:
        """Print the traceback in as few lines as possible."""
        self.printTraceback(file, elideFrameworkCode, detail="brief")

    def printDetailedTraceback(self, file: Any = None, elideFrameworkCode: int = 0) -> None:
        """Print the traceback with the variables of each frame."""
        self.printTraceback(file, elideFrameworkCode, detail="verbose")


register_failure_class(Failure)

#: Makes a Failure without state.
_new: Any = partial(copyreg.__newobj__, Failure)  # type: ignore[attr-defined]


def _safeReprVars(varsDictItems: Iterable[tuple[str, object]]) -> list[tuple[str, str]]:
    return [(name, safe_repr(value)) for name, value in varsDictItems]


#: Whether Failures start the debugger in debug mode.
DO_POST_MORTEM = True


def _debuginit(
    self: Failure,
    exc_value: Any = None,
    exc_type: Any = None,
    exc_tb: Any = None,
    captureVars: bool = False,
    Failure__init__: Callable[..., None] = Failure.__init__,
) -> None:
    """Initialise a Failure. If it is made of the current exception, start the debugger first."""
    if (exc_value, exc_type, exc_tb) == (None, None, None):
        current_type, current, tb = sys.exc_info()
        if DO_POST_MORTEM and current_type != self.__class__:
            try:
                text = str(current)
            except BaseException:
                text = "broken str"
            print(f"Jumping into debugger for post-mortem of exception '{text}':")
            import pdb

            pdb.post_mortem(tb)
    Failure__init__(self, exc_value, exc_type, exc_tb, captureVars)


def startDebugMode() -> None:
    """Make each Failure of a current exception start the debugger first."""
    Failure.__init__ = _debuginit  # type: ignore[assignment, method-assign]
