"""Failures that nobody handled, and where they are reported.

Where Twisted is in use in the process, reports go through `twisted.logger`, in Twisted's words;
elsewhere through `logging`, to the logger "deferrous", at level CRITICAL. Which of the two is
decided anew for each report.
"""

from __future__ import annotations

import linecache as _linecache  # noqa: F401  (formatting needs it, at exit too)
import logging
import sys
import tokenize as _tokenize  # noqa: F401  (linecache needs it, at exit too)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .failure import Failure

__all__ = ["DebugInfo", "logError", "log_failure"]

_logger = logging.getLogger("deferrous")


def _twisted_logger() -> Any:
    """Return a logger of Twisted's, or None where Twisted is not in use."""
    module = sys.modules.get("twisted.logger")
    try:
        # The module may be half-way through its import, or torn down at exit.
        return module.Logger("twisted.internet.defer")  # type: ignore[union-attr]
    except Exception:
        return None


def log_failure(failure: Failure, message: str = "") -> None:
    """Log a Failure, with a text in front of it."""
    log = _twisted_logger()
    if log is not None:
        log.failure(message, failure)
        return
    _logger.critical("%s", _described(message, failure))


def logError(err: Failure) -> Failure:
    """Log a Failure and return it: an errback that lets failures pass.

    A failure that ends with it is logged once more when its Deferred dies.
    """
    log_failure(err)
    return err


def _described(message: str, failure: Failure) -> str:
    try:
        traceback = failure.getTraceback()
    except Exception as error:
        # At exit, formatting may find that what it needs is gone.
        traceback = f"{failure!r} (its traceback cannot be shown: {error!r})"
    return "\n".join(part.rstrip("\n") for part in (message, traceback) if part)


class DebugInfo:
    """What a Deferred leaves behind: the failure it rests on, which is reported when this dies.

    `creator` and `invoker` are the stacks in which the Deferred was made and first fired, in
    debug mode; otherwise None.
    """

    failResult: Failure | None = None
    creator: list[str] | None = None
    invoker: list[str] | None = None

    def _getDebugTracebacks(self) -> str:
        text = ""
        for mark, title, stack in (
            ("C", "Deferred was created", self.creator),
            ("I", "First Invoker was", self.invoker),
        ):
            if stack is not None:
                lines = "".join(stack).rstrip().split("\n")
                text += f" {mark}: {title}:\n"
                text += "".join(f" {mark}:{line}\n" for line in lines)
        return text

    def __del__(self) -> None:
        if self.failResult is None:
            return
        failure, tracebacks = self.failResult, self._getDebugTracebacks()
        log = _twisted_logger()
        if log is not None:
            log.critical("Unhandled error in Deferred:", isError=True)
            log.failure(
                "(debug: {debugInfo})" if tracebacks else "",
                failure,
                debugInfo=tracebacks,
            )
            return
        text = _described("Unhandled error in Deferred:", failure)
        if tracebacks:
            text += f"\n(debug: {tracebacks})"
        _logger.critical("%s", text)
