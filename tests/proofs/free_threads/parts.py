"""What the programs share."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from typing import Any

from deferrous import Deferred

__all__ = ["THREADS", "Watched", "at_once", "make_list"]

THREADS = 4
#: A program that takes longer than so many seconds hangs.
PATIENCE = 300


def at_once(*work: Callable[[], object]) -> None:
    """Run each in a thread of its own; all begin at the same time."""
    barrier = threading.Barrier(len(work))
    errors: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        barrier.wait()
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            # It cannot be ended, nor the process as usual.
            faulthandler.dump_traceback(all_threads=True)
            os._exit(3)
    if errors:
        raise errors[0]


def make_list(line: Any) -> None:
    """Use a line as a list, which it is from then on."""
    line.append(None)
    line[0] = None
    del line[:]


class Watched:
    """A Deferred whose callbacks say whether they are called once, in order, one at a time."""

    def __init__(self) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self.calls: list[tuple[int, int]] = []
        self.within = 0

    def add(self, thread: int, number: int) -> None:
        def callback(result: Any) -> Any:
            assert self.within == 0, "two at a time"
            self.within = 1
            self.calls.append((thread, number))
            self.within = 0
            return result

        self.deferred.addBoth(callback)

    def check(self, per_thread: int) -> None:
        assert len(self.calls) == len(set(self.calls)) == THREADS * per_thread, len(self.calls)
        for thread in range(THREADS):
            own = [number for of, number in self.calls if of == thread]
            assert own == sorted(own), own
