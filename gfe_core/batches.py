"""Where the batches of a training come from: drawn from a pool, as in the paper, or from a loader, epoch after epoch.

Either can be saved and continued, even within an epoch. Raises ``ValueError``, with the remedy, for what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, IterableDataset

from gfe_core.extra import Extra, checked, rows

Batch = tuple[Tensor, Extra | None]  # images, and what travels with them


class Batches(Protocol):
    """An endless source of batches."""

    def draw(self) -> Batch:
        """The next one."""

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that :meth:`load_state_dict` needs to go on as if nothing had happened."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""


class Drawn:
    """``size`` images of ``pool`` (N, ...), drawn with replacement by each of ``generators``, and their ``extra``."""

    def __init__(self, pool: Tensor, size: int, generators: Sequence[Generator], extra: Extra | None = None) -> None:
        if not len(pool):
            raise ValueError("the pool holds no images; a training needs some.")
        if size < 1:
            raise ValueError(f"batch_size = {size}: at least one image in a batch.")
        self.pool, self.size, self.generators = pool, size, generators
        self.extra = moved((pool, checked(extra, len(pool))), pool.device)[1]

    def places(self) -> Tensor:
        """Where the images of the next batch stand in the pool: (B,), on the CPU."""
        draws = [torch.randint(len(self.pool), (self.size,), generator=generator) for generator in self.generators]
        return torch.cat(draws)

    def draw(self) -> Batch:
        """The next batch."""
        index = self.places().to(self.pool.device)
        return self.pool[index], rows(self.extra, index)

    def state_dict(self) -> dict[str, Any]:
        """The states of the generators."""
        return {"generators": [generator.get_state() for generator in self.generators]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for generator, kept in zip(self.generators, state["generators"], strict=True):
            generator.set_state(kept)


class Loaded:
    """The batches of a ``loader``: images, or pairs of images and what travels with them; one epoch after another.

    Meanwhile torch's global random numbers come from a generator of its own, with the state of ``generator``, or of the
    global one where none is given. It is saved at the beginning of each epoch with the loader's generators. A continued
    epoch draws its first batches again and leaves them out, so that order and augmentation are as in one without a
    break. That cannot be for what draws other random numbers: Python's or NumPy's, a GPU's, or those of worker
    processes that outlive an epoch (``persistent_workers``).
    """

    def __init__(self, loader: Iterable[Any], generator: Generator | None = None) -> None:
        if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
            raise ValueError("the pool is a data set; pass a loader: DataLoader(pool, batch_size=16, shuffle=True).")
        if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
            raise ValueError(f"the pool is a {type(loader).__name__}; pass a tensor of images, or a DataLoader.")
        self.loader = loader
        self.generators = [torch.Generator(), *_generators(loader)]
        self.generators[0].set_state(torch.get_rng_state() if generator is None else generator.get_state())
        self.epoch: list[Tensor] | None = None  # the generators' states at the beginning of the epoch under way
        self.taken = 0  # batches of that epoch
        self.iterator: Iterator[Any] | None = None

    def draw(self) -> Batch:
        """The next batch."""
        try:
            if self.iterator is None:
                self._open()
            batch = self._next()
            if batch is None:
                self.epoch, self.taken = None, 0
                self._open()
                batch = self._next()
        except BaseException:  # an interrupted epoch is taken up again where it was
            self.iterator = None
            raise
        if batch is None:
            raise ValueError(
                "the pool has no batch left; pass one that is not empty and can be gone through again, such as a "
                "DataLoader or a list of batches."
            )
        self.taken += 1
        return batch

    def _open(self) -> None:
        if self.epoch is None:
            self.epoch = self._states()
        for generator, state in zip(self.generators, self.epoch, strict=True):
            generator.set_state(state)
        with _global_numbers_from(self.generators[0]):
            self.iterator = iter(self.loader)
        for _ in range(self.taken):
            if self._next() is None:
                raise ValueError(f"the pool has fewer than the {self.taken} batches that were taken from it before.")

    def _next(self) -> Batch | None:
        assert self.iterator is not None
        with _global_numbers_from(self.generators[0]):
            batch = next(self.iterator, None)
        return None if batch is None else split(batch)

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def state_dict(self) -> dict[str, Any]:
        """The generators at the beginning of the epoch, and how many of its batches were taken."""
        return {"generators": self._states() if self.epoch is None else self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        if len(state["generators"]) != len(self.generators):
            raise ValueError("this pool has another number of generators than the saved one; pass the same loader.")
        self.epoch, self.taken, self.iterator = list(state["generators"]), state["taken"], None


def split(batch: Any) -> Batch:
    """A batch of a loader as images, and what travels with them: a tensor, a dict of tensors, or None."""
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    if len(parts) not in (1, 2) or not isinstance(parts[0], Tensor):
        told = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(
            f"a batch of the pool holds {told or 'nothing'}; it needs a tensor of images, or images and one more: a "
            "tensor or a dict of tensors with a row for each image."
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def moved(batch: Batch, device: torch.device | None) -> Batch:
    """The batch on ``device``; None leaves it where it is."""
    images, extra = batch
    if device is None:
        return batch
    if isinstance(extra, dict):
        return images.to(device), {name: tensor.to(device) for name, tensor in extra.items()}
    return images.to(device), extra.to(device) if isinstance(extra, Tensor) else extra


def _generators(loader: Any) -> list[Generator]:
    """Those that a loader, its samplers and its data set say that they draw from."""
    inner = getattr(loader, "batch_sampler", None)
    outer = [getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset")]
    places = [loader, *outer, getattr(inner, "sampler", None)]
    found = (getattr(place, "generator", None) for place in places)
    return list({id(each): each for each in found if isinstance(each, Generator)}.values())


@contextmanager
def _global_numbers_from(generator: Generator) -> Iterator[None]:
    """Torch's global random numbers on the CPU come from ``generator``, and afterwards from where they came before."""
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
