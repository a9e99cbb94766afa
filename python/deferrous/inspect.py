"""Answers `python -m deferrous ps`, `pstree` and `top`, which show what waits in this process.

`DEFERROUS_INSPECT=1` makes each process that imports deferrous answer; `listen` does so from within
a program. Python 3.14 and newer can be inspected without either, by a Python of the same version.

A thread answers, even while the program is idle. It accepts no code, only questions from a fixed
list, and only from the same user and from root. The socket is in a folder that belongs to the user.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import sys
import threading
import time

from . import _deferrous
from ._environment import setting_of
from ._folders import NotSafe, own_folder, peer_of, socket_name

__all__ = ["ENVIRONMENT_VARIABLE", "LogFields", "listen", "listening", "stop"]

#: Set to 1, it makes each process that imports deferrous answer. 0, no, false and off count as not
#: set.
ENVIRONMENT_VARIABLE = "DEFERROUS_INSPECT"

#: The longest question.
_MOST_ASKED = 1000
#: The time limit in seconds for a client to ask, and to read the answer.
_PATIENCE = 5.0
#: The most clients at a time.
_MOST_CLIENTS = 100
#: Errors that prevent an answer for a moment: too many files, no memory, a client that has gone.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
#: The time limit in seconds for the thread to end.
_END = 1.0


class _Server:
    """A socket, and the thread that answers on it."""

    def __init__(self) -> None:
        folder = own_folder()
        _sweep(folder)
        self.path = socket_name(folder, os.getpid())
        try:
            # Left by an earlier process with the same number.
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            try:
                self._socket.bind(self.path)
            except OSError as error:
                if "too long" in str(error):
                    raise OSError(f"the name of the socket is too long: {self.path}") from None
                raise
            os.chmod(self.path, 0o600)
            self._socket.listen(128)
            self._socket.setblocking(False)
            self._waker, self._woken = socket.socketpair()
        except BaseException:
            self._socket.close()
            raise
        #: Identifies our files: a program may close all file descriptors and open others with the
        #: same numbers.
        self._files = [(each, _identity(each)) for each in (self._socket, self._waker, self._woken)]
        #: The clients, in the order in which they came.
        self._clients: list[_Client] = []
        self._thread: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="deferrous.inspect", daemon=True)
        self._thread.start()

    def pause(self) -> bool:
        """Stop the thread, but keep the socket. Returns whether the thread has ended."""
        thread = self._thread
        if thread is None:
            return True
        if self._is_whole():
            try:
                self._waker.send(b"x")
            except OSError:
                pass
        thread.join(_END)
        if thread.is_alive():
            return False
        self._thread = None
        _wait_until_gone(thread)
        return True

    def forget(self) -> None:
        """In a forked process: drop what belongs to the parent."""
        self._thread = None
        for client in self._clients:
            client.close()
        for each, identity in self._files:
            if _identity(each) == identity:
                each.close()
            else:
                each.detach()

    def _is_whole(self) -> bool:
        return all(_identity(each) == identity for each, identity in self._files)

    def close(self) -> None:
        """Stop answering."""
        if self.pause():
            self.forget()
        try:
            os.unlink(self.path)
        except OSError:
            pass

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Signals are for the main thread, which they wake.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            ready = self._wait()
            if not self._is_whole():
                return
            try:
                self._woken.recv(1, socket.MSG_DONTWAIT)
                return
            except BlockingIOError:
                pass
            self._clients = [each for each in self._clients if each.go_on(ready)]
            if self._socket.fileno() in ready and not self._accept():
                return

    def _wait(self) -> dict[int, int]:
        """Wait until there is something to do. Returns which files are ready."""
        poll = select.poll()
        for each in (self._socket, self._woken):
            poll.register(each, select.POLLIN)
        for client in self._clients:
            poll.register(client.socket, client.wants)
        ends = [each.end for each in self._clients]
        return dict(poll.poll(max(0.0, min(ends) - time.monotonic()) * 1000 if ends else None))

    def _accept(self) -> bool:
        """Accept a client. Returns whether there may be more."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _PASSING:
                return False
            # No client can be served now. Try again in a moment, unless told to stop.
            rest = select.poll()
            rest.register(self._woken, select.POLLIN)
            rest.poll(100)
            return True
        try:
            if peer_of(connection)[0] not in (os.geteuid(), 0):
                raise NotSafe("another user asks")
            client = _Client(connection)
        except OSError:
            connection.close()
            return True
        if len(self._clients) >= _MOST_CLIENTS:
            # It has had the most time.
            self._clients.pop(0).close()
        self._clients.append(client)
        return True


class _Client:
    """A client. Nothing waits for it, as there may be others."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        #: The event that it waits for.
        self.wants = select.POLLIN
        #: The time by which it must have asked, or read the answer.
        self.end = time.monotonic() + _PATIENCE
        self._identity = _identity(connection)
        self._asked = b""
        self._answer = memoryview(b"")

    def go_on(self, ready: dict[int, int]) -> bool:
        """Do what can be done without waiting. Returns whether there is more to do."""
        more = time.monotonic() < self.end
        if _identity(self.socket) == self._identity and self.socket.fileno() in ready:
            try:
                more = self._read() if self.wants == select.POLLIN else self._write()
            except BlockingIOError:
                pass
            except Exception:
                # The client has gone, or does not follow the protocol. That does not concern this
                # process.
                more = False
        if not more:
            self.close()
        return more

    def _read(self) -> bool:
        received = self.socket.recv(_MOST_ASKED)
        self._asked += received
        if not received or len(self._asked) > _MOST_ASKED:
            return False
        if not self._asked.endswith(b"\n"):
            return True
        # Imported only when somebody asks.
        from ._survey import answer_text

        text = answer_text(self._asked.decode("utf-8", "replace"))
        self._answer = memoryview(text.encode() + b"\n")
        self.wants, self.end = select.POLLOUT, time.monotonic() + _PATIENCE
        return self._write()

    def _write(self) -> bool:
        self._answer = self._answer[self.socket.send(self._answer) :]
        return bool(self._answer)

    def close(self) -> None:
        """Close it, unless its file descriptor belongs to another file by now."""
        if _identity(self.socket) == self._identity:
            self.socket.close()
        else:
            self.socket.detach()


def _wait_until_gone(thread: threading.Thread) -> None:
    """Wait for a moment until the system, too, has removed a thread that has ended.

    CPython 3.12 and newer ask the system, and warn of a fork where there are threads.
    """
    if sys.platform == "linux":
        for _ in range(1000):
            if not os.path.exists(f"/proc/self/task/{thread.native_id}"):
                return
            os.sched_yield()


def _identity(sock: socket.socket) -> tuple[int, int] | None:
    try:
        found = os.fstat(sock.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sweep(folder: str) -> None:
    """Remove the sockets of processes that no longer exist."""
    with os.scandir(folder) as entries:
        for entry in entries:
            pid = entry.name.removesuffix(".sock")
            if pid.isascii() and pid.isdigit() and entry.name.endswith(".sock"):
                try:
                    os.kill(int(pid), 0)
                except (ProcessLookupError, OverflowError):
                    try:
                        os.unlink(entry.path)
                    except OSError:
                        pass
                except OSError:
                    pass


class _State:
    """Whether this process answers."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.server: _Server | None = None
        self.prepared = False

    def prepare(self) -> None:
        if self.prepared:
            return
        self.prepared = True
        import atexit

        atexit.register(stop)
        os.register_at_fork(
            before=self.before_fork, after_in_parent=self.after_fork, after_in_child=self.in_child
        )

    def before_fork(self) -> None:
        # Hides the thread from warnings about threads in processes that fork.
        self.lock.acquire()
        if self.server is not None:
            self.server.pause()

    def after_fork(self) -> None:
        try:
            if self.server is not None and self.server._thread is None:
                self.server.start()
        except RuntimeError:
            # No thread can be started, at exit or because there are too many.
            self.server = None
        finally:
            self.lock.release()

    def in_child(self) -> None:
        server, self.server = self.server, None
        self.lock = threading.RLock()
        if server is not None:
            server.forget()
            try:
                self.server = _Server()
            except (OSError, RuntimeError):
                # Then it has none.
                pass


_state = _State()


def listen() -> str:
    """Answer `python -m deferrous ps`, `pstree` and `top` from now on.

    Returns the path of the Unix socket on which this process answers. If it does so already,
    nothing changes. A forked process gets a socket of its own.

    ```python
    import os

    from deferrous import inspect

    if hasattr(os, "fork"):
        print(inspect.listen().endswith(f"{os.getpid()}.sock"))
        inspect.stop()
    ```

    This prints `True`.

    Errors:

    - OSError: there are no Unix sockets, there is no folder that belongs to this user, or the
      path of the socket would be too long.
    """
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "geteuid") or not hasattr(select, "poll"):
        raise OSError("a process cannot be asked on this system: it lacks what that needs")
    with _state.lock:
        if _state.server is None:
            _state.prepare()
            _state.server = _Server()
        return _state.server.path


def listening() -> str | None:
    """Return the path of the socket on which this process answers; None if it does not.

    ```python
    from deferrous import inspect

    print(inspect.listening())
    ```

    This prints `None`.
    """
    server = _state.server
    return None if server is None else server.path


def stop() -> None:
    """Stop answering.

    ```python
    from deferrous import inspect

    inspect.stop()
    ```
    """
    with _state.lock:
        server, _state.server = _state.server, None
        if server is not None:
            server.close()


class LogFields(logging.Filter):
    """Adds the current coroutine or generator to the records of `logging`.

    Add it as a filter to a handler or a logger. It accepts all records, and sets their attribute
    `deferred`: the name of the coroutine or generator that Deferreds are running, or "-".

    ```python
    import logging
    import sys

    from deferrous import ensureDeferred
    from deferrous.inspect import LogFields

    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(LogFields())
    handler.setFormatter(logging.Formatter("%(deferred)s: %(message)s"))
    log = logging.getLogger("shop")
    log.addHandler(handler)
    log.propagate = False


    async def sell():
        log.warning("sold out")


    ensureDeferred(sell())
    ```

    This prints `sell: sold out`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attribute. Returns True."""
        driven = _deferrous._driven()
        name = getattr(driven[-1], "__qualname__", None) if driven else None
        record.deferred = name if isinstance(name, str) else "-"
        return True


def heed_environment() -> None:
    """Answer if the environment variable is set. Errors are logged."""
    if not setting_of(ENVIRONMENT_VARIABLE):
        return
    try:
        listen()
    except (OSError, RuntimeError) as error:
        logging.getLogger("deferrous").warning("This process cannot be asked: %s", error)
