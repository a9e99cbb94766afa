"""Debug mode, and the reports of errors that nobody handled."""

import gc
import textwrap

import pytest
from helpers import Recorder, caught, ignore, outcome, raiser, run_script
from twisted.logger import LogLevel, globalLogPublisher

# --- switching -------------------------------------------------------------


@pytest.mark.parametrize("on", [True, 1, "yes", False, 0, None, ""], ids=repr)
def test_set_debugging(defer, on):
    try:
        defer.setDebugging(on)
        assert defer.getDebugging() is defer.Deferred.debug is bool(on)
    finally:
        defer.setDebugging(False)
    assert defer.getDebugging() is False


def test_class_attribute_is_the_switch(defer, monkeypatch):
    monkeypatch.setattr(defer.Deferred, "debug", True)
    assert defer.getDebugging() is True
    assert "Deferred was created" in str(already_called(defer, defer.Deferred()))


def already_called(defer, d):
    """The error that firing twice raises."""
    d.callback(1)
    with pytest.raises(defer.AlreadyCalledError) as raised:
        d.callback(2)
    return raised.value


def test_set_on_a_subclass(defer):
    class Debugged(defer.Deferred):
        debug = True

    assert "Deferred was created" in str(already_called(defer, Debugged()))
    assert str(already_called(defer, defer.Deferred())) == ""


def test_set_on_an_instance(defer):
    """Then only how it was fired is known."""
    d = defer.Deferred()
    d.debug = True
    text = str(already_called(defer, d))
    assert "First Invoker was" in text
    assert "Deferred was created" not in text


# --- stacks ----------------------------------------------------------------


def creates(defer):
    return defer.Deferred()


def fires(d, method, value):
    getattr(d, method)(value)


@pytest.mark.parametrize("second", ["callback", "errback"])
@pytest.mark.parametrize("first", ["callback", "errback"])
def test_already_called_shows_both_stacks(defer, debugging, first, second):
    d = creates(defer).addErrback(ignore)
    fires(d, first, ValueError())
    with pytest.raises(defer.AlreadyCalledError) as raised:
        fires(d, second, ValueError())
    [text] = raised.value.args
    created, invoked = text.split(" I: First Invoker was:\n")
    assert created.startswith("\n C: Deferred was created:\n C:  File ")
    lines = created.strip("\n").splitlines()
    assert all(line.startswith(" C:") for line in lines)
    assert all(line.startswith(" I:") for line in invoked.strip("\n").splitlines())
    assert text.endswith("\n")
    # Innermost last, and nothing of the implementation's at the end.
    assert f'File "{__file__}"' in lines[-2] and lines[-2].endswith("in creates")
    assert "return defer.Deferred()" in lines[-1]
    place = [line for line in invoked.splitlines() if "File" in line]
    assert f'File "{__file__}"' in place[-1] and place[-1].endswith("in fires")


def test_stack_of_a_subclass_ends_at_its_constructor(defer, debugging):
    class Sub(defer.Deferred):
        def __init__(self):
            super().__init__()

    text = str(already_called(defer, Sub()))
    created = text.split(" I: ")[0].splitlines()
    assert created[-2].endswith("in __init__")


def test_created_before_debugging(defer):
    d = defer.Deferred()
    defer.setDebugging(True)
    try:
        text = str(already_called(defer, d))
    finally:
        defer.setDebugging(False)
    assert text.startswith("\n I: First Invoker was:\n")
    assert "Deferred was created" not in text


def test_debugging_switched_off_before_the_error(defer):
    defer.setDebugging(True)
    d = defer.Deferred()
    defer.setDebugging(False)
    assert str(already_called(defer, d)) == ""


def test_failures_capture_variables_in_debug_mode(defer, debugging):
    def fails(_):
        local = "to be seen"
        raise ValueError(local)

    def forms():
        yield defer.succeed(None).addCallback(fails)
        yield defer.maybeDeferred(fails, None)
        d = defer.Deferred()
        try:
            fails(None)
        except ValueError:
            d.errback()
        yield d

    for d in forms():
        f = d.result
        assert f.captureVars is True
        assert ("local", "to be seen") in f.frames[-1][3]
        d.addErrback(ignore)


def test_failures_capture_nothing_otherwise(defer):
    d = defer.succeed(None).addCallback(raiser(ValueError()))
    assert d.result.captureVars is False
    d.addErrback(ignore)


# --- reports ---------------------------------------------------------------


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


# --- DebugInfo -------------------------------------------------------------


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


# --- at interpreter exit ---------------------------------------------------

AT_EXIT = """
    plain = defer.fail(ValueError("held by a global"))
    cycle = defer.fail(KeyError("held by a cycle"))
    cycle.me = cycle

    class Holder:
        pass

    holder = Holder()
    holder.d = defer.succeed(None).addCallback(lambda _: {}["missing"])
    print("end of script")
"""


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


# --- without Twisted -------------------------------------------------------

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
