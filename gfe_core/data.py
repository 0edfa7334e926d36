"""MNIST, SegmentedMNIST and FashionMNIST, checked byte for byte; and stand-ins for machines that can reach nothing."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from torch.nn import functional

DATASETS = ("mnist", "segmented_mnist", "fashion_mnist")
POOL = 50_000  # the first training images are the training pool, the rest are for validation
NETWORK_TIMEOUT_S = 20

# The published MD5 sums of the uncompressed files.
MD5 = {
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


class DataError(RuntimeError):
    """A data file is missing or damaged; the text names it and the remedy."""


class StandInWarning(UserWarning):
    """The real data cannot be had, and embedded stand-ins are used instead."""


@dataclass(frozen=True)
class Source:
    """Where data comes from: torchvision's layout in ``folder``, or, where that is None, the embedded stand-ins."""

    folder: Path | None

    @property
    def stand_in(self) -> bool:
        """Whether these are the embedded stand-ins."""
        return self.folder is None


@dataclass(frozen=True)
class Split:
    """``images`` float32 (N, 784) in [0, 1] and ``labels`` int64 (N,)."""

    images: Tensor
    labels: Tensor

    def having(self, labels: tuple[int, ...]) -> Split:
        """The images that carry one of ``labels``."""
        chosen = torch.isin(self.labels, torch.tensor(labels))
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Dataset:
    """``name`` as in :data:`DATASETS` . ``title`` for figures . ``stand_in`` . ``md5`` of its files . three splits."""

    name: str
    title: str
    stand_in: bool
    md5: dict[str, str]
    train: Split
    validation: Split
    test: Split


def locate(data: str, dataset: str, download_to: Path) -> Source:
    """Where ``dataset`` comes from; ``data`` is "auto", "embedded" or a folder in torchvision's layout.

    "auto" means the folder that the environment variable GFE_DATA names, else ``download_to``, into which missing files
    are downloaded; where that fails, the stand-ins, with a :class:`StandInWarning`. A folder that was named must hold
    whole files. Raises :class:`DataError` for missing or damaged files, ``ValueError`` for an unknown data set.
    """
    family = _family(dataset)
    if data == "embedded":
        return Source(None)
    named = os.environ.get("GFE_DATA") if data == "auto" else data
    if named:
        check(Path(named), family)
        return Source(Path(named).absolute())
    missing = [path.name for path in _files(download_to, family) if not path.exists()]
    if missing:
        try:
            with _timeout(NETWORK_TIMEOUT_S):
                _download(download_to, family)
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"{family} could not be downloaded ({_one_line(error)}). "
                "EMBEDDED STAND-INS ARE USED INSTEAD, and every figure says so. For the real data put "
                f"{', '.join(missing)} (uncompressed) into {_raw(download_to, family)}, or name a folder that has them "
                "by --data DIR or GFE_DATA; --data embedded asks for the stand-ins in silence.",
                StandInWarning,
                stacklevel=2,
            )
            return Source(None)
    check(download_to, family)
    return Source(download_to.absolute())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def check(folder: Path, family: str) -> None:
    """Raise :class:`DataError` unless ``folder`` holds every file of ``family``, each with its published MD5 sum."""
    for path in _files(folder, family):
        try:
            stat = path.stat()
        except OSError:
            raise DataError(
                f"{path} is missing; put the uncompressed file there, or remove {path.parent} to download it anew, "
                "or use --data embedded."
            ) from None
        if _md5(path, stat.st_size, stat.st_mtime_ns) != MD5[family][path.name]:
            raise DataError(
                f"{path} is damaged: its MD5 sum is not the published {MD5[family][path.name]}; delete the folder "
                f"{path.parent} so that it is downloaded anew, or put whole files there."
            )


def load(dataset: str, source: Source) -> Dataset:
    """The data set with its splits. Raises :class:`DataError` for damaged files, ``ValueError`` for an unknown name."""
    family = _family(dataset)
    if source.folder is not None:
        check(source.folder, family)
    return _load(dataset, family, source)


@lru_cache(maxsize=3)
def _load(dataset: str, family: str, source: Source) -> Dataset:
    if source.folder is None:
        train, validation, test, title = _digits() if family == "MNIST" else _photographs()
        md5 = {}
    else:
        whole, test = (_read(source.folder, family, part) for part in (True, False))
        train = Split(whole.images[:POOL], whole.labels[:POOL])
        validation = Split(whole.images[POOL:], whole.labels[POOL:])
        title, md5 = family, dict(MD5[family])
    if dataset == "segmented_mnist":
        low, high = tuple(range(5)), tuple(range(5, 10))
        train, validation, test = train.having(low), validation.having(low), test.having(high)
        title = "SegmentedMNIST" if source.folder else "scikit-learn digits 0-4 / 5-9 (stand-in for SegmentedMNIST)"
    return Dataset(dataset, title, source.stand_in, md5, train, validation, test)


def _family(dataset: str) -> str:
    if dataset not in DATASETS:
        raise ValueError(f"data set {dataset!r} is unknown; valid are {', '.join(DATASETS)}.")
    return "FashionMNIST" if dataset == "fashion_mnist" else "MNIST"


def _raw(folder: Path, family: str) -> Path:
    return folder / family / "raw"


def _files(folder: Path, family: str) -> list[Path]:
    return [_raw(folder, family) / name for name in MD5[family]]


@lru_cache(maxsize=64)
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    """The sum of a file; ``size`` and ``mtime_ns`` stand for its content, so that it is read once a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _read(folder: Path, family: str, train: bool) -> Split:
    files = getattr(_torchvision_datasets(), family)(folder, train=train, download=False)
    return Split(files.data.reshape(len(files.data), -1).float() / 255, files.targets.long())


def _download(folder: Path, family: str) -> None:
    getattr(_torchvision_datasets(), family)(folder, download=True)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@lru_cache(maxsize=1)
def _torchvision_datasets() -> ModuleType:
    """Import ``torchvision.datasets``, also where torch is a CPU build and torchvision was compiled for CUDA.

    In that pair torchvision's compiled operators cannot be loaded, and its import fails when it registers meta kernels
    for ``nms`` and ``qnms``, which then do not exist. Declaring their schemas is enough; reading data uses neither.
    """
    try:
        import torchvision.datasets
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _torchvision_datasets.library = library  # the declarations live as long as this object
        import torchvision.datasets

    return torchvision.datasets


def _digits() -> tuple[Split, Split, Split, str]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, scaled to 28 x 28; split in their order."""
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    large = functional.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False).clamp(0, 1)
    images, labels = large.reshape(len(large), -1), torch.tensor(digits.target, dtype=torch.int64)
    parts = [Split(images[start:end], labels[start:end]) for start, end in ((0, 1200), (1200, 1400), (1400, None))]
    return *parts, "scikit-learn digits (stand-in for MNIST)"


def _photographs() -> tuple[Split, Split, Split, str]:
    """28 x 28 grey patches of scikit-learn's two sample photographs, each labelled by its photograph.

    The three splits come from disjoint bands of columns, so that no pixel is in two of them.
    """
    parts = []
    for first, end in ((0, 440), (440, 530), (530, 640)):
        images, labels = [], []
        for label, photograph in enumerate(load_sample_images().images):
            grey = torch.tensor(np.asarray(photograph, dtype=np.float32)).mean(dim=2)[:, first:end] / 255
            patches = grey.unfold(0, 28, 14).unfold(1, 28, 14).reshape(-1, 784)
            images.append(patches)
            labels.append(torch.full((len(patches),), label))
        order = torch.randperm(sum(map(len, labels)), generator=torch.Generator().manual_seed(0))
        parts.append(Split(torch.cat(images)[order], torch.cat(labels)[order]))
    return *parts, "scikit-learn photo patches (stand-in for FashionMNIST)"
