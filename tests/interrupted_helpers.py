"""A signal's exception on any line of ours, one after the other."""

from __future__ import annotations

import os
import sys

import deferrous

OURS = os.path.dirname(deferrous.__file__)


def check_on_any_line(make) -> None:
    """Have a KeyboardInterrupt come on each line that an operation of ours runs, once.

    `make` returns an operation, made anew, and what says whether all is whole after it.
    """
    number = 0
    while True:
        operate, is_whole = make()
        lines = [0]

        def trace(frame, event, _, lines=lines, number=number):
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            # What a function returns may be lost in any case, as its caller may be interrupted.
            lines[0] += event in ("call", "line")
            if lines[0] == number + 1 and event != "return":
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            operate()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert is_whole(), number
        if lines[0] <= number:
            return
        number += 1
