"""Fixtures: every test here runs on Twisted, the oracle, and on deferrous.

With DEFERROUS_ORACLE_ONLY=1 in the environment only the oracle's half is run,
which shows that the tests themselves are right.
"""

import gc
import importlib
import os
import re
import sys

import pytest
from helpers import IMPLEMENTATIONS
from twisted.logger import LogLevel, globalLogPublisher

# For the tests of our own plugin for pytest.
pytest_plugins = ["pytester"]

ORACLE_ONLY = os.environ.get("DEFERROUS_ORACLE_ONLY", "") not in ("", "0")


def _load():
    """Import both implementations; an error is kept for the tests to show."""
    loaded = {}
    for name, modules in IMPLEMENTATIONS.items():
        try:
            loaded[name] = tuple(map(importlib.import_module, modules))
        except ImportError as error:
            loaded[name] = error
    return loaded


LOADED = {} if ORACLE_ONLY else _load()
if ORACLE_ONLY:
    LOADED["twisted"] = tuple(map(importlib.import_module, IMPLEMENTATIONS["twisted"]))


def pytest_configure(config):
    config.addinivalue_line("markers", "deferrous_only: beyond what Twisted can do; no oracle")
    config.addinivalue_line(
        "markers",
        "same_everywhere: depends on no version of Python; `make test-version` leaves it out",
    )


def pytest_collection_modifyitems(config, items):
    """Deselect what needs deferrous when only the oracle is asked for."""
    for item in items:
        if re.search(" at 0x[0-9a-f]", item.nodeid):
            # The processes of a parallel run have to find the same tests.
            raise pytest.UsageError(f"an address is in the name of {item.nodeid}: ids=shown")
    if not ORACLE_ONLY:
        return
    kept, dropped = [], []
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        ours = (
            parameters.get("implementation") == "deferrous"
            or item.get_closest_marker("deferrous_only") is not None
        )
        (dropped if ours else kept).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def _modules(name):
    loaded = LOADED[name]
    if isinstance(loaded, ImportError):
        message = f"{name} cannot be imported (is it built?): {loaded}"
        raise RuntimeError(message) from loaded
    return loaded


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request):
    """The name of the implementation under test; an error if it is not there."""
    _modules(request.param)
    return request.param


@pytest.fixture
def defer(implementation):
    """The module of Deferreds under test."""
    return _modules(implementation)[0]


@pytest.fixture
def failure(implementation):
    """The module of Failure under test."""
    return _modules(implementation)[1]


class Reports:
    """Events of Twisted's log, collected while a test runs."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def failures(self):
        """The failures reported so far, also those that wait for a collection."""
        gc.collect()
        return [e["log_failure"] for e in self.events if "log_failure" in e]

    def values(self):
        """The exceptions in them."""
        return [f.value for f in self.failures()]

    def headings(self):
        """How often the line that announces an unhandled error was logged."""
        gc.collect()
        return sum(e.get("log_format") == "Unhandled error in Deferred:" for e in self.events)


def forget_earlier_tests():
    """Have all that earlier tests left die now: what it reports is not the next test's affair."""
    # The interpreter keeps an error that a test ended by, with all that its functions held.
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    # What dies can report an error, and leave another cycle.
    for _ in range(5):
        # Twisted keeps the last 200 events, and the errors in them, for whoever begins to log.
        for _ in range(200):
            globalLogPublisher({"log_level": LogLevel.debug})
        if not gc.collect():
            break


@pytest.fixture
def reports():
    """Unhandled errors, which both report through twisted.logger if it is there."""
    forget_earlier_tests()
    observer = Reports()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def debugging(defer):
    """Debug mode, for one test."""
    defer.setDebugging(True)
    yield
    defer.setDebugging(False)
