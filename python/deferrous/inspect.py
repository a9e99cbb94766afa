"""Answer `python -m deferrous ps`, `pstree` and `top`, which ask what waits in this process.

`DEFERROUS_INSPECT=1` has each process that imports deferrous answer; `listen` does it in a program.
Python 3.14 and newer can also be asked without either, by a Python of the same version.

A thread answers, also while the program waits for something to happen. It takes no code, only
questions out of a fixed list, and only of the same user and of root. The socket is in a folder of
the user's own.
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

#: Set to 1, it has each process that imports deferrous answer; 0, no, false and off are as if it
#: were not set.
ENVIRONMENT_VARIABLE = "DEFERROUS_INSPECT"

#: The longest question.
_MOST_ASKED = 1000
#: How many seconds a client has to ask, and to take the answer.
_PATIENCE = 5.0
#: The most clients at the same time.
_MOST_CLIENTS = 100
#: What keeps one from being answered for a moment: too many files, no memory, one who has gone.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
#: How many seconds to wait for the thread to end.
_END = 1.0


class _Server:
    """A socket, and the thread that answers there."""

    def __init__(self) -> None:
        folder = own_folder()
        _sweep(folder)
        self.path = socket_name(folder, os.getpid())
        try:
            # What a process of the same number has left.
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
        #: By which files they are known: a program may close all that it has, and then have others
        #: by the same numbers.
        self._files = [(each, _identity(each)) for each in (self._socket, self._waker, self._woken)]
        #: Those who ask, the first first.
        self._clients: list[_Client] = []
        self._thread: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="deferrous.inspect", daemon=True)
        self._thread.start()

    def pause(self) -> bool:
        """End the thread, but keep the socket. Returns whether it has ended."""
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
        return True

    def forget(self) -> None:
        """Let go of what is another process's: in one that was forked off."""
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
        """Answer no more."""
        if self.pause():
            self.forget()
        try:
            os.unlink(self.path)
        except OSError:
            pass

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # They are for the main thread, which they wake.
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
        """Take one who asks. Returns whether there may be more."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _PASSING:
                return False
            # Nobody can be answered now. Try again in a moment, unless told to end.
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
    """One who asks. It is never waited for: others may ask meanwhile."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        #: For what it is ready or not.
        self.wants = select.POLLIN
        #: Until when it has to have asked, or to have taken the answer.
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
                # Whoever asks has gone, or speaks otherwise. It is nothing to this process.
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
        # Not needed until somebody asks.
        from ._survey import answer_text

        text = answer_text(self._asked.decode("utf-8", "replace"))
        self._answer = memoryview(text.encode() + b"\n")
        self.wants, self.end = select.POLLOUT, time.monotonic() + _PATIENCE
        return self._write()

    def _write(self) -> bool:
        self._answer = self._answer[self.socket.send(self._answer) :]
        return bool(self._answer)

    def close(self) -> None:
        """Let go of it, or of the number of its file where that is another's by now."""
        if _identity(self.socket) == self._identity:
            self.socket.close()
        else:
            self.socket.detach()


def _identity(sock: socket.socket) -> tuple[int, int] | None:
    try:
        found = os.fstat(sock.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sweep(folder: str) -> None:
    """Remove what processes have left that are no more."""
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
        # The thread is not to be seen by what warns of threads in processes that fork.
        self.lock.acquire()
        if self.server is not None and self.server.pause():
            _wait_until_gone()

    def after_fork(self) -> None:
        try:
            if self.server is not None and self.server._thread is None:
                self.server.start()
        except RuntimeError:
            # No thread can be started: at exit, or where there are too many.
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
                # It has none, then.
                pass


_state = _State()


def _wait_until_gone() -> None:
    """Wait until the system, too, has forgotten a thread that has ended, if that is soon."""
    if sys.platform == "linux":
        wanted = threading.active_count()
        for _ in range(100):
            try:
                if len(os.listdir("/proc/self/task")) <= wanted:
                    return
            except OSError:
                return
            os.sched_yield()


def listen() -> str:
    """Answer `python -m deferrous ps`, `pstree` and `top` from now on.

    Returns the name of the Unix socket at which this process answers. Where it does so already,
    nothing changes. A process that is forked off has a socket of its own.

    ```python
    import os

    from deferrous import inspect

    if hasattr(os, "fork"):
        print(inspect.listen().endswith(f"{os.getpid()}.sock"))
        inspect.stop()
    ```

    This prints `True`.

    Errors:

    - OSError: there are no Unix sockets, no folder that is this user's own, or the name of the
      socket would be too long.
    """
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "geteuid") or not hasattr(select, "poll"):
        raise OSError("a process cannot be asked on this system: it lacks what that needs")
    with _state.lock:
        if _state.server is None:
            _state.prepare()
            _state.server = _Server()
        return _state.server.path


def listening() -> str | None:
    """Return the name of the socket at which this process answers; None if it does not.

    ```python
    from deferrous import inspect

    print(inspect.listening())
    ```

    This prints `None`.
    """
    server = _state.server
    return None if server is None else server.path


def stop() -> None:
    """Answer no more.

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
    """Puts into the records of `logging` which of our coroutines and generators logs.

    As a filter of a handler or a logger, it lets all records pass, and gives each the attribute
    `deferred`: the name of the coroutine or generator that Deferreds run at this moment, or "-".

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
        """Give a record its attribute. Returns True."""
        driven = _deferrous._driven()
        name = getattr(driven[-1], "__qualname__", None) if driven else None
        record.deferred = name if isinstance(name, str) else "-"
        return True


def heed_environment() -> None:
    """Answer if the environment says so. What is in the way of it is logged."""
    if not setting_of(ENVIRONMENT_VARIABLE):
        return
    try:
        listen()
    except (OSError, RuntimeError) as error:
        logging.getLogger("deferrous").warning("This process cannot be asked: %s", error)
