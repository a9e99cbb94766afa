"""Runs Synapse's own tests of its `async_helpers` on the shim beside this.

It runs in an environment that has Synapse, deferrous and parameterized, in a folder that has
Synapse's `tests`, as its source distribution does, and no `synapse`:

    python /path/to/tests/synapse_shim/run.py
"""

from __future__ import annotations

import importlib
import pathlib
import sys

TESTS = ["test_async_helpers", "test_linearizer", "test_rwlock"]


def main() -> None:
    import deferrous

    deferrous.install()
    here = str(pathlib.Path(__file__).parent)
    sys.path[:] = [".", *(path for path in sys.path if path != here)]
    helpers = importlib.import_module("synapse.util.async_helpers")
    spec = importlib.util.spec_from_file_location("shim", pathlib.Path(here, "shim.py"))
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    for name, mine in vars(shim).items():
        # What does not exist in this version of Synapse is not asked for.
        if getattr(mine, "__module__", None) == "shim" and hasattr(helpers, name):
            setattr(helpers, name, mine)
            print("replaced", name)
    from twisted.scripts.trial import run

    sys.argv[1:] = sys.argv[1:] or [f"tests.util.{name}" for name in TESTS]
    run()


main()
