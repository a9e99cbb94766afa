"""Tests with a known ending, which the last word of their name tells.

They show that trial notices a failure on any of the Deferreds involved, and that a crash or a hang
affects one test only. test_compare.py runs them; pytest does not collect them.
"""

import faulthandler
import signal
import time

from twisted.internet import defer, reactor
from twisted.python.failure import Failure
from twisted.trial import unittest


def later(value):
    """A Deferred that fires with the value on a later turn of the reactor."""
    d = defer.Deferred()
    reactor.callLater(0, d.callback, value)
    return d


class Canaries(unittest.TestCase):
    def test_assertion_fails(self):
        self.assertEqual(1, 2)

    def test_error_fails(self):
        raise RuntimeError("on purpose")

    def test_deferred_assertion_passes(self):
        return later(1).addCallback(self.assertEqual, 1)

    def test_deferred_assertion_fails(self):
        return later(1).addCallback(self.assertEqual, 2)

    def test_failed_deferred_fails(self):
        return defer.fail(RuntimeError("on purpose"))

    def test_failure_object_fails(self):
        return defer.execute(lambda: Failure(RuntimeError("on purpose")))

    def test_generator_passes(self):
        @defer.inlineCallbacks
        def body():
            self.assertEqual((yield later(1)), 1)

        return body()

    def test_generator_fails(self):
        @defer.inlineCallbacks
        def body():
            self.assertEqual((yield later(1)), 2)

        return body()

    def test_coroutine_fails(self):
        async def body():
            self.assertEqual(await later(1), 2)

        return defer.ensureDeferred(body())

    def test_unhandled_error_fails(self):
        defer.fail(RuntimeError("nobody handles it"))

    def test_never_fired_fails(self):
        return defer.Deferred()

    test_never_fired_fails.timeout = 0.1

    def test_segmentation_fault_dies(self):
        faulthandler.disable()
        signal.raise_signal(signal.SIGSEGV)

    def test_hang_dies(self):
        while True:
            time.sleep(1)

    def test_zz_after_all_that_passes(self):
        pass
