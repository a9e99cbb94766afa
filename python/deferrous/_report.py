"""Reports of unhandled failures.

If Twisted is in use in the process, reports go through `twisted.logger`, in Twisted's words.
Otherwise they go through `logging`, to the logger "deferrous", at level CRITICAL: each kind of
report has a constant message, and the exception is the record's `exc_info`. This is decided for
each report, except at interpreter shutdown, when the decision from its start is kept. If neither
works, the report is written to standard error.
"""

from __future__ import annotations

import atexit
import linecache as _linecache  # noqa: F401  (formatting needs it, at exit too)
import logging
import sys
import tokenize as _tokenize  # noqa: F401  (linecache needs it, at exit too)
import traceback
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from ._deferrous import takes_reports
from ._linked_errors import has_end, is_plain
from ._notes import notes_of
from .failure import Failure

__all__ = ["DebugInfo", "logError", "log_failure", "report_by"]

#: The methods that a call of `logger.critical` uses. Programs may replace them.
_STEPS = ("critical", "_log", "findCaller", "isEnabledFor", "makeRecord", "handle", "callHandlers")
_UNHANDLED = "Unhandled error in Deferred:"
#: The message of `logError`.
_LOGGED = "Error in Deferred:"


def _describe(failure: Any) -> str:
    """Return the traceback of a failure, or as much as can be formatted. Raises nothing."""
    try:
        return str(failure.getTraceback())
    except BaseException:
        pass
    # At exit, formatting may fail because modules are gone. This needs only builtins.
    lines = []
    try:
        tb = failure.tb
        while tb is not None:
            code = tb.tb_frame.f_code
            lines.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
            tb = tb.tb_next
    except BaseException:
        pass
    try:
        lines.append(f"{type(failure.value).__name__}: {failure.value}")
    except BaseException:
        lines.append(f"a {type(failure).__name__} that cannot be shown")
    return "\n".join(lines)


def _exc_info(failure: Any) -> tuple[Any, bool]:
    """Return the `exc_info` of a failure for `logging`, or None; and whether it shows everything.

    It does not if a subclass prints itself differently, if the failure was cleaned and has frames
    but no traceback, if it is not of an exception, or if the chain of exceptions does not end.
    """
    cls, value, tb = type(failure), failure.value, failure.tb
    if not isinstance(value, BaseException) or isinstance(value, Failure):
        return None, False
    if not is_plain(value) and not has_end(value):
        return None, False
    whole = (
        cls.getTraceback is Failure.getTraceback
        and cls.printTraceback is Failure.printTraceback
        and not (tb is None and failure.frames)
    )
    return (type(value), value, tb), whole


class _Reporter:
    """Reports failures, even when module globals are None.

    At interpreter exit, this module's globals may be cleared before the last Deferreds die. So the
    methods use no globals: all that they need is in the instance.
    """

    def __init__(self) -> None:
        self.sys: Any = sys
        self.logging: Any = logging
        #: Up to Python 3.10, formatting an exception omits its notes.
        self.lacks_notes = sys.version_info < (3, 11)
        self.notes_of = notes_of
        self.logger = logging.getLogger("deferrous")
        self.describe: Callable[[Any], str] = _describe
        self.exc_info = _exc_info
        self.format_error = traceback.format_exception
        self.logger_class: Any = logging.Logger
        self.null_handler = logging.NullHandler
        self.takes_reports = takes_reports
        #: The methods through which a logger makes a record. Programs may replace them.
        self.steps = _STEPS, itemgetter(*_STEPS)(vars(logging.Logger))
        code = _Reporter.to_logging.__code__
        self.place = code.co_filename, code.co_firstlineno
        self.unhandled_text = _UNHANDLED
        self.last_log: Any = None
        #: The namespace of `twisted.internet.defer`, if that is ours: programs replace its `log`.
        self.namespace: dict[str, Any] = {}
        atexit.register(self.twisted_log)

    def twisted_log(self) -> Any:
        """Return one of Twisted's loggers, or None if Twisted is not in use."""
        if self.sys.is_finalizing():
            # By now, `sys.modules` is being cleared.
            return self.last_log
        log = self.namespace.get("log")
        if log is not None:
            self.last_log = log
            return log
        module = self.sys.modules.get("twisted.logger")
        if module is None:
            self.last_log = None
            return None
        try:
            # The module may be half imported.
            self.last_log = module.Logger("twisted.internet.defer")
        except Exception:
            self.last_log = None
        return self.last_log

    def to_logging(self, message: str, failure: Any, debug: str = "") -> None:
        """Log a failure, if `logging` still works."""
        if getattr(self.logging, "_defaultFormatter", True) is None:
            raise RuntimeError("the module logging has been torn down")
        logger, level = self.logger, 50
        taken = self.takes_reports(logger, self.logger_class, self.steps, self.null_handler)
        if taken is False or not logger.isEnabledFor(level):
            return
        args: tuple[str, ...] = ()
        if self.lacks_notes:
            notes = self.notes_of(failure.value)
            if notes:
                message, args = f"{message}\n%s", ("\n".join(notes),)
        try:
            exc_info, whole = self.exc_info(failure)
            if exc_info is not None and self.sys.is_finalizing():
                # Formatting may need modules that are gone. Handlers would lose the report then.
                self.format_error(*exc_info)
        except BaseException:
            exc_info, whole = None, False
        if not whole:
            message, args = f"{message}\n%s", (*args, self.describe(failure).rstrip("\n"))
        if debug:
            message, args = f"{message}\n(debug: %s)", (*args, debug)
        if taken is not None and self.logging._srcfile is not None:
            # The work of `logger.critical`, without the search for the caller, which is known.
            logger.handle(
                logger.makeRecord(
                    logger.name, level, *self.place, message, args, exc_info, "to_logging"
                )
            )
        else:
            logger.critical(message, *args, exc_info=exc_info)

    def to_stderr(self, text: str) -> None:
        """Write a text to standard error, if possible. Raises nothing."""
        for name in ("stderr", "__stderr__"):
            try:
                stream: Any = getattr(self.sys, name)
                stream.write(text)
                stream.flush()
                return
            except BaseException:
                continue

    def unhandled(self, info: DebugInfo) -> None:
        """Report the failure that a DebugInfo holds. Raises nothing."""
        failure: Any = info.failResult
        tracebacks = ""
        try:
            # It may be anything, as programs can set attributes.
            tracebacks = info._getDebugTracebacks()
        except BaseException as error:
            tracebacks = f"no debug tracebacks: {type(error).__name__}\n"
        self.report(failure, tracebacks)

    def report(self, failure: Any, tracebacks: str = "") -> None:
        """Report an unhandled failure. Raises nothing."""
        try:
            log = self.twisted_log()
            if log is not None:
                log.critical(self.unhandled_text, isError=True)
                format = "(debug: {debugInfo})" if tracebacks else ""
                log.failure(format, failure, debugInfo=tracebacks)
                return
            self.to_logging(self.unhandled_text, failure, tracebacks)
        except BaseException as error:
            text = f"{self.unhandled_text}\n{self.describe(failure)}".rstrip("\n") + "\n"
            if tracebacks:
                text += f"(debug: {tracebacks})\n"
            if not self.sys.is_finalizing():
                try:
                    lines = self.format_error(type(error), error, error.__traceback__)
                    text += "which could not be logged:\n" + "".join(lines)
                except BaseException:
                    pass
            self.to_stderr(text)


_reporter = _Reporter()
#: Reports a failure without a DebugInfo.
report_unhandled = _reporter.report


def report_by(namespace: dict[str, Any]) -> None:
    """Report through the `log` in this namespace, as it is at the time."""
    _reporter.namespace = namespace


def log_failure(failure: Failure, message: str = "") -> None:
    """Log a Failure with a message."""
    log = _reporter.twisted_log()
    if log is not None:
        log.failure(message, failure)
        return
    _reporter.to_logging(message or _LOGGED, failure)


def logError(err: Failure) -> Failure:
    """Log a Failure and return it: an errback that lets failures pass.

    Arguments:

    - `err`: the Failure.

    It is logged with `twisted.logger` if the program has imported that, or else with `logging`.
    If nobody handles the failure afterwards, it is logged once more.

    ```python
    from deferrous import fail, logError

    d = fail(KeyError("name")).addErrback(logError)
    d.addErrback(lambda failure: print("handled"))
    ```

    This prints `handled`, after the log's own text.
    """
    log_failure(err)
    return err


class DebugInfo:
    """Reports the failure of a Deferred that nobody handled, when the Deferred dies.

    In debug mode, `creator` and `invoker` are the stacks in which the Deferred was made and
    first fired. Otherwise they are None.

    ```python
    from deferrous import DebugInfo

    print(DebugInfo().failResult)
    ```

    This prints `None`: there is nothing to report.
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

    # The default argument keeps it alive when the globals are gone.
    def __del__(self, _unhandled: Callable[[DebugInfo], None] = _reporter.unhandled) -> None:
        if self.failResult is not None:
            _unhandled(self)


#: The methods by which a DebugInfo reports, as defined here.
debug_info_methods = (DebugInfo.__del__, DebugInfo._getDebugTracebacks)
