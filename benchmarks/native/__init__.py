"""C code that is built for the benchmark only, into target/bench. Not part of the package."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "target" / "bench"

#: The flags of the C compiler: those that a release build of the core corresponds to.
CFLAGS = ("-O3", "-fPIC", "-shared", "-Wall", "-fno-semantic-interposition")


def build(name: str) -> Path:
    """Compile a file of this folder to a shared library, unless that has been done.

    Raises `RuntimeError` where there is no C compiler, or this Python has no headers.
    """
    source = HERE / f"{name}.c"
    changed = max(path.stat().st_mtime for path in HERE.glob(f"{name}*.[ch]"))
    library = OUTPUT / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if library.exists() and library.stat().st_mtime > changed:
        return library
    OUTPUT.mkdir(parents=True, exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    include = os.environ.get("PYTHON_INCLUDE", sysconfig.get_path("include"))
    command = [*compiler, *CFLAGS, f"-I{include}", str(source), "-o", str(partial)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"no C compiler: {error}") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{name}.c does not compile:\n{error.stderr}") from None
    partial.replace(library)
    return library


def available(name: str) -> bool:
    """Whether a file of this folder can be built here; says why where it cannot."""
    try:
        build(name)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return False
    return True


def load(name: str) -> Any:
    """The extension module that a file of this folder is."""
    spec = importlib.util.spec_from_file_location(name, build(name))
    assert spec and spec.loader, sys.version
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
