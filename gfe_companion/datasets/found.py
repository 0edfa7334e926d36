"""What lies in a folder that lacks the files of a data set, and where these were wanted."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gfe_companion.datasets.compressed import BROKEN, any_there
from gfe_companion.datasets.files import Files

DEEP = 5  # levels of folders that are looked at, the one in question included
EACH, ALL = 200, 1000  # entries that are looked at, of one folder and altogether
FORMATS = {
    r"mnist.*\.npz": "Keras' format",
    r".*\.npz": "NumPy's format",
    r".*\.(pkl|pickle)(\.gz)?": "a pickle",
    r".*\.(parquet|arrow)": "Hugging Face's format",
    r".*\.(pt|pth)": "the format of older versions of torchvision",
    r".*\.csv(\.gz)?": "a table",
    r".*\.(zip|tar|tgz|tar\.\w+|7z|rar)": "an archive, to be unpacked first",
    r".*\.(png|jpe?g|bmp|gif|tiff?)": "a picture",
}


def advice(files: Files, folder: Path, others: Iterable[Files], remedy: str) -> str:
    """What lies in ``folder`` and what is wanted there, then the ``remedy``; this alone if one of the files is there.

    ``others`` are the files of other data sets, which may have the same names. Looks at :data:`ALL` entries at most.
    """
    if any_there(files, folder):
        return remedy
    if right := _elsewhere(files, folder):
        return f"the files of {files.family} are in {right / files.family / 'raw'}, so name the folder {right}."
    seen = telling(files, folder, others) or _plainly(folder)
    return f"{seen}, and wanted are {listed(files)} in {folder / files.family / 'raw'}; {remedy}"


def listed(files: Files) -> str:
    """The names of the files, in words."""
    *names, last = files.md5
    return f"{', '.join(names)} and {last}, or these as .gz,"


def telling(files: Files, folder: Path, others: Iterable[Files]) -> str:
    """What in ``folder`` may be meant as the files, in words; "" if nothing does."""
    seen, families = list(_walk(folder)), (files, *others)
    for path in seen:
        if _plain(path.name) in files.md5:
            owner = next((each.family for each in families if _belongs(path, each)), "")
            if path.parts[-3:-1] != (owner, "raw"):  # else they are where those of another data set should be
                return f"{path.parent} has {f'the files of {owner}' if owner else 'files of these names'}"
    for path in seen:
        if (name := re.sub(r"\.(?=idx\d)", "-", path.name.lower())) != path.name and _plain(name) in files.md5:
            return f"{path} should have the name {name}"
    for pattern, words in FORMATS.items():
        for path in seen:
            if re.fullmatch(pattern, path.name, re.IGNORECASE):
                return f"{path} is {words}"
    return ""


def _plainly(folder: Path) -> str:
    """What ``folder`` is, or has, for those who find nothing telling in it."""
    if not folder.is_dir():
        return f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, EACH) if not entry.name.startswith("."))
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})"
    return f"{folder} has {', '.join(names[:3])}{' and more' if names[3:] else ''}" if names else f"{folder} is empty"


def _elsewhere(files: Files, folder: Path) -> Path | None:
    """The folder that should have been named: one above ``folder``, or one within it."""
    raws = (path.parent for path in _walk(folder) if _plain(path.name) in files.md5)
    within = (raw.parent.parent for raw in raws if raw.parts[-2:] == (files.family, "raw"))
    return next((place for place in (*islice(folder.parents, 3), *within) if any_there(files, place)), None)


def _walk(folder: Path) -> Iterator[Path]:
    """The files below ``folder``, those nearer to it first; hidden ones are left out."""
    folders, left = [(folder, 1)], ALL
    for place, level in folders:  # grows on the way
        with suppress(OSError), os.scandir(place) as entries:
            for entry in sorted(islice(entries, min(EACH, left)), key=lambda entry: entry.name):
                left -= 1
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield Path(entry.path)
                elif level < DEEP:
                    folders.append((Path(entry.path), level + 1))


def _plain(name: str) -> str:
    return name.removesuffix(".gz")


def _belongs(path: Path, other: Files) -> bool:
    """Whether a file is of ``other`` by its sum; images, which are large, go by the labels beside them."""
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    published = other.md5.get(_plain(beside.name))
    with suppress(OSError, *BROKEN), (gzip.open if beside.suffix == ".gz" else open)(beside, "rb") as content:
        return hashlib.md5(content.read(1 << 20), usedforsecurity=False).hexdigest() == published
    return False
