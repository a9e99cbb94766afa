"""The tutorial in docs/howto/hunting.md: its service is run, gets stuck, and is inspected."""

import contextlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be asked on Windows"),
]


def blocks(language):
    text = (ROOT / "docs" / "howto" / "hunting.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def plain(text):
    """A text without what differs between runs, and versions."""
    text = re.sub(r"0x[0-9a-f]+", "0x?", text)
    text = re.sub(r'"[^"]*shop.py"', '"shop.py"', text)
    text = re.sub(r"process \d+", "process N", text)
    text = re.sub(r"place \d of", "place N of", text)
    return re.sub(r"\(deferrous [^;]*;", "(...;", text).rstrip()


@contextlib.contextmanager
def shop(listing, **environment):
    """Run the service, and give its process, its port and its environment."""
    folder = tempfile.mkdtemp(prefix="dfr")
    try:
        with open(os.path.join(folder, "shop.py"), "w", encoding="utf-8") as file:
            file.write(listing)
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder, **environment}
        process = subprocess.Popen(
            [sys.executable, "-c", "import shop; shop.main()"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, int(process.stdout.readline()), environment
        finally:
            process.terminate()
            process.communicate()
    finally:
        shutil.rmtree(folder)


def request(port, item):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/?item={item}")
    return connection


def get(port, item):
    with contextlib.closing(request(port, item)) as connection:
        return connection.getresponse().read()


def ask(command, process, environment):
    done = subprocess.run(
        [sys.executable, "-m", "deferrous", command, str(process.pid)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def answers_of_the_stuck_shop(listing, **environment):
    with shop(listing, **environment) as (process, port, environment):
        assert get(port, "tea") == b"2 left\n"
        assert get(port, "milk") == b"we have none\n"
        with contextlib.closing(request(port, "tea")), contextlib.closing(request(port, "coffee")):
            # They have arrived when both wait.
            while "2  Deferred: stands" not in (rows := ask("ps", process, environment)):
                pass
            return rows, ask("pstree", process, environment)


def test_the_page_shows_what_it_prints():
    listing, _ = blocks("python")
    found = answers_of_the_stuck_shop(listing, DEFERROUS_INSPECT="1")
    assert [plain(each) for each in found] == [plain(each) for each in blocks("text")]


def test_mended():
    listing, mended = blocks("python")
    start = listing.index("async def sell")
    end = listing.index("class Shop")
    with shop(listing[:start] + mended + "\n\n" + listing[end:]) as (_, port, _):
        assert get(port, "tea") == b"2 left\n"
        assert get(port, "milk") == b"we have none\n"
        assert get(port, "tea") == b"1 left\n"


if __name__ == "__main__":
    # What the page is to show.
    for each in answers_of_the_stuck_shop(blocks("python")[0], DEFERROUS_INSPECT="1"):
        print(each)
