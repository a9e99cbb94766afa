"""Unhandled errors in processes without Twisted."""

import textwrap

import pytest
from helpers import outcome, run_script
from unhandled_helpers import AT_EXIT

deferrous_only = pytest.mark.deferrous_only

ALONE = """
    import logging, sys

    class Keep(logging.Handler):
        def emit(self, record):
            records.append((record.name, record.levelname, self.format(record)))

    records = []
    handler = Keep()
    logging.getLogger("deferrous").addHandler(handler)

    def fails(_):
        raise ValueError("nobody cares")
"""


def run_alone(script):
    """Run a script with deferrous; see that it did not bring Twisted in."""
    body = textwrap.dedent(ALONE) + textwrap.dedent(script)
    unless = "assert not any(m.split('.')[0] == 'twisted' for m in sys.modules)\n"
    return run_script("deferrous", body + unless)


@deferrous_only
@pytest.mark.parametrize("cycle", [False, True])
def test_reported_through_logging(cycle):
    run_alone(
        f"""
        import gc
        d = defer.succeed(None).addCallback(fails)
        if {cycle}:
            d.me = d
        assert records == []
        del d
        gc.collect()
        [(name, level, text)] = records
        assert (name, level) == ("deferrous", "CRITICAL"), records
        assert "Unhandled error in Deferred" in text, text
        assert "Traceback (most recent call last):" in text, text
        assert "in fails" in text and text.count("nobody cares") >= 1, text
        """
    )


@deferrous_only
def test_handled_is_not_logged():
    run_alone(
        """
        defer.succeed(None).addCallback(fails).addErrback(lambda f: None)
        assert records == []
        """
    )


@deferrous_only
def test_log_error_through_logging():
    run_alone(
        """
        f = failure.Failure(ValueError("why"))
        assert defer.logError(f) is f
        [(name, level, text)] = records
        assert (name, level) == ("deferrous", "CRITICAL"), records
        assert "ValueError: why" in text
        """
    )


@deferrous_only
def test_debug_stacks_through_logging():
    run_alone(
        """
        defer.setDebugging(True)
        def creates():
            return defer.Deferred()
        d = creates()
        d.errback(ValueError("why"))
        del d
        text = "".join(text for _, _, text in records)
        assert "C: Deferred was created:" in text, text
        assert "in creates" in text, text
        assert "I: First Invoker was:" in text, text
        """
    )


@deferrous_only
def test_logging_at_exit():
    """With no handler at all, logging's last resort writes to stderr."""
    done = run_script("deferrous", AT_EXIT)
    assert done.stdout == "end of script\n"
    for words in ("held by a global", "held by a cycle", "KeyError: 'missing'"):
        assert words in done.stderr


@deferrous_only
def test_goes_to_twisted_once_that_is_there():
    """The choice is made for each report, not when deferrous is imported."""
    run_script(
        "deferrous",
        textwrap.dedent(ALONE)
        + textwrap.dedent(
            """
            defer.fail(ValueError(1))
            assert len(records) == 1, records
            from twisted.logger import globalLogPublisher
            events = []
            globalLogPublisher.addObserver(events.append)
            defer.fail(ValueError(2))
            assert len(records) == 1, records
            heading, event = events
            assert heading["log_format"] == "Unhandled error in Deferred:"
            assert event["log_failure"].value.args == (2,)
            """
        ),
    )


@deferrous_only
def test_importing_brings_no_twisted():
    run_alone("")


@pytest.mark.parametrize("kind", ["plain", "subclass", "with __del__", "list", "list subclass"])
def test_report_from_a_cycle_before_it_is_taken_apart(defer, reports, kind):
    """The exception is part of the cycle, and must be whole when it is reported."""
    deaths = []

    class Sub(defer.Deferred):
        pass

    class Dying(Sub):
        def __del__(self):
            deaths.append(kind)

    class SubList(defer.DeferredList):
        pass

    make = {
        "plain": defer.Deferred,
        "subclass": Sub,
        "with __del__": Dying,
        "list": lambda: defer.DeferredList([defer.Deferred()]),
        "list subclass": lambda: SubList([defer.Deferred()]),
    }[kind]
    d = make()
    error = ValueError("whole")
    error.deferred = d
    d.errback(error)
    del d, error
    assert [str(value) for value in reports.values()] == ["whole"]
    assert deaths == (["with __del__"] if kind == "with __del__" else [])


def test_failure_of_a_cycle_that_is_being_taken_apart(implementation):
    """A Deferred fails when the collector has begun: its exception may have lost its text."""
    if implementation == "twisted":
        pytest.skip("Twisted does not report through logging")
    done = run_script(
        implementation,
        """
        import gc, logging
        texts = []
        class Handler(logging.Handler):
            def emit(self, record):
                texts.append(self.format(record))
        logging.getLogger("deferrous").addHandler(Handler())
        logging.getLogger("deferrous").propagate = False

        class Late:
            def __del__(self):
                self.deferred.errback(self.error)

        for _ in range(200):
            late = Late()
            late.deferred = defer.Deferred()
            late.error = ValueError("text")
            late.deferred.owner = late.error.owner = late
            late.error.deferred = late.deferred
            del late
            gc.collect()
        print(len(texts), all("ValueError" in text for text in texts))
        """,
    )
    assert done.stdout == "200 True\n"


def test_replaced_failure_is_reported(defer, reports):
    """What is set by hand does not make up for a failure."""
    d = defer.fail(ValueError("first"))
    d.result = None
    del d
    assert [str(value) for value in reports.values()] == ["first"]


def test_failure_given_as_a_result_is_not_watched(defer, failure, reports):
    defer.succeed(failure.Failure(ValueError("as a result")))
    assert reports.values() == []


def test_abandoned_failure_is_reported(defer, reports):
    """A waiter gets a second outcome while it is paused: the first is what is reported."""
    inner = defer.Deferred()
    outer = defer.succeed(None).addCallback(lambda _, inner=inner: inner)
    outer.unpause()
    outer.addCallback(lambda result: result)
    inner.errback(ValueError("abandoned"))
    del inner, outer
    assert [str(value) for value in reports.values()] == ["abandoned"]


@pytest.mark.parametrize("given", [(), (None,)])
def test_fail_of_what_is_handled_captures_variables(defer, debugging, given):
    try:
        raise ValueError
    except ValueError:
        d = defer.fail(*given)
    [failure] = outcome(d)
    assert failure.captureVars
