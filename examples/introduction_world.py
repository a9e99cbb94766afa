"""The server and the sockets of introduction.py.

There are two kinds of requests, with a world for each: those that wait for the answer, and those
that return a Deferred.
"""

import errno
import http.server
import json
import os
import selectors
import socket
import socketserver
import threading
import time
import urllib.parse

import deferrous as defer

SECONDS = 10.0  # for one request, and for one form of a pattern

# The server: a thread that answers GET requests with JSON.

NAMES = ["Miranda", "Ariel", "Umbriel", "Titania", "Oberon"]
USERS = [{"id": 1, "name": "dave"}, {"id": 2, "name": "frank"}]
BALANCES = {"dave": 120, "frank": 30, "heywood": 850}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.005)  # so that requests have to wait
        url = urllib.parse.urlsplit(self.path)
        argument = json.loads(urllib.parse.unquote(url.query) or "null")
        try:
            answer, status = self.answer(url.path, argument), 200
        except LookupError as e:
            answer, status = str(e), 500
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path, argument):
        match path:
            case "/users":
                return USERS
            case "/names":
                return NAMES
            case "/sorted":
                return sorted(argument)
            case "/balance":
                return BALANCES[argument]
            case "/doors":
                return {"doors": "open", "clearance": 2001}
            case "/f":
                return 20
            case "/h":
                return 2 * argument + 2
        raise LookupError(f"I'm sorry, I can't do {path}")

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()


class ServerError(Exception):
    """The server answered, but not with a result."""


def request_for(path):
    return f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()


def body_of(response):
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status != 200:
        raise ServerError(status, json.loads(body))
    return body.decode()


# A request in two ways: waiting for the response, and not.


def fetch_and_wait(address, path):
    """Wait for the response. Return its body."""
    with socket.create_connection(address, timeout=SECONDS) as sock:
        sock.sendall(request_for(path))
        response = b""
        while chunk := sock.recv(65536):
            response += chunk
    return body_of(response)


class Loop:
    """A tiny event loop: non-blocking sockets, and a Deferred for each response."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.started = []
        self.most_at_once = 0

    def fetch(self, address, path):
        """Return a Deferred for the body of the response, without waiting."""
        request = Request(address, path)
        self.started.append(request)
        return request.response

    def run(self, is_over):
        """Continue each request when its socket is ready, until `is_over` returns true."""
        deadline = time.monotonic() + SECONDS
        while not is_over():
            if time.monotonic() > deadline:
                raise TimeoutError("the event loop has waited too long")
            while self.started:
                self.go_on(self.started.pop(0))
            self.most_at_once = max(self.most_at_once, len(self.selector.get_map()))
            for key, _ in self.selector.select(0.05):
                self.selector.unregister(key.fileobj)
                self.go_on(key.data)

    def go_on(self, request):
        """Take a request one step further, and wait for what it needs next."""
        try:
            event = next(request.steps)
        except StopIteration as stop:
            request.sock.close()
            request.response.callback(stop.value)
        except Exception:
            request.sock.close()
            request.response.errback()  # with the exception that is being handled
        else:
            self.selector.register(request.sock, event, request)

    def close(self):
        left_over = len(self.selector.get_map()) + len(self.started)
        self.selector.close()
        return left_over


class Request:
    """A request under way: a generator that yields the event its socket must wait for."""

    IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)

    def __init__(self, address, path):
        self.response = defer.Deferred()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.steps = self.go(address, request_for(path))

    def go(self, address, unsent):
        problem = self.sock.connect_ex(address)
        if problem in self.IN_PROGRESS:
            yield selectors.EVENT_WRITE
            problem = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
        while unsent:
            yield selectors.EVENT_WRITE
            unsent = unsent[self.sock.send(unsent) :]
        response = b""
        while True:
            yield selectors.EVENT_READ
            chunk = self.sock.recv(65536)
            if not chunk:
                return body_of(response)
            response += chunk


# The patterns call the methods of a world. A world that waits and a world of Deferreds
# differ only in the method `ask`. Each step is recorded, so that the forms can be compared.


class World:
    def __init__(self, addresses, trouble):
        self.addresses, self.trouble = addresses, trouble
        self.steps = []  # what happened, in order
        self.doors_are_open = False

    def ask(self, operation, path, argument=None, convert=json.loads):
        """Ask the server. Return the converted response, or a Deferred for it."""
        raise NotImplementedError

    def where(self, operation, path, argument):
        """Return the address and path to ask. They lead to trouble if this operation must fail."""
        trouble = self.trouble.get(operation)
        address = self.addresses["refusing" if trouble == "refused" else "serving"]
        path = "/sorry" if trouble == "error" else path
        return address, f"{path}?{urllib.parse.quote(json.dumps(argument))}"

    def note(self, step):
        self.steps.append(step)

    def answered(self, operation, value):
        self.note(f"{operation} = {value!r}")
        return value

    # Operations that take time:

    def get_names(self):
        return self.ask("get_names", "/names")

    def sorted(self, names):
        return self.ask("sorted", "/sorted", names)

    def get_balance(self, account):
        return self.ask(f"balance of {account}", "/balance", account)

    def open_doors(self):
        return self.ask("open_doors", "/doors", convert=self.doors_opened)

    def f(self):
        return self.ask("f()", "/f")

    def h(self, y):
        return self.ask(f"h({y!r})", "/h", y)

    def make_request(self, method, path):
        return self.ask(f"{method} {path}", path, convert=str)

    # Operations that take no time:

    def doors_opened(self, body):
        self.doors_are_open = True
        return json.loads(body)["clearance"]

    def launch(self, clearance=None):
        if not self.doors_are_open:
            raise RuntimeError("the pod hit the closed doors")
        return self.answered("launch", f"launched with {clearance}")

    def print(self, value):
        self.note(f"print {value!r}")

    def report_error(self, error):
        self.g(error)

    def g(self, error):
        # An errback passes a Failure, an except clause the exception itself.
        exception = getattr(error, "value", error)
        return self.answered(f"g({type(exception).__name__})", -1)

    def tidy(self):
        self.note("tidy")

    def log(self, message):
        self.note(f"log {message!r}")


class WaitingWorld(World):
    def ask(self, operation, path, argument=None, convert=json.loads):
        body = fetch_and_wait(*self.where(operation, path, argument))
        return self.answered(operation, convert(body))


class DeferredWorld(World):
    def __init__(self, addresses, trouble, loop):
        super().__init__(addresses, trouble)
        self.loop = loop

    def ask(self, operation, path, argument=None, convert=json.loads):
        d = self.loop.fetch(*self.where(operation, path, argument))
        d.addCallback(convert)
        d.addCallback(lambda value: self.answered(operation, value))
        return d
