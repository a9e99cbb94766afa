"""The report of an unhandled error: its message, its exception, and its destination."""

import pytest
from report_helpers import run

pytestmark = pytest.mark.deferrous_only


def test_the_message_is_the_same_and_the_exception_is_there():
    run(
        """
        for function in FUNCTIONS:
            lose(function)
        assert len(records) == len(FUNCTIONS)
        assert {record.getMessage() for record in records} == {"Unhandled error in Deferred:"}
        assert {record.msg for record in records} == {"Unhandled error in Deferred:"}
        assert {(each.name, each.levelname) for each in records} == {("deferrous", "CRITICAL")}
        for function, record, text in zip(FUNCTIONS, records, texts):
            cls, value, tb = record.exc_info
            assert type(value) is cls and isinstance(value, (ValueError, Exception))
            names = [frame.name for frame in traceback.extract_tb(tb)]
            assert names[-1] == function.__name__, names
            assert "".join(traceback.format_exception(cls, value, tb)).rstrip("\\n") in text
            assert text.startswith("Unhandled error in Deferred:\\nTraceback") or function is group
        assert isinstance(records[0].exc_info[1].__cause__, KeyError)
        """
    )


def test_log_error_and_cancellers():
    run(
        """
        _, f = caught(with_cause)
        assert defer.logError(f) is f
        assert records[0].getMessage() == "Error in Deferred:"
        assert records[0].exc_info == (f.type, f.value, f.tb)

        def cancel(_):
            raise ValueError("canceller")

        def nothing(_):
            pass

        defer.DeferredList([defer.Deferred(cancel)]).cancel()
        assert records[1].getMessage() == "Exception raised from user supplied canceller"
        assert records[1].exc_info[1].args == ("canceller",)

        class Clock:
            def callLater(self, seconds, call):
                self.call = call
                return self
            def active(self):
                return False

        clock = Clock()
        defer.Deferred(cancel).addTimeout(1, clock).addErrback(nothing)
        clock.call()
        assert records[2].getMessage() == records[1].getMessage()
        assert records[2].exc_info[1].args == ("canceller",)
        """
    )


def test_debug_mode():
    """The stacks are arguments of the message."""
    run(
        """
        defer.setDebugging(True)
        lose(with_cause)
        [record], [text] = records, texts
        assert record.msg == "Unhandled error in Deferred:\\n(debug: %s)"
        assert record.exc_info[0] is ValueError
        assert "C: Deferred was created:" in text
        """
    )


def test_what_logging_cannot_show():
    """Then the text of the failure is in the message."""
    run(
        """
        defer.fail(failure.Failure("no exception", str))
        assert records[0].exc_info is None
        assert records[0].msg == "Unhandled error in Deferred:\\n%s"
        assert "builtins.str: no exception" in texts[0]

        error, f = caught(with_cause)
        f.cleanFailure()
        defer.fail(f)
        assert records[1].exc_info == (ValueError, error, None)
        assert "in with_cause" in texts[1]

        class Own(failure.Failure):
            def printTraceback(self, file=None, *args, **kwargs):
                file.write("in my own words")

        defer.fail(Own(ValueError("why")))
        assert "in my own words" in texts[2]
        assert records[2].exc_info[0] is ValueError

        class Broken(ValueError):
            @property
            def __cause__(self):
                raise RuntimeError

        defer.fail(Broken("broken"))
        assert "broken" in texts[3], texts[3]
        """
    )


def test_through_twisted_where_that_is_in_use():
    run(
        """
        from twisted.logger import globalLogPublisher
        events = []
        globalLogPublisher.addObserver(events.append)
        lose(with_cause)
        assert records == []
        assert events[1]["log_failure"].type is ValueError
        error, f = caught(with_cause)
        assert "KeyError" not in f.getTraceback()
        """,
        twisted=True,
    )
