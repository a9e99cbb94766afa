"""Run a workload where its program is installed, and print what it measured.

    python [-m deferrous] measure.py WORKLOAD

A workload is a module beside this one. Its `run(stopwatch)` does all its work, and brackets the
part that counts with `stopwatch.start()` and `stopwatch.stop(units)`.
"""

import importlib
import json
import sys
import time


class Stopwatch:
    """Measures the CPU time of this process."""

    def start(self):
        self._start = time.process_time()

    def stop(self, units):
        seconds = time.process_time() - self._start
        print("MEASURED", json.dumps({"units": units, "seconds": seconds}), flush=True)


def run_workload(name):
    importlib.import_module(name).run(Stopwatch())


if __name__ == "__main__":
    run_workload(sys.argv[1])
