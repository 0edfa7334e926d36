"""Published files: checked byte for byte, downloaded where they are missing, and read."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.library import Library

from gfe_companion.datasets.base import DataError, Split, Splits

NETWORK_TIMEOUT_S = 20  # for each wait for a server, not for the whole download
PUT = "put the published file there, uncompressed"


@dataclass(frozen=True, eq=False)
class Files:
    """The files of torchvision's data set ``family`` in its layout, ``<folder>/<family>/raw/<name>``.

    ``md5`` has the published sum of each file, uncompressed, by its name. The first ``pool`` training images are to
    learn from, the rest are to validate.
    """

    family: str
    md5: Mapping[str, str]
    pool: int

    def paths(self, folder: Path) -> list[Path]:
        """Where each file is, or should be."""
        return [folder / self.family / "raw" / name for name in self.md5]

    def check(self, folder: Path, remedy: str = f"{PUT}.") -> None:
        """Raise :class:`DataError` with ``remedy`` unless ``folder`` has each file with its published sum."""
        for path in self.paths(folder.absolute()):
            try:
                stat = path.stat()
                found = _md5(path, stat.st_size, stat.st_mtime_ns)
            except OSError as error:
                wrong = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
                raise DataError(f"{path} {wrong}: {remedy}") from error
            if found != (published := self.md5[path.name]):
                raise DataError(
                    f"{path} is damaged, its MD5 sum is {found} and not the published {published}: {remedy}"
                )

    def splits(self, folder: Path) -> Splits:
        """The images of files that :meth:`check` has passed."""
        train, test = (self._read(folder, part) for part in ("train", "t10k"))
        learned, validated = (
            Split(train.images[part], train.labels[part]) for part in (slice(self.pool), slice(self.pool, None))
        )
        return learned, validated, test

    def _read(self, folder: Path, part: str) -> Split:
        raw = folder / self.family / "raw"
        images, labels = _idx(raw / f"{part}-images-idx3-ubyte"), _idx(raw / f"{part}-labels-idx1-ubyte")
        return Split(images.flatten(1).float().div_(255), labels.long())

    def fetch(self, folder: Path) -> str:
        """Download the files unless one of them is there: aside, and moved when whole. Why that failed, else ""."""
        files = self.paths(folder)
        if all(map(os.path.lexists, files)):
            return ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock, aside_of = FileLock(folder / f".{self.family}.lock"), f".{self.family}."
            with lock, TemporaryDirectory(dir=folder, prefix=aside_of) as aside:
                if not any(map(os.path.lexists, files)):
                    download(Path(aside), self.family)
                    self.check(Path(aside), "the server sent something else.")
                    files[0].parent.mkdir(parents=True, exist_ok=True)
                    for path, loaded in zip(files, self.paths(Path(aside)), strict=True):
                        loaded.rename(path)
        except (OSError, RuntimeError, HTTPException) as error:
            if not any(map(os.path.lexists, files)):
                return (str(error).strip() or repr(error)).splitlines()[-1]  # of torchvision's list, the last mirror's
        return ""


@lru_cache(maxsize=64)
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    """The sum of a file; ``size`` and ``mtime_ns`` stand for its content, so that it is read once a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _idx(path: Path) -> Tensor:
    """The bytes of a checked file: its header holds their dimensions, four bytes each.

    torchvision's data set classes would prefer a folder "processed" of its older versions to these files, and its
    import alone takes ten times as long as this.
    """
    content = path.read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return torch.tensor(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape))


def download(folder: Path, family: str) -> None:
    """Have torchvision download ``family`` into ``folder``. Raises what it raises."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
    try:
        getattr(torchvision_datasets(), family)(folder, download=True)
    finally:
        socket.setdefaulttimeout(before)


@lru_cache(maxsize=1)
def torchvision_datasets() -> ModuleType:
    """Import ``torchvision.datasets``, also where torch is a CPU build and torchvision was compiled for CUDA.

    In that pair torchvision's compiled operators cannot be loaded, and its import fails when it registers meta kernels
    for ``nms`` and ``qnms``, which then do not exist. Declaring their schemas is enough; a download uses neither.
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
