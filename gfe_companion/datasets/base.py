"""What a data set is: its images in three splits, where they come from, and what the registry knows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gfe_companion.datasets.files import Files


class DataError(RuntimeError):
    """A data file is missing or damaged; the text names it and the remedy."""


class StandInWarning(UserWarning):
    """The published files cannot be had, and what the environment ships is used instead."""


@dataclass(frozen=True)
class Source:
    """Where data comes from: the published files in ``folder``, or, where that is None, what the environment ships."""

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


Splits = tuple[Split, Split, Split]  # to learn from, to validate, to test


@dataclass(frozen=True, eq=False)
class Dataset:
    """A loaded data set: ``name`` in the registry, ``title`` for figures, ``md5`` of its files, and three splits.

    ``stand_in``: these are images of something else, so that nothing here speaks of the published data set.
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


@dataclass(frozen=True, eq=False)
class Embedded:
    """What the environment ships of a data set, or in its place: the fields of :class:`Dataset`, and its ``splits``.

    ``splits`` is called when the data set is loaded, at most once a process.
    """

    title: str
    splits: Callable[[], Splits]
    caution: str = ""
    stand_in: bool = False


def whole(splits: Splits) -> Splits:
    """All images of all splits."""
    return splits


@dataclass(frozen=True, eq=False)
class Entry:
    """A data set of the registry.

    - ``order``: its place in lists and tables.
    - ``title``: what figures call it, with its published ``files``; None where there are none to be had.
    - ``embedded``: what is used where the files are not.
    - ``epoch``: training images of one epoch on the published files, in whole batches of 16.
    - ``cut``: which images of the splits belong to it.
    """

    order: int
    title: str
    files: Files | None
    embedded: Embedded
    epoch: int
    cut: Callable[[Splits], Splits] = whole
