"""The download of published files from the mirrors that torchvision names: bounded in time, and shown as it goes on."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import ExitStack
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import ModuleType
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener, getproxies, proxy_bypass

from torch.library import Library
from tqdm import tqdm

from gfe_companion.datasets.aside import aside
from gfe_companion.datasets.compressed import BROKEN, LARGEST, any_there, packed, there, unpack
from gfe_companion.datasets.files import Files

SLOWEST = 20_000  # bytes a second: a mirror from which fewer come in each second of WINDOW_S is given up
WINDOW_S = 30.0
TOTAL_S = 1800.0  # for all files of a data set, from all mirrors
AGAIN_S = 60.0  # so long after a failure it is not tried again: data sets of the same files wait for it once
STOPPED_S = 5.0  # who has not looked for so long was stopped, by Ctrl-Z or a lid, and counts anew
CHUNK = 1 << 16

_failed: dict[tuple[str, Path], tuple[float, str]] = {}  # of a family into a folder: when, and why


class Failed(RuntimeError):
    """A file cannot be had from a mirror, or from any; the text says why."""


def fetch(files: Files, folder: Path) -> str:
    """Download the files unless one of them is there, be it as ``.gz``: aside, and moved when whole.

    Returns why that failed, else "". Takes no longer than :data:`TOTAL_S`; where no mirror answers, or none fast
    enough, :data:`WINDOW_S` for each mirror.
    """
    paths = files.paths(folder)
    if all(os.path.lexists(there(path)) for path in paths):
        return ""
    when, why = _failed.get((files.family, folder), (0.0, ""))
    if why and time.monotonic() - when < AGAIN_S and not any_there(files, folder):
        return why
    try:
        with aside(folder, files.family) as half:
            if not any_there(files, folder):
                download(files, half)
                paths[0].parent.mkdir(parents=True, exist_ok=True)
                for path in paths:
                    (half / path.name).rename(path)
    except BrokenPipeError:
        raise  # nobody reads the progress bar any more; what happens to connections is told by Failed
    except (OSError, Failed) as error:
        if not any_there(files, folder):
            _failed[files.family, folder] = time.monotonic(), str(error)
            return str(error)
    return ""


def download(files: Files, into: Path) -> None:
    """Put each file into ``into``, uncompressed, with its published sum. Raises :class:`Failed`, ``OSError``.

    A mirror that fails is asked last from then on.
    """
    order = mirrors(files.family)
    ends = time.monotonic() + TOTAL_S
    for name, md5 in files.md5.items():
        said = [] if order else [f"torchvision names no mirror of {files.family}"]
        for mirror in tuple(order):
            compressed = packed(into / name)
            try:
                _receive(f"{mirror}{compressed.name}", compressed, f"{files.family}: {name}", ends)
                if unpack(compressed, into / name) != md5:
                    raise Failed("it sent another file")
                break
            except BROKEN:
                said.append(f"{_server(mirror)}: it sent something else")
            except Failed as failure:
                said.append(f"{_server(mirror)}: {failure}")
            finally:
                compressed.unlink(missing_ok=True)
            order.append(order.pop(0))
        else:
            raise Failed("; ".join(said))


def mirrors(family: str) -> list[str]:
    """The addresses, each with a slash at its end, below which torchvision finds the files of ``family``."""
    return list(getattr(getattr(torchvision_datasets(), family, None), "mirrors", ()))


# --- one file from one mirror


def _receive(url: str, into: Path, title: str, ends: float) -> None:
    """Write what ``url`` has into a file, with a bar over it. Raises :class:`Failed`, also once ``ends`` is past."""
    arriving: Queue[int | bytes | Failed] = Queue()
    Thread(target=_read, args=(url, arriving), daemon=True).start()
    size, length, bar, pace = 0, -1, None, _Pace()
    with into.open("wb") as file, ExitStack() as stack:
        while True:
            try:
                came = arriving.get(timeout=min(0.5, WINDOW_S / 10))
            except Empty:
                came = None
            if isinstance(came, Failed):
                raise came
            if isinstance(came, int):
                length = came
                known = length if length >= 0 else None
                bar = stack.enter_context(tqdm(total=known, desc=title, unit="B", unit_scale=True))
            elif came:
                file.write(came)
                size += len(came)
            if bar is not None:
                bar.update(size - bar.n)
                if came is None:
                    bar.refresh()  # its clock goes on
            if came == b"":
                if length not in (-1, size):
                    raise Failed(f"it ended after {size:,} of {length:,} bytes")
                return
            if size > LARGEST:
                raise Failed(f"it sent more than {LARGEST:,} bytes")
            if pace.too_slow(size):
                slow = f"it sent less than {SLOWEST / 1000:g} kB a second for {WINDOW_S:g} s"
                raise Failed(_no_answer() if bar is None else slow)
            if time.monotonic() > ends:
                raise Failed(f"all of it took more than {TOTAL_S / 60:g} minutes")


class _Pace:
    """How fast bytes came in the last :data:`WINDOW_S` seconds, while this process was not stopped."""

    def __init__(self) -> None:
        self.seen = deque([(time.monotonic(), 0)])  # when, and how many there were; the first one before the window

    def too_slow(self, size: int) -> bool:
        """Whether they were too few, now that there are ``size``. Asked at least twice a second."""
        now = time.monotonic()
        if now - self.seen[-1][0] > STOPPED_S:
            self.seen.clear()
        self.seen.append((now, size))
        while len(self.seen) > 1 and self.seen[1][0] <= now - WINDOW_S:
            self.seen.popleft()
        since, before = self.seen[0]
        return now - since >= WINDOW_S and size - before < SLOWEST * WINDOW_S


def _read(url: str, arriving: Queue[int | bytes | Failed]) -> None:
    """Hand on how many bytes there will be, -1 if nobody knows, then these, then none; or why not.

    Runs in a thread that may be left alone at any point, since neither the look-up of a name nor a header that comes
    byte by byte can be bounded by the time limit of a socket. It touches no file.
    """
    try:
        request = Request(url, headers={"User-Agent": "gfe-companion", "Accept-Encoding": "identity"})
        with build_opener().open(request, timeout=2 * WINDOW_S) as response:  # with the proxies of this moment
            arriving.put(-1 if response.length is None else response.length)
            while part := response.read1(CHUNK):
                arriving.put(part)
        arriving.put(b"")
    except Exception as error:  # of many kinds: each is the end of this mirror
        arriving.put(Failed(_why(error)))


def _why(error: Exception) -> str:
    """The reason in a few words, on one line."""
    reason = error.reason if isinstance(error, URLError) else error
    said = str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
    if isinstance(error, HTTPError):
        said = f"{error.code} {reason}"
    elif isinstance(reason, TimeoutError):
        said = _no_answer()
    elif isinstance(reason, HTTPException):
        said = f"it broke off ({type(reason).__name__})"
    return " ".join(said.split())


def _no_answer() -> str:
    return f"no answer within {WINDOW_S:g} s"


def _server(url: str) -> str:
    """Who is asked for ``url``, for people: its host, and the proxy on the way, without passwords."""
    parts = urlsplit(url)
    proxy = "" if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme, "")
    return parts.netloc + (f" through the proxy {proxy.rpartition('//')[2].rpartition('@')[2]}" if proxy else "")


@lru_cache(maxsize=1)
def torchvision_datasets() -> ModuleType:
    """Import ``torchvision.datasets``, also where torch is a CPU build and torchvision was compiled for CUDA.

    In that pair torchvision's compiled operators cannot be loaded, and its import fails when it registers meta kernels
    for ``nms`` and ``qnms``, which then do not exist. Declaring their schemas is enough; nothing here uses either.
    """
    try:
        import torchvision.datasets
    except RuntimeError:  # "operator torchvision::nms does not exist"
        declared = Library("torchvision", "FRAGMENT")
        declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_datasets.declared = declared  # type: ignore[attr-defined]  # they live as long as this object
        import torchvision.datasets

    return torchvision.datasets
