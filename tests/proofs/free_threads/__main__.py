"""As a command."""

from __future__ import annotations

import random
import sys
import sysconfig
import time

from . import (
    concurrency,
    deadlocks,
    deferreds,
    ends,
    failures,
    handing_over,
    lines,
    looking,
    mixed,
    subclasses,
    timeouts,
    under_way,
)

PROGRAMS = (
    *deferreds.PROGRAMS,
    *handing_over.PROGRAMS,
    *subclasses.PROGRAMS,
    *concurrency.PROGRAMS,
    *under_way.PROGRAMS,
    *failures.PROGRAMS,
    *timeouts.PROGRAMS,
    *deadlocks.PROGRAMS,
    *mixed.PROGRAMS,
    *lines.PROGRAMS,
    *looking.PROGRAMS,
    *ends.PROGRAMS,
)


def main(seconds: float, names: list[str]) -> None:
    programs = [program for program in PROGRAMS if not names or program.__name__ in names]
    counts = dict.fromkeys((program.__name__ for program in programs), 0)
    failed: dict[str, str] = {}
    rng = random.Random(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for program in programs:
            try:
                program(rng)
            except Exception as error:
                text = f"{type(error).__name__}: {str(error)[:200]}"
                failed.setdefault(program.__name__, text)
            counts[program.__name__] += 1
    free = sysconfig.get_config_var("Py_GIL_DISABLED") and not sys._is_gil_enabled()
    print("without the GIL" if free else "with the GIL", counts)
    for name, text in failed.items():
        print(f"{name}: {text}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
