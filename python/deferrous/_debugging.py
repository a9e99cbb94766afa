"""Debug mode: a class attribute, which Python reads and sets quickly."""

from __future__ import annotations

from ._deferrous import Deferred

__all__ = ["getDebugging", "setDebugging"]


def setDebugging(on: bool) -> None:
    """Turn debug mode on or off.

    In debug mode, Deferreds remember the stacks in which they are made and fired. The text of
    an AlreadyCalledError and reports of unhandled failures show them.

    Arguments:

    - `on`: whether debug mode is to be on.

    ```python
    from deferrous import getDebugging, setDebugging

    setDebugging(True)
    print(getDebugging())
    setDebugging(False)
    ```

    This prints `True`.
    """
    on = bool(on)
    # Setting an attribute of a class invalidates the interpreter's caches.
    try:
        if Deferred.debug is on:
            return
    except AttributeError:
        # A program has deleted it.
        pass
    Deferred.debug = on


def getDebugging() -> bool:
    """Return whether debug mode is on: see `setDebugging`.

    ```python
    from deferrous import getDebugging

    print(getDebugging())
    ```

    This prints `False`.
    """
    return Deferred.debug
