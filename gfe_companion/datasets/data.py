"""MNIST, SegmentedMNIST and FashionMNIST, checked byte for byte; and stand-ins for machines that can reach nothing."""

from __future__ import annotations

import hashlib
import os
import socket
import warnings
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
from torch.nn import functional

DATASETS = ("mnist", "segmented_mnist", "fashion_mnist")
POOL = 50_000  # the first training images are the training pool, the rest are for validation
NETWORK_TIMEOUT_S = 20  # for each wait for a server, not for the whole download

MD5 = {  # as published, of the uncompressed files
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
_PUT = "put the published file there, uncompressed"


class DataError(RuntimeError):
    """A data file is missing or damaged; the text names it and the remedy."""


class StandInWarning(UserWarning):
    """The real data cannot be had, and embedded stand-ins are used instead."""


@dataclass(frozen=True)
class Source:
    """Where data comes from: torchvision's layout in ``folder``, or, where that is None, the embedded stand-ins."""

    folder: Path | None

    @property
    def embedded(self) -> bool:
        """Whether it is what the environment ships."""
        return self.folder is None


@dataclass(frozen=True, eq=False)
class Split:
    """``images`` float32 (N, 784) in [0, 1] and ``labels`` int64 (N,); shared by all who load them: only read them."""

    images: Tensor
    labels: Tensor

    def having(self, labels: range) -> Split:
        """The images that carry one of ``labels``."""
        chosen = torch.isin(self.labels, torch.tensor(list(labels)))
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Dataset:
    """``name`` as in :data:`DATASETS` . ``title`` for figures . ``stand_in`` . ``md5`` of its files . three splits.

    ``caution`` says, in a sentence, what its numbers cannot say; empty for the published files.
    """

    name: str
    title: str
    stand_in: bool
    md5: dict[str, str]
    train: Split
    validation: Split
    test: Split
    caution: str = ""


def locate(data: str, dataset: str, download_to: Path) -> Source:
    """Where ``dataset`` comes from; ``data`` is "auto", "embedded" or a folder in torchvision's layout.

    "auto" means the folder that the environment variable GFE_DATA names, else ``download_to``, filled by a download if
    it has none of the files; where that fails, the stand-ins, with a :class:`StandInWarning`. Raises :class:`DataError`
    for a damaged file or one missing from a named folder or among others, ``ValueError`` for an unknown data set.
    """
    family = _family(dataset)
    if data == "embedded":
        return Source(None)
    named = (os.environ.get("GFE_DATA") or None) if data == "auto" else data
    if named is not None:
        folder = Path(named).expanduser().absolute()
        check(folder, family, f"{_PUT}, or name another folder, or use --data embedded to run on stand-ins.")
        return Source(folder)
    folder = download_to.absolute()
    if failure := _fetch(folder, family):
        warnings.warn(
            f"{family} could not be downloaded ({failure}). EMBEDDED STAND-INS ARE USED INSTEAD, and every figure says "
            f"so. For the real data put {', '.join(MD5[family])} (uncompressed) into {folder / family / 'raw'}, or "
            "name a folder that has them by --data DIR or GFE_DATA; --data embedded asks for stand-ins in silence.",
            StandInWarning,
            stacklevel=2,
        )
        return Source(None)
    check(folder, family, f"delete the folder {folder / family} and run again to download it anew.")
    return Source(folder)


def check(folder: Path, family: str, remedy: str = f"{_PUT}.") -> None:
    """Raise :class:`DataError` with ``remedy`` unless ``folder`` has each file of ``family`` with its published sum."""
    for path in _files(folder.absolute(), family):
        try:
            stat = path.stat()
            found = _md5(path, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            wrong = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise DataError(f"{path} {wrong}: {remedy}") from error
        if found != (published := MD5[family][path.name]):
            raise DataError(f"{path} is damaged, its MD5 sum is {found} and not the published {published}: {remedy}")


def load(dataset: str, source: Source) -> Dataset:
    """The data set, read once a process. Raises ``DataError`` as :func:`check`, ``ValueError`` for an unknown one."""
    family = _family(dataset)
    if source.folder is not None:
        check(source.folder, family)
    return _load(dataset, family, source)


@lru_cache(maxsize=3)
def _load(dataset: str, family: str, source: Source) -> Dataset:
    if source.folder is None:
        train, validation, test, title = _digits() if family == "MNIST" else _photographs()
    else:
        whole, test = (_read(source.folder, family, part) for part in ("train", "t10k"))
        train, validation = (Split(whole.images[part], whole.labels[part]) for part in (slice(POOL), slice(POOL, None)))
        title = family
    if dataset == "segmented_mnist":
        train, validation, test = train.having(range(5)), validation.having(range(5)), test.having(range(5, 10))
        title = "digits 0-4 / 5-9 (stand-in for SegmentedMNIST)" if source.embedded else "SegmentedMNIST"
    md5 = {} if source.embedded else dict(MD5[family])
    return Dataset(dataset, title, source.embedded, md5, train, validation, test)


def _family(dataset: str) -> str:
    if dataset not in DATASETS:
        raise ValueError(f"data set {dataset!r} is unknown; valid are {', '.join(DATASETS)}.")
    return "FashionMNIST" if dataset == "fashion_mnist" else "MNIST"


def _files(folder: Path, family: str) -> list[Path]:
    return [folder / family / "raw" / name for name in MD5[family]]


@lru_cache(maxsize=64)
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    """The sum of a file; ``size`` and ``mtime_ns`` stand for its content, so that it is read once a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _read(folder: Path, family: str, part: str) -> Split:
    raw = folder / family / "raw"
    images, labels = _idx(raw / f"{part}-images-idx3-ubyte"), _idx(raw / f"{part}-labels-idx1-ubyte")
    return Split(images.flatten(1).float().div_(255), labels.long())


def _idx(path: Path) -> Tensor:
    """The bytes of a file that :func:`check` has passed: its header holds their dimensions, four bytes each.

    torchvision's data set classes would prefer a folder "processed" of its older versions to these files, and its
    import alone takes ten times as long as this.
    """
    content = path.read_bytes()
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return torch.tensor(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape))


def _fetch(folder: Path, family: str) -> str:
    """Download ``family`` unless a file of it is there: aside, and moved when whole. Why that failed, else ""."""
    files = _files(folder, family)
    if all(map(os.path.lexists, files)):
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{family}.lock"), TemporaryDirectory(dir=folder, prefix=f".{family}.") as aside:
            if not any(map(os.path.lexists, files)):
                _download(Path(aside), family)
                check(Path(aside), family, "the server sent something else.")
                files[0].parent.mkdir(parents=True, exist_ok=True)
                for path, whole in zip(files, _files(Path(aside), family), strict=True):
                    whole.rename(path)
    except (OSError, RuntimeError, HTTPException) as error:
        if not any(map(os.path.lexists, files)):
            return (str(error).strip() or repr(error)).splitlines()[-1]  # of torchvision's list, the last mirror's
    return ""


def _download(folder: Path, family: str) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
    try:
        getattr(_torchvision_datasets(), family)(folder, download=True)
    finally:
        socket.setdefaulttimeout(before)


@lru_cache(maxsize=1)
def _torchvision_datasets() -> ModuleType:
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
        _torchvision_datasets.declared = declared  # the declarations live as long as this object
        import torchvision.datasets

    return torchvision.datasets


def _digits() -> tuple[Split, Split, Split, str]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, scaled to 28 x 28; split in their order."""
    from sklearn.datasets import load_digits  # slow to import, and needed for stand-ins only

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # (1797, 1, 8, 8)
    images = functional.interpolate(small, size=(28, 28), mode="bilinear").clamp(0, 1).flatten(1)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    parts = [Split(images[start:end], labels[start:end]) for start, end in ((0, 1200), (1200, 1400), (1400, None))]
    return *parts, "scikit-learn digits (stand-in for MNIST)"


def _photographs() -> tuple[Split, Split, Split, str]:
    """28 x 28 grey patches of scikit-learn's two photographs, the labels; the splits are disjoint bands of columns."""
    from sklearn.datasets import load_sample_images

    grey = torch.stack([torch.tensor(photograph) for photograph in load_sample_images().images]).float().mean(3) / 255
    parts = []
    for first, end in ((0, 440), (440, 530), (530, 640)):  # of 640 columns
        patches = grey[:, :, first:end].unfold(1, 28, 14).unfold(2, 28, 14).reshape(2, -1, 784)
        labels = torch.arange(2).repeat_interleave(patches.shape[1])
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts.append(Split(patches.flatten(0, 1)[order], labels[order]))
    return *parts, "scikit-learn photo patches (stand-in for FashionMNIST)"
