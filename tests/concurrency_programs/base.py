"""The class of these programs, and the decorator that registers one."""

from __future__ import annotations

import asyncio

from deferrous import CancelledError
from deferrous import concurrency as c

CANCELLED = (CancelledError, asyncio.CancelledError)


class Program:
    def __init__(self, actors, check):
        self.actors = actors
        self.check = check


PROGRAMS = []


def program(make):
    PROGRAMS.append(make)
    return make


class Use:
    """Who is in a critical section."""

    def __init__(self, most):
        self.now = 0
        self.most = most

    def enter(self, weight=1):
        self.now += weight
        assert self.now <= self.most

    def leave(self, weight=1):
        self.now -= weight


def children(clock):
    """A coroutine function for tasks, and lists of which have begun, and which have ended."""
    begun, ended = [], []

    async def child(number, error=None):
        begun.append(number)
        try:
            await c.sleep(number, clock=clock)
            if error is not None:
                raise error
        finally:
            ended.append(number)

    return child, begun, ended


def _equal(one, other):
    assert one == other
