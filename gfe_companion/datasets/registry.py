"""The registry of data sets: where each comes from, whether its files are whole, and its images.

A new data set is one file of this folder and nothing else: a module that defines ``DATASET``, an
:class:`~gfe_companion.datasets.base.Entry`. Its file's name is its name. Whatever lists data sets iterates over
:data:`REGISTRY`.
"""

from __future__ import annotations

import os
import pkgutil
import warnings
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path

from gfe_companion.datasets.base import DataError, Dataset, Entry, Source, StandInWarning
from gfe_companion.datasets.compressed import any_there, to_be_unpacked, unpacked
from gfe_companion.datasets.download import fetch
from gfe_companion.datasets.files import PUT, Fault
from gfe_companion.datasets.found import advice, listed, telling

UNPACKED = "unpacked"  # the folder within that of downloads for what the reader has as .gz


def collect(folders: Iterable[str], package: str) -> dict[str, Entry]:
    """The data sets of the modules of ``package`` in ``folders``, by the module's name, in their stated order."""
    modules = {found.name: import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(folders)}
    entries = {name: module.DATASET for name, module in modules.items() if hasattr(module, "DATASET")}
    return dict(sorted(entries.items(), key=lambda named: (named[1].order, named[0])))


REGISTRY: dict[str, Entry] = collect([str(Path(__file__).parent)], __package__)


def entry(dataset: str) -> Entry:
    """What the registry knows of ``dataset``. Raises ``ValueError``, naming the valid ones, for an unknown one."""
    if dataset not in REGISTRY:
        raise ValueError(f"data set {dataset!r} is unknown; valid are {', '.join(REGISTRY)}.")
    return REGISTRY[dataset]


def locate(data: str, dataset: str, download_to: Path) -> Source:
    """Where ``dataset`` comes from; ``data`` is "auto", "embedded" or a folder in torchvision's layout.

    "auto" means the folder that the environment variable GFE_DATA names, else ``download_to``, filled by a download if
    it has none of the files; where that fails, what the environment ships, with a :class:`StandInWarning`. Files that
    are there as ``.gz`` alone are unpacked into a folder within ``download_to``. Raises :class:`DataError` for a
    damaged file or one missing from a named folder or among others, ``ValueError`` for an unknown data set.
    """
    about = entry(dataset)
    files = about.files
    if data == "embedded" or files is None:
        return Source(None)
    others = [other.files for other in REGISTRY.values() if other.files and other.files.family != files.family]
    named, folder = _named(data), download_to.absolute()
    remedy = f"{PUT}, or delete the folder {folder / files.family} and run again to download it anew."
    if named is not None:
        folder, remedy = named, f"{PUT}, or name another folder, or use --data embedded to run on the embedded images."
    elif failure := fetch(files, folder):
        hint = telling(files, folder, others)
        warnings.warn(
            f"{files.family} could not be downloaded ({failure}). EMBEDDED IMAGES ARE USED INSTEAD "
            f'("{about.embedded.title}"), and every figure says so. '
            f"For the published files put {listed(files)} into {folder / files.family / 'raw'}, "
            f"or name a folder that has them by --data DIR or GFE_DATA{hint and f' ({hint})'}; "
            "--data embedded asks for the embedded images in silence.",
            StandInWarning,
            stacklevel=2,
        )
        return Source(None)
    try:
        whole = unpacked(files, folder, download_to.absolute() / UNPACKED)
        files.require(whole)
    except Fault as fault:
        owner = next((other.family for other in others if fault.md5 in other.md5.values()), None)
        told = f"that is the sum of {owner}'s file; {remedy}" if owner else advice(files, folder, others, remedy)
        raise DataError(f"{fault}: {told}") from fault
    return Source(whole)


def pending(data: str, dataset: str, download_to: Path) -> str:
    """What :func:`locate` would have to do first: the files are to be "downloaded", "unpacked", or "", neither."""
    files = entry(dataset).files
    if data == "embedded" or files is None:
        return ""
    named, folder = _named(data), download_to.absolute()
    if named is None and not any_there(files, folder):
        return "downloaded"
    unpacks = to_be_unpacked(files, named or folder) and not files.is_whole(folder / UNPACKED)
    return "unpacked" if unpacks else ""


def _named(data: str) -> Path | None:
    """The folder that is named by ``data`` or, where that is "auto", by GFE_DATA, if any is."""
    named = (os.environ.get("GFE_DATA") or None) if data == "auto" else data
    return None if named is None else Path(named).expanduser().absolute()


def check(folder: Path, dataset: str) -> None:
    """Raise :class:`DataError` unless ``folder`` has each published file of ``dataset`` with its published sum."""
    if (files := entry(dataset).files) is None:
        raise DataError(f"{dataset} has no published files; load it from Source(None).")
    files.check(folder)


def load(dataset: str, source: Source) -> Dataset:
    """The data set, read once a process. Raises ``DataError`` as :func:`check`, ``ValueError`` for an unknown one."""
    about = entry(dataset)
    if source.folder is not None:
        check(source.folder, dataset)
    return _load(dataset, about, source)


@cache
def _load(dataset: str, about: Entry, source: Source) -> Dataset:
    if source.folder is None or about.files is None:
        shipped = about.embedded
        return Dataset(dataset, shipped.title, shipped.stand_in, {}, *about.cut(shipped.splits()), shipped.caution)
    return Dataset(dataset, about.title, False, dict(about.files.md5), *about.cut(about.files.splits(source.folder)))
