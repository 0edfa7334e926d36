"""A download ends within its limits, whatever servers and proxies do, and leaves whole files or none.

The mirrors are servers on loopback that misbehave in a given way: the first part of a path says how.
"""

import gzip
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from gfe_companion.datasets import REGISTRY, Source, StandInWarning, aside, download, load, locate
from gfe_companion.runs.profiles import ROOT

over = Event()  # the end of a test, for servers that would wait for ever


class Server(BaseHTTPRequestHandler):
    """Sends the files of ``folder`` as ``.gz``, or something else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        way, name = self.path.strip("/").split("/")[-2:]
        self.server.asked.append(f"{way}/{name}")
        content = gzip.compress((self.server.folder / "MNIST" / "raw" / name.removesuffix(".gz")).read_bytes())
        with suppress(OSError):  # nobody listens any more
            getattr(self, way)(content, name)
        self.close_connection = True

    def log_message(self, *_):
        pass

    def answer(self, content, code=200, length=None, **headers):
        self.send_response(code)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def whole(self, content, _):
        self.answer(content)

    def of_unknown_length(self, content, _):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)

    def elsewhere(self, _, name):
        self.answer(b"", 302, Location=f"/whole/{name}")

    def in_circles(self, _, name):
        self.answer(b"", 302, Location=f"/in_circles/{name}")

    def missing(self, *_):
        self.answer(b"<html>", 404)

    def forbidden(self, *_):
        self.answer(b"<html>", 403)

    def broken(self, *_):
        self.answer(b"<html>", 500)

    def page(self, *_):
        self.answer(b"<html>Please log in.</html>")

    def another(self, *_):
        self.answer(gzip.compress(b"something else"))

    def damaged(self, content, _):
        self.answer(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])

    def short(self, content, _):
        self.answer(content[:-5], length=len(content))

    def cut(self, content, _):
        self.answer(content[:-5])

    def reset(self, content, _):
        self.answer(content[:50], length=len(content))
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def gone(self, *_):
        self.connection.close()

    def silent(self, *_):
        over.wait(20)

    def drips(self, content, _):
        self.answer(b"", length=len(content))
        self._drip(content, 0.05)

    def steady(self, content, _):
        self.answer(b"", length=len(content))
        self._drip(content, 0.05, size=15)

    def drips_headers(self, *_):
        self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: " + b"x" * 1000, 0.05)

    def endless(self, *_):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not over.is_set():
            self.wfile.write(bytes(50_000))
            time.sleep(0.01)

    def _drip(self, content, pause, size=1):
        for start in range(0, len(content), size):
            if over.wait(pause):
                return
            self.wfile.write(content[start : start + size])
            self.wfile.flush()


@pytest.fixture
def at(folder, monkeypatch):
    """What makes mirrors of the given ways; each is an address below ``at.host``, and ``at.asked`` what they got."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (("WINDOW_S", 0.6), ("SLOWEST", 50), ("TOTAL_S", 60.0)):
        monkeypatch.setattr(download, name, value)
    over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads, server.folder, server.asked = True, folder, []
    Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()

    def mirrors(*ways):
        at = [way if "//" in way else f"http://{mirrors.host}/{way}/" for way in ways]
        monkeypatch.setattr(download, "mirrors", lambda family: at)

    mirrors.host, mirrors.asked = f"127.0.0.1:{server.server_port}", server.asked
    yield mirrors
    over.set()
    server.shutdown()
    server.server_close()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def refused(project, within=5.0):
    """Why a download failed, after it is seen that it ended in time and left nothing."""
    started = time.monotonic()
    with pytest.warns(StandInWarning) as caught:
        assert locate("auto", "mnist", project).embedded
    assert time.monotonic() - started < within
    assert [path.name for path in project.iterdir() if path.name != ".MNIST.lock"] == []
    (warning,) = caught
    said = str(warning.message)
    assert "\n" not in said
    return re.search(r"MNIST could not be downloaded \((.*)\)\. EMBEDDED", said)[1]


def whole(project, folder):
    assert locate("auto", "mnist", project) == Source(project)
    for name in REGISTRY["mnist"].files.md5:
        place = f"MNIST/raw/{name}"
        assert (project / place).read_bytes() == (folder / place).read_bytes()
    assert sorted(path.name for path in project.rglob("*")) == sorted(
        {".MNIST.lock", "MNIST", "raw", *REGISTRY["mnist"].files.md5}
    )


@pytest.mark.parametrize("way", ["whole", "of_unknown_length", "elsewhere", "steady"])
def test_a_download_is_made_once_and_leaves_only_the_files(at, project, folder, recwarn, capfd, way):
    at(way)
    (project / "MNIST" / "raw").mkdir(parents=True)  # empty, as another tool may have left it
    whole(project, folder)
    assert "MNIST: train-images-idx3-ubyte" in capfd.readouterr().err
    asked = list(at.asked)
    whole(project, folder)
    assert at.asked == asked
    assert len(load("mnist", Source(project)).test.labels) == 5
    assert capfd.readouterr().err == "", "nothing is downloaded: there is no bar"
    assert not [warning for warning in recwarn if warning.category is StandInWarning]


def test_the_bar_has_the_size_the_rate_and_the_time_left(at, project, folder, capfd):
    at("steady")
    whole(project, folder)
    shown = capfd.readouterr().err.split("\r")
    assert any(
        re.search(r"images-idx3-ubyte:  *[1-9]\d?%\|.*\d+/\d+ \[0\d:\d\d<0\d:\d\d, .*B/s\]", bar) for bar in shown
    )


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("drips", "it sent less than 0.05 kB a second for 0.6 s"),
        ("drips_headers", "no answer within 0.6 s"),
        ("silent", "no answer within 0.6 s"),
        ("missing", "404 Not Found"),
        ("forbidden", "403 Forbidden"),
        ("broken", "500 Internal Server Error"),
        ("page", "it sent something else"),
        ("another", "it sent another file"),
        ("damaged", "it sent something else"),
        ("short", r"it ended after [\d,]+ of [\d,]+ bytes"),
        ("cut", "it sent something else"),
        ("reset", r"Connection reset by peer|it ended after 50 of \d+ bytes"),
        ("gone", r"it broke off \(\w+\)"),
        ("in_circles", "302 The HTTP server returned a redirect error.*"),
    ],
)
def test_what_goes_wrong_ends_in_stand_ins_or_at_the_next_mirror(at, project, folder, way, why):
    at(way)
    assert re.fullmatch(rf"{re.escape(at.host)}: ({why})", refused(project))
    at(way, "missing")
    assert re.fullmatch(rf"{re.escape(at.host)}: ({why}); {re.escape(at.host)}: 404 Not Found", refused(project))
    at.asked.clear()
    at(way, "whole")
    whole(project, folder)
    assert [each for each in at.asked if each.startswith(f"{way}/")] in (
        [f"{way}/train-images-idx3-ubyte.gz"],
        [f"{way}/train-images-idx3-ubyte.gz"] * 5,  # urllib goes round five times
        [f"{way}/train-images-idx3-ubyte.gz"] * 11,
    ), "a mirror that failed is asked last from then on"


def test_servers_that_are_not_there(at, project, folder):
    port = closed_port()
    nowhere = (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/", f"https://{at.host}/whole/")
    at(*nowhere)
    said = refused(project, within=20).split("; ")
    assert said[0] == f"127.0.0.1:{port}: Connection refused"
    assert said[1].startswith("no-such-host.invalid: ") and "answer" not in said[1]
    assert "SSL" in said[2] and len(said) == 3
    at(*nowhere, "whole")
    whole(project, folder)


def test_a_name_that_is_looked_up_for_ever(at, project, monkeypatch):
    """No time limit of a socket holds for that."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20))
    at("whole")
    assert refused(project) == f"{at.host}: no answer within 0.6 s"


@pytest.mark.parametrize("proxy", ["dead", "silent"])
def test_proxies(at, project, monkeypatch, proxy):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1] if proxy == "silent" else closed_port()
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://me:secret@127.0.0.1:{port}")
        at("http://example.invalid/", "https://example.invalid/")
        why = "no answer within 0.6 s" if proxy == "silent" else "Connection refused"
        one = f"example.invalid through the proxy 127.0.0.1:{port}: {why}"
        assert refused(project) == f"{one}; {one}"


def test_all_of_it_has_a_limit_too(at, project, monkeypatch):
    monkeypatch.setattr(download, "TOTAL_S", 1.2)
    at("endless")
    assert "all of it took more than 0.02 minutes" in refused(project)
    monkeypatch.setattr(download, "TOTAL_S", 60.0)
    monkeypatch.setattr(download, "LARGEST", 1_000_000)
    assert "it sent more than 1,000,000 bytes" in refused(project)


def test_the_pace_is_that_of_the_last_seconds(monkeypatch):
    """The published limits, on a clock of our own: the mirrors of these tests are given up much earlier."""
    now = 0.0
    monkeypatch.setattr(download.time, "monotonic", lambda: now)

    def ends(rate, seconds, pause=0.5):
        nonlocal now
        pace, size, started = download._Pace(), 0.0, now
        while now < started + seconds:
            now += pause
            size += pause * rate(now - started)
            if pace.too_slow(int(size)):
                return now - started
        return None

    assert download.SLOWEST == 20_000 and download.WINDOW_S == 30.0 and download.TOTAL_S == 1800.0
    assert ends(lambda t: 20_100, 1000) is None
    assert ends(lambda t: 19_900, 1000) == 30.0
    assert ends(lambda t: 0, 1000) == 30.0
    assert 50 < ends(lambda t: 40_000 if t < 40 else 0, 1000) < 60, "half of the window was fast enough for all of it"
    assert 100 < ends(lambda t: 1e6 if t < 100 else 1000, 1000) < 131
    assert ends(lambda t: 1.3e6 if t % 29 < 0.5 else 0, 1000) is None, "in bursts"
    assert ends(lambda t: 0, 1000, pause=20) is None, "stopped again and again"


def test_a_failure_is_not_waited_for_twice(at, project, folder, monkeypatch):
    monkeypatch.setattr(download, "AGAIN_S", 60.0)
    at("missing")
    refused(project)
    asked = list(at.asked)
    refused(project)
    assert at.asked == asked
    monkeypatch.setattr(download, "AGAIN_S", 0.0)
    at("whole")
    whole(project, folder)


def test_a_disk_that_is_full_is_no_fault_of_the_mirror(at, project, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    at("whole", "whole")
    monkeypatch.setattr(download, "unpack", full)
    assert refused(project) == "[Errno 28] No space left on device"
    assert len(at.asked) == 1


def test_nobody_reads_the_bar(at, project, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    at("whole")
    monkeypatch.setattr(download, "tqdm", closed)
    with pytest.raises(BrokenPipeError):
        locate("auto", "mnist", project)
    assert [path.name for path in project.iterdir()] == [".MNIST.lock"]


PROGRAM = """
import sys
from pathlib import Path
from gfe_companion.cli import endings
from gfe_companion.datasets import download, locate

if sys.argv[3:] == ["listens"]:  # as the commands do, but neither kernels nor workers of a cluster
    endings.listen()
download.mirrors = lambda family: [sys.argv[1]]
print("located", locate("auto", "mnist", Path(sys.argv[2])).folder, flush=True)
"""


def child(at, way, project, *more):
    """Another process that downloads."""
    environ = {name: value for name, value in os.environ.items() if name != "GFE_DATA"}
    command = [sys.executable, "-c", PROGRAM, f"http://{at.host}/{way}/", str(project), *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environ, **pipes)


def wait_for(done, seconds=60):
    ends = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "more"),
    [(signal.SIGINT, ()), (signal.SIGINT, ("listens",)), (signal.SIGTERM, ("listens",))],
    ids=["Ctrl-C elsewhere", "Ctrl-C in a command", "SIGTERM in a command"],
)
def test_a_signal_ends_it_and_leaves_nothing(at, project, number, more):
    started = child(at, "drips", project, *more)
    wait_for(lambda: at.asked)
    time.sleep(0.3)
    sent = time.monotonic()
    started.send_signal(number)
    started.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert started.returncode != 0
    assert [path.name for path in project.iterdir()] == [".MNIST.lock"]


def test_a_killed_one_and_one_that_waits(at, project, folder, monkeypatch, capfd):
    """A process that waits for another says so, goes on when that one ends, and removes what an older one left."""
    started = child(at, "drips", project)
    wait_for(lambda: at.asked)
    monkeypatch.setattr(aside, "PATIENCE_S", 0.1)
    at("whole")
    Thread(target=lambda: (time.sleep(1), started.kill())).start()
    assert locate("auto", "mnist", project) == Source(project)
    started.communicate()
    assert f"waiting for another process that puts MNIST into {project}" in capfd.readouterr().err
    (left,) = project.glob(".MNIST.*/")
    os.utime(left, (0, 0))
    with aside.aside(project, "MNIST") as half:
        assert half.is_dir() and not left.exists()
    assert not half.exists()


def test_the_mirrors_are_those_of_torchvision():
    """In a fresh process, where nothing else has imported torchvision, whose operators may not fit this torch."""
    program = "from gfe_companion.datasets import REGISTRY, download; " + (
        "print({e.files.family: download.mirrors(e.files.family) for e in REGISTRY.values()}, download.mirrors('No'))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert re.fullmatch(r"\{'MNIST': \['http[^]]*/'\], 'FashionMNIST': \['http[^]]*/'\]\} \[\]\n", done.stdout)
