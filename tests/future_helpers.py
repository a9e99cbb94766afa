"""Helpers for several tests of futures."""

import asyncio
import contextvars

import pytest

#: Seconds after which a test gives up; none takes them unless something is wrong.
LIMIT = 60

marker = contextvars.ContextVar("marker", default="nothing")


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def turn(loop, times=3):
    """Let a loop do what is due."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()
