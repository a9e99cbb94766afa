"""A pytest plugin: unhandled errors fail tests, and tests may be asynchronous.

It must be turned on: for all tests by the option `--deferrous` or the setting `deferrous = true`,
for some by the marker `deferrous`. See docs/testing.md.

The hook wrappers are of the older kind, which every version of pluggy supports: installing this
package must not break anybody's pytest.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Generator, Iterator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from . import _report
from ._call_graph import describe
from ._waiting import deferred_types
from .testing import as_deferred, format_failure, is_failure

if TYPE_CHECKING:
    from .failure import Failure

__all__ = ["flush_deferred_errors"]

_HOOKS = "deferrous-hooks"
#: Tests with these markers are run by the plugins that define the markers.
_MARKERS_OF_OTHERS = ("anyio", "asyncio", "trio")

#: The logger for unhandled errors if Twisted is not in use.
_LOGGER = logging.getLogger("deferrous")

_Wrapper = Generator[None, Any, None]


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "fail tests for unhandled errors in Deferreds, and run asynchronous tests"
    parser.getgroup("deferrous").addoption(
        "--deferrous", action="store_true", default=False, help=help_
    )
    parser.addini("deferrous", help_, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "deferrous: fail the test for unhandled errors in Deferreds; run it if it is asynchronous",
    )
    if config.getoption("deferrous") or config.getini("deferrous"):
        config.pluginmanager.register(_Hooks(everywhere=True), _HOOKS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.has_plugin(_HOOKS):
        return
    if any(item.get_closest_marker("deferrous") for item in items):
        config.pluginmanager.register(_Hooks(everywhere=False), _HOOKS)


@pytest.fixture
def flush_deferred_errors(request: pytest.FixtureRequest) -> Callable[..., list[Failure]]:
    """A function that returns the unhandled errors in Deferreds so far, and forgets them.

    It returns a list of Failures, optionally only those of the given types. They no longer fail the
    test. It collects garbage first.
    """
    hooks = request.config.pluginmanager.get_plugin(_HOOKS)
    if hooks is None or not hooks.cares_for(request.node):
        pytest.fail(
            "flush_deferred_errors has nothing to flush: this test runs without --deferrous, "
            "and is not marked with pytest.mark.deferrous",
            pytrace=False,
        )
    flush: Callable[..., list[Failure]] = hooks.errors.flush
    return flush


def _unhandled(tracebacks: list[str]) -> BaseException:
    """Return the exception that fails a test. It holds only the text."""
    count = len(tracebacks)
    title = (
        "Unhandled error in a Deferred" if count == 1 else f"{count} unhandled errors in Deferreds"
    )
    return pytest.fail.Exception("\n\n".join([f"{title}:", *tracebacks]), pytrace=False)


class _Errors:
    """Listens to the unhandled errors that DebugInfo reports. They are still reported as usual.

    Twisted's own DebugInfo is included, if Twisted is in use as well.
    """

    def __init__(self) -> None:
        self._caught: list[tuple[Any, str]] = []
        self._listening: list[tuple[type[Any], Any, Any]] = []
        self._records: list[logging.LogRecord] = []

    def listen(self) -> None:
        """Start listening. Call it again when Twisted has been imported."""
        theirs = getattr(sys.modules.get("twisted.internet.defer"), "DebugInfo", None)
        for cls in (_report.DebugInfo, theirs):
            known = any(each is cls for each, _, _ in self._listening)
            if cls is not None and not known and "__del__" in vars(cls):
                original, ours = cls.__del__, self._noting(cls.__del__)
                setattr(cls, "__del__", ours)  # noqa: B010  (of a class that mypy knows)
                self._listening.append((cls, original, ours))
        _LOGGER.addFilter(self._note_record)

    def stop(self) -> None:
        """Stop listening, and forget the errors."""
        for cls, original, ours in self._listening:
            if vars(cls).get("__del__") is ours:
                setattr(cls, "__del__", original)  # noqa: B010
        self._listening.clear()
        _LOGGER.removeFilter(self._note_record)
        self._strip_records()
        self._caught.clear()

    def _noting(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        caught = self._caught

        def __del__(debug_info: Any) -> None:
            if debug_info.failResult is not None:
                caught.append((debug_info.failResult, _debug_tracebacks(debug_info)))
            original(debug_info)

        return __del__

    def _note_record(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            self._records.append(record)
        return True

    def _strip_records(self) -> None:
        """Replace the errors in log records by their text.

        pytest keeps the records of a test until the next one, and they would keep alive everything
        in the frames of the tracebacks.
        """
        for record in self._records:
            if record.exc_info and not record.exc_text:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        self._records.clear()

    def take(self) -> list[str]:
        """Return the errors so far, as text, and drop them.

        They may have kept more Deferreds alive, whose errors are included.
        """
        texts: list[str] = []
        self._strip_records()
        self._collect()
        while self._caught:
            texts += [_describe_error(failure, debug) for failure, debug in self._drain()]
            self._strip_records()
            self._collect()
        return texts

    def flush(self, *types: type[BaseException]) -> list[Failure]:
        """The body of `flush_deferred_errors`."""
        self._collect()
        flushed: list[Failure] = []
        kept: list[tuple[Any, str]] = []
        for failure, debug in self._drain():
            if not types or failure.check(*types):
                flushed.append(failure)
            else:
                kept.append((failure, debug))
        self._caught += kept
        return flushed

    def _drain(self) -> Iterator[tuple[Any, str]]:
        # One by one: any line here may start a garbage collection, which may add more.
        while self._caught:
            yield self._caught.pop(0)

    def _collect(self) -> None:
        self.listen()
        gc.collect()


def _debug_tracebacks(debug_info: Any) -> str:
    try:
        return str(debug_info._getDebugTracebacks())
    except Exception:
        # Its attributes may be anything.
        return ""


def _describe_error(failure: Any, debug: str) -> str:
    text = format_failure(failure)
    return f"{text}\n{debug.rstrip()}" if debug else text


class _Hooks:
    """The hooks that run once a test has asked for them."""

    def __init__(self, everywhere: bool) -> None:
        self.errors = _Errors()
        self._everywhere = everywhere
        # Whether garbage of earlier tests has been collected.
        self._clean = False
        # The errors of the phase that has just ended, until they are in a report.
        self._found: BaseException | None = None

    def cares_for(self, item: pytest.Item) -> bool:
        """Return whether a test has turned this plugin on."""
        return self._everywhere or item.get_closest_marker("deferrous") is not None

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> _Wrapper:
        if not self.cares_for(item):
            self._clean = False
            yield
            return
        if not self._clean:
            # Errors of other tests are not this one's fault. They are reported as usual.
            _forget_last_exception()
            gc.collect()
        self.errors.listen()
        yield
        self.errors.stop()
        self._clean = True

    # These three are the innermost wrappers, so that logs and output are captured meanwhile.

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> _Wrapper:
        outcome = yield
        if self.cares_for(item) and getattr(item, "fixturenames", True):
            self._judge(outcome)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> _Wrapper:
        outcome = yield
        if self.cares_for(item):
            self._judge(outcome)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> _Wrapper:
        if not self.cares_for(item):
            yield
            return
        # pytest keeps a failed test alive, for debuggers, until the next one is called. By then,
        # errors of what dies with it would be attributed to the next one.
        held: list[str] = []
        if nextitem is not None and _forget_last_exception():
            held = self.errors.take()
        outcome = yield
        may_have_run = (
            getattr(item, "fixturenames", True)
            or nextitem is None
            or nextitem.parent is not item.parent
        )
        if may_have_run:
            self._judge(outcome)
        if held and self._found is None:
            # The test has failed already. This is added to its report, and does not fail anything.
            self._found = _unhandled(held)

    def _judge(self, outcome: Any) -> None:
        """Fail a phase because of unhandled errors, unless it has failed already."""
        tracebacks = self.errors.take()
        if tracebacks:
            self._found = _unhandled(tracebacks)
            if outcome.excinfo is None:
                outcome.force_exception(self._found)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> _Wrapper:
        outcome = yield
        found, self._found = self._found, None
        if found is None or (call.excinfo is not None and call.excinfo.value is found):
            return
        # The report is about another failure. This is added to it.
        title = f"Unhandled errors in Deferreds ({call.when})"
        outcome.get_result().sections.append((title, str(found)))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> _Wrapper:
        if not self.cares_for(pyfuncitem) or _is_run_by_others(pyfuncitem):
            yield
            return
        function = pyfuncitem.obj
        # Hypothesis calls its function many times, and each call must be complete when it returns.
        hypothesis = getattr(function, "hypothesis", None)
        if hypothesis is not None:
            inner = hypothesis.inner_test
            hypothesis.inner_test = _synchronous(inner)
            yield
            hypothesis.inner_test = inner
        else:
            pyfuncitem.obj = _synchronous(function)
            yield
            pyfuncitem.obj = function


def _forget_last_exception() -> bool:
    """Drop the exception that pytest keeps for debuggers. Returns whether there was one."""
    names = ("last_type", "last_value", "last_traceback", "last_exc")
    there = [name for name in names if name in vars(sys)]
    for name in there:
        delattr(sys, name)
    return bool(there)


def _is_run_by_others(item: pytest.Function) -> bool:
    """Return whether another plugin runs the event loop for a test."""
    return (
        any(item.get_closest_marker(name) for name in _MARKERS_OF_OTHERS)
        or "anyio_backend" in item.fixturenames
        # pytest-twisted, which runs every test in its reactor.
        or item.config.pluginmanager.has_plugin("twisted")
    )


def _synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `function`, and accepts only results that are there already."""

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = function(*args, **kwargs)
        if isinstance(result, (CoroutineType, *deferred_types())):
            return _finish(result)
        # pytest complains about tests that return something.
        return result

    return call


def _finish(eventual: Any) -> None:
    """Take the result of a test. Raises its error, or fails if there is no result."""
    __tracebackhide__ = True
    deferred = as_deferred(eventual)
    results: list[Any] = []
    deferred.addBoth(results.append)
    if not results:
        _give_up(deferred, results)
    if not is_failure(results[0]):
        return
    value, traceback = results[0].value, results[0].tb
    try:
        if isinstance(value, BaseException):
            raise value.with_traceback(traceback)
        results[0].raiseException()
    finally:
        # This frame will be in the traceback, and must not refer to it.
        results.clear()
        del value, traceback


def _give_up(deferred: Any, results: list[Any]) -> NoReturn:
    """Fail because a Deferred has no result, and cancel it. Its result is appended to a list."""
    text = (
        "The test has no result, and waits for something that will not happen by itself:\n"
        f"{describe(deferred)}"
    )
    deferred.cancel()
    if not results:
        text += f"\n\nIt was cancelled, and goes on waiting:\n{describe(deferred)}"
    elif is_failure(results[0]) and type(results[0].value).__name__ != "CancelledError":
        text += f"\n\nIt was cancelled, and failed:\n\n{format_failure(results[0])}"
    pytest.fail(text, pytrace=False)
