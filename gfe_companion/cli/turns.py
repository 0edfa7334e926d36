"""Calls take turns at a profile, whose notebooks, figures and report they would otherwise write into one another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOOKED_S = 0.2  # between two looks at whether the turn has come


class Turn:
    """The turn of this call; ``at`` is written down for whoever waits."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, doing: str) -> None:
        """Note what this call is doing now."""
        told = {"process": os.getpid(), "since": time.strftime("%H:%M:%S"), "doing": doing}
        part = self.path.with_suffix(".part")
        with suppress(OSError):  # a note for others is no reason to end: what needs the disk says so itself
            part.write_text(json.dumps(told), encoding="utf-8")
            part.replace(self.path)


@contextmanager
def turn_at(build: Path, say: Callable[[str], object]) -> Iterator[Turn]:
    """Hold the profile whose files are in ``build``, once no other call does; ``say`` is told what is waited for.

    The lock is the operating system's: it ends with the process that holds it, however that ends.
    """
    build.mkdir(parents=True, exist_ok=True)
    lock, turn = FileLock(build / ".lock"), Turn(build / ".turn.json")
    said = ""
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if (line := _waiting(turn.path, build.name)) != said:
                said = line
                say(line)
            time.sleep(LOOKED_S)
    try:
        yield turn
    finally:
        with suppress(OSError):
            turn.path.unlink(missing_ok=True)
        lock.release()


def _waiting(path: Path, profile: str) -> str:
    """What the call that holds the profile is doing."""
    doing = ""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(path.read_text(encoding="utf-8"))
        doing = f" (process {told['process']}, at {told['doing']} since {told['since']})"
    return f"waiting for another call that is at the {profile} profile{doing}"
