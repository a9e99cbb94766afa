"""Helpers for the tests of reports."""

import textwrap

from helpers import run_script

PRELUDE = """
    import logging, sys, traceback

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record)
            texts.append(self.format(record))

    records, texts = [], []
    logging.getLogger("deferrous").addHandler(Keep())
    logging.getLogger("deferrous").propagate = False

    def caught(function):
        try:
            function()
        except BaseException as error:
            f = failure.Failure()
            return error, f

    def lose(function):
        defer.succeed(None).addCallback(lambda _: function())

    def with_cause():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    def with_context():
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")

    def without_context():
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    def with_notes():
        error = ValueError("noted")
        error.add_note("a note")
        error.add_note("two\\nlines")
        raise error

    def group():
        raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    FUNCTIONS = [with_cause, with_context, without_context]
    if sys.version_info >= (3, 11):
        FUNCTIONS += [with_notes, group]
"""


def run(script, twisted=False):
    """Run a script without Twisted; return what it printed."""
    last = (
        "" if twisted else "assert not any(m.partition('.')[0] == 'twisted' for m in sys.modules)\n"
    )
    body = textwrap.dedent(PRELUDE) + textwrap.dedent(script) + last
    return run_script("deferrous", body)
