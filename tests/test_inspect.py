"""Inspecting a process: the questions and their answers."""

import json
import re
import subprocess
import sys

import deferrous as defer
import pytest
from deferrous import _ps
from inspect_helpers import REACTOR, STUCK, child, folder, plain, run

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked on Windows"),
]


def test_ps(folder, capsys):
    with child(STUCK) as process:
        status, out, err = run(capsys, "ps", process.pid)
    assert (status, err) == (0, "")
    title, heading, *rows = out.splitlines()
    version = ".".join(map(str, sys.version_info[:3]))
    assert title == (
        f"process {process.pid}: 6 wait (deferrous {defer.__version__}, Python {version}; "
        "no ages: DEFERROUS_TRACK is off)"
    )
    assert heading.split() == ["COUNT", "WAITS"]
    assert [re.sub(", line .*", "", row.strip()) for row in rows] == [
        "3  Deferred: stands in line at <DeferredLock>",
        '3  Deferred: waits for coroutine, File "<string>"',
    ]


def test_pstree(folder, capsys):
    with child(STUCK) as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    _, _, *lines = plain(out).splitlines()
    assert re.sub(r"line \d+", "line ?", "\n".join(lines)) == (
        "<Deferred at 0x?> waits for coroutine save  (2 more wait alike)\n"
        '├── File "<string>", line ?, in coroutine save\n'
        '├── File "<string>", line ?, in coroutine write\n'
        "└── awaits: <Deferred at 0x?> stands in line at <DeferredLock at 0x?>, place 1 of 3 "
        "(it is locked)"
    ).replace("place 1", re.search(r"place \d", out).group())


def test_each_way_to_wait_is_in_a_tree(folder, capsys):
    # Those at the top wait alike, but not those below them.
    script = STUCK + (
        "queue = defer.DeferredQueue()\n"
        "async def fetch():\n    await queue.get()\n"
        "requests.append(defer.succeed(1).addCallback(lambda _: defer.Deferred()))\n"
        "requests.append(defer.succeed(1).addCallback(lambda _: defer.ensureDeferred(fetch())))\n"
    )
    with child(script) as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    assert "in coroutine fetch" in out and "in coroutine save" in out
    assert re.search("└── awaits: .* stands in line at <DeferredQueue", out)


def test_top_in_a_pipe_shows_it_once(folder, capsys):
    with child(STUCK) as process:
        status, out, _ = run(capsys, "top", process.pid, "--sort", "age")
    assert status == 0
    assert "\x1b" not in out
    assert "stands in line" in out


def test_top_on_a_terminal(folder, monkeypatch):
    shown = []

    class Terminal:
        def isatty(self):
            return True

        def write(self, text):
            shown.append(text)

        def flush(self):
            pass

    def interval(_):
        if len(shown) == 2:
            raise KeyboardInterrupt

    with child(STUCK) as process, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Terminal())
        patched.setattr(_ps.time, "sleep", interval)
        assert _ps.main("top", [str(process.pid)]) == 0
    first, second = shown
    assert first.startswith("\x1b[2J\x1b[H") and second.startswith("\x1b[H")
    assert "CHANGE" in second and "CHANGE" not in first


@pytest.mark.parametrize("command", ["ps", "pstree", "top"])
def test_json(folder, capsys, command):
    with child(STUCK) as process:
        _, out, _ = run(capsys, command, process.pid, "--json")
    answer = json.loads(out)
    assert (answer["pid"], answer["waiting"], answer["protocol"]) == (process.pid, 6, 1)
    assert ("trees" in answer) == (command == "pstree")


def test_the_command_itself(folder):
    with child(STUCK) as process:
        done = subprocess.run(
            [sys.executable, "-m", "deferrous", "ps", str(process.pid)],
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 wait" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["x"], ["0"], ["-5"], ["1", "--timeout", "x"], ["1", "--timeout", "nan"]]
)
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as exited:
        _ps.main("ps", arguments)
    assert exited.value.code == 2
    assert "usage: python -m deferrous ps" in capsys.readouterr().err


def test_while_the_reactor_sleeps(folder, capsys):
    installed = "import deferrous; deferrous.install()\n"
    with child(installed + STUCK, wait=REACTOR) as process:
        _, out, _ = run(capsys, "ps", process.pid)
    assert "stands in line at <DeferredLock>" in out


MIXED = """
import asyncio, sys, threading
import deferrous as defer

async def of_asyncio(d):
    await d

async def of_ours(task):
    await task

async def main():
    d = defer.Deferred()
    task = asyncio.ensure_future(of_asyncio(d))
    ours = defer.ensureDeferred(of_ours(task))
    await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    d.callback(None)

asyncio.run(main())
"""


def test_asyncio_and_deferreds_in_one_graph(folder, capsys):
    with child(MIXED, wait="") as process:
        _, out, _ = run(capsys, "pstree", process.pid)
    tree = next(each for each in plain(out).split("\n\n") if "of_ours" in each)
    assert [line.lstrip(" └─├│").partition(" at ")[0] for line in tree.splitlines()] == [
        "<Deferred",
        'File "<string>", line 9, in coroutine of_ours',
        "awaits: <Task Task-2",
        'File "<string>", line 6, in coroutine of_asyncio',
        "awaits: <Deferred",
    ]


def test_what_is_shown_cannot_steer_a_terminal(folder, capsys):
    script = STUCK + "requests[0].__class__ = type('\\x1b[31mred', (defer.Deferred,), {})\n"
    with child(script) as process:
        for command in ("ps", "pstree"):
            _, out, _ = run(capsys, command, process.pid)
            assert "\x1b" not in out
            assert "\\x1b[31mred" in out


def test_many(folder, capsys):
    script = STUCK + (
        "from deferrous import _survey\n_survey._COUNTING = _survey._DRAWING = 600\n"
        "requests += [defer.ensureDeferred(save('')) for _ in range(20_000)]\n"
        "for number in range(300):\n"
        "    cls = type(f'Own{number}', (defer.Deferred,), {})\n"
        "    requests.append(cls())\n"
    )
    with child(script) as process:
        _, out, _ = run(capsys, "ps", process.pid)
        assert "40,306 wait" in out
        assert "... 102 more groups ..." in out
        _, out, _ = run(capsys, "pstree", process.pid, "--json")
    answer = json.loads(out)
    assert len(answer["trees"]) == 20
    assert answer["trees_left_out"] == 281
