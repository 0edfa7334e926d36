"""Files that are there as ``.gz`` alone: unpacked into a folder of ours, and never beside the reader's own."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from functools import partial
from pathlib import Path

from gfe_companion.datasets.aside import aside
from gfe_companion.datasets.files import Fault, Files

CHUNK = 1 << 20
LARGEST = 1 << 30  # bytes: whatever unpacks to more is no file of a data set
BROKEN = (gzip.BadGzipFile, EOFError, zlib.error)  # what reading a damaged .gz raises


def packed(path: Path) -> Path:
    """The name of ``path`` as a ``.gz``."""
    return path.with_name(f"{path.name}.gz")


def there(path: Path) -> Path:
    """What there is of a file: ``path`` itself, or, where only that is there, its ``.gz``."""
    return packed(path) if not os.path.lexists(path) and os.path.lexists(packed(path)) else path


def any_there(files: Files, folder: Path) -> bool:
    """Whether ``folder`` has one of the files, uncompressed or not."""
    return any(os.path.lexists(there(path)) for path in files.paths(folder))


def to_be_unpacked(files: Files, folder: Path) -> bool:
    """Whether ``folder`` has all of the files, and at least one of them as ``.gz`` alone."""
    found = [there(path) for path in files.paths(folder)]
    return found != files.paths(folder) and all(map(os.path.lexists, found))


def unpacked(files: Files, folder: Path, cache: Path) -> Path:
    """The folder that has the files uncompressed: ``folder``, or ``cache``, into which they are unpacked once.

    Files of ``folder`` that are not compressed are copied beside the others. All are checked by their published sums
    each time, and unpacked again where one in ``cache`` is damaged. Raises :class:`Fault` for one that is damaged,
    missing among others, or cannot be unpacked.
    """
    found = [there(path) for path in files.paths(folder)]
    if found == files.paths(folder):
        return folder
    if missing := [path for path in found if not os.path.lexists(path)]:
        raise Fault(missing[0], "is missing")
    if not files.is_whole(cache):
        try:
            with aside(cache, files.family) as half:
                if not files.is_whole(cache):
                    _unpack_all(files, folder, half, cache)
        except OSError as error:
            source = files.paths(folder)[0].parent
            raise Fault(source, f"cannot be unpacked into {cache} ({error.strerror or error})") from error
    return cache


def _unpack_all(files: Files, folder: Path, half: Path, cache: Path) -> None:
    whole = []
    for path, name in zip(files.paths(folder), files.md5, strict=True):
        source = there(path)
        try:
            found = unpack(source, half / name)
        except BROKEN as error:
            raise Fault(source, f"is damaged ({error})") from error
        if found != files.md5[name]:
            raise files.damaged(source, found)
        whole.append(half / name)
    files.paths(cache)[0].parent.mkdir(parents=True, exist_ok=True)
    for made, path in zip(whole, files.paths(cache), strict=True):
        made.replace(path)


def unpack(source: Path, target: Path) -> str:
    """Write the content of ``source`` into ``target``, unpacked if it is a ``.gz``. Returns the MD5 sum of the content.

    Raises ``OSError``, and :data:`BROKEN` where ``source`` is no whole ``.gz``.
    """
    sum_, size = hashlib.md5(usedforsecurity=False), 0
    with (gzip.open if source.suffix == ".gz" else open)(source, "rb") as content, target.open("wb") as file:
        for part in iter(partial(content.read, CHUNK), b""):
            if (size := size + len(part)) > LARGEST:
                raise gzip.BadGzipFile(f"it holds more than {LARGEST:,} bytes")
            sum_.update(part)
            file.write(part)
    return sum_.hexdigest()
