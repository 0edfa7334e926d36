"""Files are made aside, by one process at a time, and moved when they are whole."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

PATIENCE_S = 3.0  # a longer wait for another process is told
LEFT_BEHIND_S = 3600  # a folder so old is of a process that was killed: what is made in it takes less


@contextmanager
def aside(folder: Path, family: str) -> Iterator[Path]:
    """A folder within ``folder`` for half-made files of ``family``, which is removed at the end, whatever happens.

    Other processes that ask for the same wait, and say so. Raises ``OSError`` where ``folder`` cannot be made or
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{family}.lock")
    try:
        lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        print(f"waiting for another process that puts {family} into {folder}", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        for other in folder.glob(f".{family}.*"):
            if other.is_dir() and time.time() - other.stat().st_mtime > LEFT_BEHIND_S:
                shutil.rmtree(other, ignore_errors=True)
        with TemporaryDirectory(dir=folder, prefix=f".{family}.") as made:
            yield Path(made)
    finally:
        lock.release()
