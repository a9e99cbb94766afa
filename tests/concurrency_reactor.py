"""Runs the programs under Twisted's reactor with every cancellation, and prints their number.

Twisted has its own Deferreds here; ours need the reactor for a clock only.
"""

from __future__ import annotations

import sys
import traceback

from concurrency_programs import PROGRAMS
from concurrency_worlds import under_the_reactor
from deferrous import ensureDeferred
from twisted.internet import reactor


async def sweep(make):
    actors = len((await under_the_reactor(reactor, make)).program.actors)
    points = 0
    for victim in range(actors):
        step = 0
        while True:
            run = await under_the_reactor(reactor, make, victim, step)
            if not run.hit and not run.too_early:
                break
            points += run.hit
            step += 1
    return points


async def main():
    points = 0
    for make in PROGRAMS:
        try:
            points += await sweep(make)
        except BaseException:
            print(make.__name__)
            raise
    print(points, "points")


def stop(failure):
    status.append(1)
    traceback.print_exception(failure.type, failure.value, failure.getTracebackObject())


status = []
ensureDeferred(main()).addErrback(stop).addBoth(lambda _: reactor.callLater(0, reactor.stop))
reactor.run()
sys.exit(len(status))
