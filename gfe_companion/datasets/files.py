"""Published files: checked byte for byte, and read. How they come to be there is of no consequence here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gfe_companion.datasets.base import DataError, Split, Splits

PUT = "put the published file there"


class Fault(DataError):
    """What is wrong with the file at ``path``; ``md5`` is the sum of its content where that was read to the end."""

    def __init__(self, path: Path, wrong: str, md5: str = "") -> None:
        super().__init__(f"{path} {wrong}")
        self.path, self.md5 = path, md5


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

    def require(self, folder: Path) -> None:
        """Raise :class:`Fault` unless ``folder`` has each file with its published sum."""
        for path in self.paths(folder.absolute()):
            try:
                stat = path.stat()
                found = _md5(path, stat.st_size, stat.st_mtime_ns)
            except OSError as error:
                wrong = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
                raise Fault(path, wrong) from error
            if found != self.md5[path.name]:
                raise self.damaged(path, found)

    def damaged(self, path: Path, found: str) -> Fault:
        """The fault of a file at ``path``, or of its ``.gz``, whose content has the sum ``found``."""
        published = self.md5[path.name.removesuffix(".gz")]
        return Fault(path, f"is damaged, its MD5 sum is {found} and not the published {published}", found)

    def is_whole(self, folder: Path) -> bool:
        """Whether ``folder`` has each file with its published sum."""
        try:
            self.require(folder)
        except Fault:
            return False
        return True

    def check(self, folder: Path, remedy: str = f"{PUT}.") -> None:
        """Raise :class:`DataError` with ``remedy`` unless ``folder`` has each file with its published sum."""
        try:
            self.require(folder)
        except Fault as fault:
            raise DataError(f"{fault}: {remedy}") from fault

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
