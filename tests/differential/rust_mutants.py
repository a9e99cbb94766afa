"""Does the differential test notice?  Our own code with one rule changed, against Twisted.

    python -m tests.differential.rust_mutants [--seconds 20] [--show] [NAME ...]

The tree is copied to a temporary folder once.  Each mutation is a piece of the text of one
file, and what to put in its place; the extension is built of the changed copy, and
`python -m tests.differential` is run on it.  What is built here is of the same use for a
mutation in Rust as for one in Python, but for the latter it need not be built again.

A mutation that stands for a rule of the traceless kind (who is let go of when) is not
here: the differential test does not look at these.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("python/deferrous")
EXTENSION = PACKAGE / f"_deferrous{sysconfig.get_config_var('EXT_SUFFIX')}"
CHAIN = "src/core/chain.rs"
BINDING = "src/binding/"
PYTHON = "python/deferrous/"
FOUND = "reducing"  # in the line that `python -m tests.differential` prints at once

# Name, file, the text that occurs in it once, what to put there.
Mutation = tuple[str, str, str, str]

MUTATIONS: tuple[Mutation, ...] = (
    # -- the core
    ("paused-positive-only", CHAIN, "if self.paused != 0 {", "if self.paused > 0 {"),
    ("links-lifo", CHAIN, "self.links.push_back(link)", "self.links.push_front(link)"),
    ("front-at-end", CHAIN, "self.links.push_front(link)", "self.links.push_back(link)"),
    ("swallow-forever", CHAIN, "self.swallow = false;", "self.swallow = true;"),
    ("fire-twice-silent", CHAIN, "if self.swallow {", "if self.called {"),
    ("canceller-kept", CHAIN, "Accepted(self.canceller.take(),", "Accepted(None,"),
    ("steals-from-paused", CHAIN, "if self.paused != 0 || matches", "if matches"),
    ("steals-deferred", CHAIN, "Slot::Empty | Slot::Deferred(_))", "Slot::Empty)"),
    ("steal-leaves-result", CHAIN, "Turn::Continue(waiting, self.take", "{STOLEN}"),
    (
        "receive-clears-pauses",
        CHAIN,
        "self.paused = self.paused.saturating_sub(1);\n        self.replace",
        "self.paused = 0;\n        self.replace",
    ),
    ("wait-without-pause", CHAIN, "self.pause();\n        self.mark", "self.mark"),
    (
        "unpause-stops-at-zero",
        CHAIN,
        "self.paused.saturating_sub(1);\n        self.paused == 0",
        "(self.paused - 1).max(0);\n        self.paused == 0",
    ),
    ("unpause-runs-uncalled", CHAIN, "== 0 && self.is_runnable()", "== 0 && !self.running"),
    ("at-rest-though-paused", CHAIN, "&& self.paused == 0 && self.links", "&& self.links"),
    ("at-rest-with-links", CHAIN, "== 0 && self.links.is_empty()", "== 0"),
    ("cancel-not-forwarded", CHAIN, "Cancel::Forward(other),", "Cancel::Nothing.of(other),"),
    ("chained-mark-kept", CHAIN, "Ok(self.chained_to.take())", "Ok(None)"),
    ("pair-swapped", CHAIN, "if failed { (on_failure", "if !failed { (on_failure"),
    ("errback-of-results", CHAIN, "OnFailure(callback) if failed =>", "OnFailure(callback) =>"),
    ("passed-deferred-skipped", CHAIN, "if matches!(self.outcome, Slot::Deferred(_)) {", "if false {"),
    ("waiter-not-running", CHAIN, "self.running = true;\n                return", "return"),
)
