"""Run a program with Twisted on deferrous: `python -m deferrous …`."""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import runpy
import sys
import textwrap
from collections.abc import Iterator
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any

from deferrous import __version__
from deferrous.twisted import ENVIRONMENT_VARIABLE, InstallError, describe, install, installed

USAGE = f"""\
usage: python -m deferrous script.py [argument ...]
       python -m deferrous -m module [argument ...]
       python -m deferrous -c code [argument ...]
       python -m deferrous - [argument ...]
       python -m deferrous ps | pstree | top [option ...] PID
       python -m deferrous --check | --version | --help

Run a Python program as `python` would, but with deferrous instead of Twisted's Deferred and
Failure. The program can be a file, a folder or zip file with a __main__.py, a module, code, or
standard input (-).

Python processes that the program starts also use deferrous, because they inherit
{ENVIRONMENT_VARIABLE}=1.

  ps PID      count the waiting Deferreds in another process, by what they wait for and where
  pstree PID  show what is waiting for what in another process
  top PID     repeat ps, and show what has changed
              (--help after each of these says more; to run a script named ps, write ./ps)
  --check     say whether this works here; then list versions, and where each part comes from;
              the exit status is 0 if it works
  --version   print the version of deferrous
  --help      print this help
"""

#: The modules that took the place of `__main__`. They keep the running program alive.
_kept: list[ModuleType] = []


def main() -> None:
    """Execute the command line."""
    arguments = sys.argv[1:]
    first = arguments[0] if arguments else None
    if first is None:
        print(USAGE, end="", file=sys.stderr)
        sys.exit(2)
    elif first in ("-h", "--help"):
        print(USAGE, end="")
    elif first in ("-V", "--version"):
        print(f"deferrous {__version__}")
    elif first == "--check":
        _check()
    elif first in ("ps", "pstree", "top"):
        from deferrous._ps import main as look

        sys.exit(look(first, arguments[1:]))
    elif first == "-" or not first.startswith("-"):
        _run(first, arguments[1:], _run_stdin if first == "-" else _run_script)
    elif first[:2] in ("-m", "-c"):
        # Python also accepts the name without a space: `-mmodule`.
        rest = [first[2:], *arguments[1:]] if first[2:] else arguments[1:]
        if not rest:
            _fail(f"{first} wants an argument")
        _run(rest[0], rest[1:], _run_module if first[:2] == "-m" else _run_code)
    else:
        _fail(f"there is no option {first}")


def _fail(message: str) -> None:
    print(f"python -m deferrous: {message}; see --help", file=sys.stderr)
    sys.exit(2)


def _check() -> None:
    before = installed()
    try:
        install()
        import twisted.internet.defer
        import twisted.python.failure
    except ModuleNotFoundError as error:
        if error.name != "twisted":
            works, verdict = False, f"No: Twisted cannot be imported: {error}"
        else:
            works, verdict = (
                False,
                (
                    "No: there is no Twisted in this environment. deferrous itself works without: "
                    "import deferrous."
                ),
            )
    except InstallError as error:
        works, verdict = False, f"No: {error}"
    except Exception as error:
        works, verdict = False, f"No: Twisted cannot be imported: {error}"
    else:
        works = installed()
        verdict = (
            f"Yes: Twisted {twisted.__version__} runs on deferrous {__version__}."
            if works
            else "No: other modules are in the place of Twisted's."
        )
    print(verdict)
    print(describe())
    print(f"at the start of this process: {'installed' if before else 'not yet installed'}")
    for line in _what_is_on():
        print(line)
    sys.exit(0 if works else 1)


def _what_is_on() -> Iterator[str]:
    """List the debugging aids that are on, in this process or through the environment."""
    from deferrous import _deferrous, inspect

    yield f"debug mode: {'on' if _deferrous.Deferred.debug else 'off'}"
    for name, variable, state in (
        ("track", "DEFERROUS_TRACK", "on" if _deferrous._tracking() else "off"),
        ("trace", "DEFERROUS_TRACE", None),
        ("inspect", "DEFERROUS_INSPECT", f"answers at {inspect.listening()}"),
    ):
        setting = os.environ.get(variable)
        if name == "inspect" and inspect.listening() is None:
            state = "on" if hasattr(sys, "remote_exec") else "off"
            state += " (by sys.remote_exec)" if state == "on" else ""
        shown = f"{variable} is {setting}" if setting else f"{variable} is not set"
        yield f"{name}: {shown}" if state is None else f"{name}: {state}; {shown}"


def _run(program: str, arguments: list[str], run: Any) -> None:
    install()
    os.environ[ENVIRONMENT_VARIABLE] = "1"
    try:
        run(program, arguments)
    except SystemExit:
        raise
    except BaseException:
        _leave_out_ourselves()
        raise


def _leave_out_ourselves() -> None:
    """Have the traceback of the exception that ends the program start where it does in `python`.

    The exception itself is not caught, as the interpreter exits differently for each kind.
    """
    hook = sys.excepthook

    def excepthook(
        cls: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = hook
        first, last = traceback, None
        while first is not None:
            if first.tb_frame.f_code.co_filename == __file__:
                last = first
            first = first.tb_next
        if last is not None:
            traceback = last.tb_next
            error.__traceback__ = traceback
        hook(cls, error, traceback)

    sys.excepthook = excepthook


def _new_main(file: str | None = None) -> Any:
    """Replace `__main__` by an empty module with the attributes that Python gives it."""
    _kept.append(sys.modules["__main__"])
    main: Any = ModuleType("__main__")
    main.__builtins__ = builtins
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    if file is None:
        main.__loader__ = BuiltinImporter
    else:
        main.__file__ = file
        if sys.version_info < (3, 15):
            main.__cached__ = None
        main.__loader__ = SourceFileLoader("__main__", file)
    sys.modules["__main__"] = main
    return main


def _set_path(entry: str) -> None:
    """Put a folder at the start of the path, where Python puts the current one for `-m`."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = entry


def _run_module(name: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-m", *arguments]
    _new_main()
    # The function that `python -m` itself calls.
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _run_script(path: str, arguments: list[str]) -> None:
    sys.argv[:] = [path, *arguments]
    # An empty name is the current folder; up to 3.10, it ends with a slash.
    joined = path or sys.version_info < (3, 11)
    file = os.path.join(os.getcwd(), path) if joined else os.getcwd()
    if pkgutil.get_importer(path) is not None:
        # A folder or a zip file. It is put on the path even if a script's folder would not be.
        _new_main()
        _set_path(file)
        if sys.path[0] != file:
            sys.path.insert(0, file)
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    try:
        with io.open_code(file) as stream:
            code = pkgutil.read_code(stream)
        source = None
        if code is None:
            with io.open_code(file) as stream:
                source = stream.read()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        sys.exit(2)
    _set_path(os.path.dirname(os.path.realpath(path)))
    main = _new_main(file)
    if code is not None:
        main.__loader__ = SourcelessFileLoader("__main__", file)
    _execute(main, code if source is None else source, file)


def _run_code(code: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-c", *arguments]
    _set_path("")
    if sys.version_info >= (3, 14):
        code = textwrap.dedent(code)
    if sys.version_info < (3, 13):
        _execute(_new_main(), code, "<string>")
        return
    # Tracebacks show the code, but warnings at compile time do not.
    import linecache

    compiled = compile(code, "<string>", "exec", dont_inherit=True)
    register = getattr(linecache, "_register_code", None)
    if register is not None and hasattr(linecache, "_interactive_cache"):
        # They look it up by the code object, and so do not find another "<string>".
        register(compiled, code, "<string>")
    else:
        # The first releases of 3.13.
        lines = code.splitlines(keepends=True)
        linecache.cache["<string>"] = (len(code), None, lines, "<string>")
    _execute(_new_main(), compiled, "<string>")


def _run_stdin(_: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-", *arguments]
    _set_path("")
    main = _new_main("<stdin>")
    main.__loader__ = BuiltinImporter
    if sys.stdin.isatty():
        import code

        code.interact(local=vars(main), exitmsg="")
    else:
        _execute(main, sys.stdin.buffer.read(), "<stdin>")


def _execute(main: ModuleType, source: str | bytes | CodeType, file: str) -> None:
    if not isinstance(source, CodeType):
        source = compile(source, file, "exec", dont_inherit=True)
    exec(source, vars(main))


if __name__ == "__main__":
    main()
