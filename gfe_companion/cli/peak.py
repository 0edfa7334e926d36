"""How much memory a call and all the processes that it started hold at most."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from gfe_companion.site.costs import PEAK, peak_in

LOOKED_S = 2.0


@contextmanager
def noted(build: Path, jobs: int) -> Iterator[None]:
    """Note in ``build`` the most that is held while the body runs, if no such call with ``jobs`` runs held more."""
    over, most = threading.Event(), 0

    def watch() -> None:
        nonlocal most
        while not over.wait(LOOKED_S):
            most = max(most, held())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join(LOOKED_S)
        if most > peak_in(build, jobs):
            with suppress(OSError):
                (build / PEAK).write_text(json.dumps({"bytes": most, "jobs": jobs}), encoding="utf-8")


def held() -> int:
    """The memory of this process and of all that it started, in bytes; what several of them share counts once."""
    total, mine = 0, psutil.Process()
    for process in [mine, *mine.children(recursive=True)]:
        with suppress(psutil.Error):
            told = process.memory_full_info()
            total += getattr(told, "pss", 0) or told.uss  # where pages are shared is told by Linux alone
    return total
