"""What the module `traceback` shows with an exception: its cause or context, notes, groups."""

from __future__ import annotations

import builtins
import traceback
from typing import Any, NamedTuple

from ._deferrous import stands_alone

#: The most linked exceptions to follow.
_LINKED = 10_000


def has_end(error: BaseException) -> bool:
    """Return whether the chain of causes, contexts and members of an exception ends.

    A property `__cause__` or `__context__` may return a new exception each time, and functions that
    format tracebacks would never stop. They show the members of a group as often as they occur: in
    groups of groups that share members these can be too many, and a property `exceptions` may
    return the group itself.

    Errors: what `traceback` would raise, if one of the exceptions shows something made up.
    """
    rest: list[Any] = [error]
    members: list[Any] = []
    # Held here, so that none can get the address of another.
    seen: dict[int, object] = {}
    count, is_odd = 0, False
    while rest or members:
        if rest:
            each = rest.pop()
            if id(each) in seen:
                continue
        else:
            each = members.pop()
        if not isinstance(each, BaseException):
            continue
        seen[id(each)] = each
        count += 1
        if count > _LINKED:
            return False
        rest += (each.__cause__, each.__context__)
        if isinstance(each, _GROUP):
            members += each.exceptions
        is_odd = is_odd or _is_odd(each)
    if is_odd:
        shown: Any = traceback.TracebackException(type(error), error, None, compact=True)
        for _ in shown.format():
            pass
    return True


def _is_odd(error: BaseException) -> bool:
    """Return whether a program decides what `traceback` reads from an exception."""
    cls = type(error)
    return type(cls) is not type or any(
        each.__flags__ & _HEAP_TYPE and not _READ.isdisjoint(vars(each)) for each in cls.__mro__
    )


def is_plain(error: Any) -> bool:
    """Return whether `traceback` shows an exception alone, and reads only what Python made."""
    return type(type(error)) is type and stands_alone(error)


#: Set in `__flags__` of classes that are not built in.
_HEAP_TYPE = 1 << 9
#: What `traceback` reads, and what can replace that.
_READ = frozenset(
    "__cause__ __class__ __context__ __getattr__ __getattribute__ __notes__ __suppress_context__ "
    "__traceback__ exceptions".split()
)
#: The class of exception groups, since Python 3.11.
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
_CAUSE_TEXT = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT_TEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


class Around(NamedTuple):
    """What the module traceback shows with an exception."""

    #: Its cause or context, with those of that one and so on, and the connecting words.
    before: str = ""
    #: The place in the source that a SyntaxError is about.
    place: str = ""
    #: The message of a SyntaxError, without the position.
    text: str | None = None
    #: Its notes, and the members of a group.
    after: str = ""


NOTHING = Around()


def what_is_around(error: Any) -> Around:
    """Return what the module traceback shows with an exception."""
    if not has_end(error):
        return NOTHING
    shown: Any = traceback.TracebackException(type(error), error, None, compact=True)
    before = place = after = ""
    text = None
    if shown.__cause__ is not None:
        before = "".join(shown.__cause__.format()) + _CAUSE_TEXT
    elif shown.__context__ is not None and not shown.__suppress_context__:
        before = "".join(shown.__context__.format()) + _CONTEXT_TEXT
    if getattr(shown, "__notes__", None) is not None:
        with_notes = "".join(shown.format_exception_only())
        shown.__notes__ = None
        after = with_notes[len("".join(shown.format_exception_only())) :]
    if getattr(shown, "exceptions", None) is not None:
        lines = "".join(shown.format(chain=False)).splitlines(keepends=True)
        members = [i for i, line in enumerate(lines) if line.startswith("  +-+")]
        after += "".join(lines[members[0] :] if members else ())
    if isinstance(error, SyntaxError):
        *lines, last = shown.format_exception_only()
        place, text = "".join(lines), last.partition(": ")[2].removesuffix("\n")
    return Around(before, place, text, after)
