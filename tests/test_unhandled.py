"""Unhandled errors: when they are reported, and how."""

import gc

import pytest
from helpers import Recorder, caught, ignore, raiser, run_script
from twisted.logger import LogLevel, globalLogPublisher
from unhandled_helpers import AT_EXIT, creates, fires


def failing(defer, failure, error, how):
    """A Deferred that ends with an error, come to by different ways."""
    if how == "errback":
        d = defer.Deferred()
        d.errback(error)
    elif how == "fail":
        d = defer.fail(error)
    elif how == "failure":
        d = defer.fail(caught(failure, error))
    elif how == "callback raises":
        d = defer.succeed(None).addCallback(raiser(error))
    elif how == "errback raises":
        d = defer.fail(KeyError()).addErrback(raiser(error))
    elif how == "passes errback":
        d = defer.fail(error).addCallback(ignore).addErrback(lambda f: f)
    elif how == "chained":
        inner = defer.Deferred()
        d = defer.succeed(None).addCallback(lambda _: inner)
        inner.errback(error)
    elif how == "taken over":
        d = defer.succeed(None).addCallback(lambda _: defer.fail(error))
    elif how == "callback given a failure":
        d = defer.Deferred()
        d.callback(failure.Failure(error))
    elif how == "subclass":
        d = type("Sub", (defer.Deferred,), {})()
        d.errback(error)
    return d


WAYS = [
    "errback",
    "fail",
    "failure",
    "callback raises",
    "errback raises",
    "passes errback",
    "chained",
    "taken over",
    "callback given a failure",
    "subclass",
]


@pytest.mark.parametrize("how", WAYS)
def test_reported_when_it_dies(defer, failure, reports, how):
    """At once, unless its exception is in a cycle of its own."""
    gc.disable()
    try:
        d = failing(defer, failure, ValueError("why"), how)
        assert reports.events == []
        raised = how not in ("errback", "fail", "subclass", "callback given a failure")
        del d
        # A raised exception is in a cycle with the frame that raised it.
        assert raised or len(reports.events) == 2
    finally:
        gc.enable()
    [f] = reports.failures()
    assert str(f.value) == "why"
    assert reports.headings() == 1


def test_words_of_a_report(defer, failure, reports):
    f = failure.Failure(ValueError("why"))
    defer.fail(f)
    heading, event = reports.events
    assert heading["log_format"] == "Unhandled error in Deferred:"
    assert heading["isError"] is True
    assert heading["log_level"] is event["log_level"] is LogLevel.critical
    assert event["log_failure"] is f
    assert (event["log_format"], event["debugInfo"]) == ("", "")


def test_words_of_a_report_in_debug_mode(defer, reports, debugging):
    d = creates(defer)
    fires(d, "errback", ValueError())
    del d
    _, event = reports.events
    assert event["log_format"] == "(debug: {debugInfo})"
    info = event["debugInfo"]
    assert info.startswith(" C: Deferred was created:\n C:  File ")
    assert " I: First Invoker was:\n I:  File " in info
    assert info.endswith("\n")
    assert "in creates" in info and "in fires" in info


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "handle",
    [
        lambda d: d.addErrback(ignore),
        lambda d: d.addBoth(ignore),
        lambda d: d.addCallbacks(ignore, ignore),
    ],
    ids=["addErrback", "addBoth", "addCallbacks"],
)
def test_handled_is_not_reported(defer, failure, reports, how, handle):
    d = failing(defer, failure, ValueError(), how)
    handle(d)
    del d
    assert reports.failures() == []


def test_handled_and_failed_again(defer, reports):
    second = KeyError()
    d = defer.fail(ValueError()).addErrback(ignore).addCallback(raiser(second))
    del d, second
    assert [type(value) for value in reports.values()] == [KeyError]


def test_taken_over_failures_are_the_takers(defer, reports):
    """A Deferred whose failure another one took reports nothing."""
    taken = [defer.Deferred(), defer.fail(KeyError())]
    outer = defer.succeed(None).addCallback(lambda _: taken[0])
    taken[0].errback(ValueError())
    other = defer.succeed(None).addCallback(lambda _: taken[1])
    taken.clear()
    assert reports.failures() == []
    outer.addErrback(ignore)
    other.addErrback(ignore)


def test_chain_deferred_hands_failures_on(defer, reports):
    source, target = defer.Deferred(), defer.Deferred()
    source.chainDeferred(target)
    source.errback(ValueError())
    del source
    assert reports.failures() == []
    target.addErrback(ignore)


def test_two_report_the_same_failure(defer, failure, reports):
    f = failure.Failure(ValueError())
    for _ in range(2):
        defer.fail(f)
    assert reports.failures() == [f, f]


def test_fired_with_an_error_while_paused(defer, reports):
    """As in Twisted, only a Deferred that ran its callbacks knows of its error."""
    d = defer.Deferred()
    d.pause()
    d.errback(ValueError())
    del d
    assert reports.failures() == []


def test_cancelled_is_reported_too(defer, reports):
    defer.Deferred().cancel()
    assert [type(value) for value in reports.values()] == [defer.CancelledError]


def test_reported_from_a_cycle(defer, reports):
    gc.collect()
    gc.disable()
    try:
        d = defer.fail(ValueError("in a cycle"))
        d.me = d
        del d
        assert reports.events == []
    finally:
        gc.enable()
    [value] = reports.values()
    assert str(value) == "in a cycle"


def test_reported_from_a_cycle_through_callbacks(defer, reports):
    """A callback's arguments and what a paused Deferred holds are edges, too."""
    d = defer.fail(ValueError("in a cycle"))
    d.pause()
    d.addCallback(ignore, d, key=d)
    # Its canceller, a bound method, leads back.
    d.other = defer.Deferred(d.chainDeferred)
    del d
    [value] = reports.values()
    assert str(value) == "in a cycle"


def test_reported_during_a_callback(defer, reports):
    """One that dies inside another's callback disturbs nothing."""
    d = defer.succeed(1).addCallback(lambda r: defer.fail(ValueError()) and r + 1)
    assert d.result == 2
    assert len(reports.failures()) == 1


def test_reporting_keeps_the_exception_being_handled(defer, reports):
    try:
        raise KeyError("outer")
    except KeyError as error:
        defer.fail(ValueError())
        assert error.args == ("outer",)
        with pytest.raises(KeyError) as again:
            raise
        assert again.value is error
    assert len(reports.failures()) == 1


def test_observer_that_raises_does_no_harm(defer):
    def observer(event):
        raise RuntimeError("broken observer")

    globalLogPublisher.addObserver(observer)
    try:
        defer.fail(ValueError())
    finally:
        globalLogPublisher.removeObserver(observer)


def test_debug_info_is_looked_up_when_used(defer, reports, monkeypatch):
    """testtools puts a class of its own in its place."""
    made = []

    class Own(defer.DebugInfo):
        def __init__(self):
            super().__init__()
            made.append(self)

        def __del__(self):
            """Report nothing."""

    monkeypatch.setattr(defer, "DebugInfo", Own)
    d = defer.fail(ValueError())
    [info] = made
    assert info.failResult is d.result
    d.addErrback(ignore)
    assert info.failResult is None
    defer.fail(ValueError())
    assert reports.failures() == []


def test_debug_info_without_finalizer(defer, reports, monkeypatch):
    """Deluge deletes it so that nothing is reported."""
    monkeypatch.delattr(defer.DebugInfo, "__del__")
    defer.fail(ValueError())
    assert reports.failures() == []


def test_debug_info_by_itself(defer, failure, reports):
    info = defer.DebugInfo()
    assert (info.failResult, info.creator, info.invoker) == (None, None, None)
    del info
    assert reports.events == []
    info = defer.DebugInfo()
    info.failResult = failure.Failure(ValueError())
    info.creator = ["line 1\n", "line 2\n"]
    info.invoker = ["line 3\n"]
    expected = (
        " C: Deferred was created:\n C:line 1\n C:line 2\n I: First Invoker was:\n I:line 3\n"
    )
    del info
    assert len(reports.failures()) == 1
    assert reports.events[-1]["debugInfo"] == expected


def test_reports_recorder_sees_no_success(defer, reports):
    recorder = Recorder()
    defer.succeed(1).addCallback(recorder)
    defer.Deferred()
    assert reports.events == [] and recorder.calls == [1]


def test_reported_at_exit(implementation):
    """Twisted's own logging shows criticals on stderr if nobody asked otherwise."""
    script = AT_EXIT
    if implementation == "deferrous":
        script = "    import twisted.logger\n" + script
    done = run_script(implementation, script)
    assert done.stdout == "end of script\n"
    assert done.stderr.count("Unhandled error in Deferred:") == 3
    # The third has frames; on 3.13 it is too late to import what shows them.
    for words in ("held by a global", "held by a cycle"):
        assert words in done.stderr


def test_exit_without_errors_is_silent(implementation):
    script = """
        d = defer.Deferred()
        held = defer.succeed(1)
        handled = defer.fail(ValueError()).addErrback(lambda f: None)
        waiting = defer.ensureDeferred(d)
        paused = defer.succeed(None).addCallback(lambda _: d)
    """
    done = run_script(implementation, script)
    assert (done.stdout, done.stderr) == ("", "")
