"""Algorithm 1, batch after batch: a training that can be saved and continued, by any optimiser, from any loader."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gfe_core.batches import Batches, Drawn, Loaded, moved
from gfe_core.extra import Extra
from gfe_core.many import autoencoder_losses, encode_all
from gfe_core.steps import Gradient, Step, autoencoder_step, encoding_step, iteration, state_of

__all__ = [
    "CosineRecipe", "Gradient", "Recipe", "Step", "Training", "autoencoder_losses", "autoencoder_step",
    "compute_seconds", "encode_all", "encoding_step", "iteration",
]  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How theta is updated (Sec. 4): RMSprop, on batches drawn from the pool with replacement.

    The batch's training loss is the *sum* over its images. Sec. 5 speaks of Adam instead; the numbers of Table 1 come
    out with RMSprop. ``weight_decay`` adds so much of |theta|^2 / 2 to that loss (beyond the paper).
    """

    batch_size: int = 16
    learning_rate: float = 5e-4
    alpha: float = 0.9
    epsilon: float = 1e-6
    weight_decay: float = 0.0

    def rate(self, images: int) -> float:
        """The learning rate after ``images`` training images: constant, as in the paper."""
        return self.learning_rate

    def optimizer(self, model: nn.Module) -> Optimizer:
        """RMSprop for the parameters of ``model``."""
        return torch.optim.RMSprop(
            model.parameters(), self.learning_rate, alpha=self.alpha, eps=self.epsilon, weight_decay=self.weight_decay
        )


@dataclass(frozen=True)
class CosineRecipe(Recipe):
    """The same with a learning rate that falls to zero over ``until`` training images, by half a cosine wave.

    With ``until = 0`` it is constant.
    """

    until: int = 100_000

    def rate(self, images: int) -> float:
        """The learning rate after ``images`` training images."""
        share = min(1.0, images / self.until) if self.until else 0.0
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2


class Training:
    """A training that can be advanced, saved and continued; the same seed gives the same weights either way.

    - ``step``: a function of a batch that adds to .grad, such as that of :func:`encoding_step`.
    - ``pool``: images (N, ...) that batches are drawn from with replacement, as in the paper; or a DataLoader, or
      anything else that can be gone through for batches, whose epochs follow one another. A batch of it is a tensor of
      images, or a pair of images and ``extra`` (masks, labels), which is handed to ``step``.
    - ``generator``: draws from the pool; by default one that is seeded with 0. See :class:`Loaded` for loaders.
    - ``recipe``: the size of drawn batches and, without an ``optimizer``, the optimiser and its rate.
    - ``optimizer``: any of torch's over parameters of ``model``; ``scheduler``: any of torch's over it, which steps
      after each update.
    - ``accumulate``: batches whose gradients are added up for an update.
    - ``extra``: what travels with the images of a tensor, one row for each, or a dict of such tensors.

    ``images`` counts the training images seen, ``seconds`` the compute time spent in iterations: process CPU time on a
    CPU, synchronised wall time on a GPU. A training that was interrupted within an update may hold half of it: go on
    from the last saved state. Raises ``ValueError`` for arguments that do not fit one another.
    """

    def __init__(
        self, model: nn.Module, step: Step, pool: Tensor | Iterable[Any], generator: Generator | None = None,
        recipe: Recipe | None = None, *, optimizer: Optimizer | None = None, scheduler: LRScheduler | None = None,
        accumulate: int = 1, extra: Extra | None = None,
    ) -> None:  # fmt: skip
        if accumulate < 1:
            raise ValueError(f"accumulate = {accumulate}: an update needs at least one batch.")
        self.model, self.step, self.pool, self.accumulate = model, step, pool, accumulate
        self.recipe, self.own = recipe or Recipe(), optimizer is None
        self.optimizer = self.recipe.optimizer(model) if optimizer is None else _fitting(optimizer, model)
        if scheduler is not None and (self.own or getattr(scheduler, "optimizer", optimizer) is not optimizer):
            raise ValueError("the scheduler was built on another optimizer; pass that one too, as optimizer.")
        self.scheduler = scheduler
        self.generator = Generator().manual_seed(0) if generator is None else generator
        self.batches: Batches
        if isinstance(pool, Tensor):
            self.batches = Drawn(pool, self.recipe.batch_size, [self.generator], extra)
        elif extra is not None:
            raise ValueError("extra belongs to a pool in a tensor; a loader gives it with each batch: (images, extra).")
        else:
            self.batches = Loaded(pool, generator)
        parameter = next(model.parameters(), None)
        self.device = parameter.device if parameter is not None else getattr(pool, "device", torch.device("cpu"))
        self.images, self.seconds = 0, 0.0

    def advance(self, images: int, progress: Callable[[int], object] = lambda seen: None) -> float:
        """Train until ``images`` images were seen in all; returns the mean training loss on the way.

        ``images`` must be a whole number of updates; from a loader, whose batches may differ in size, the last update
        is the one that reaches it. ``progress`` is told the size of each batch that is done. Raises
        ``FloatingPointError`` when the training loss is no longer finite.
        """
        if isinstance(self.batches, Drawn) and images % (size := self.recipe.batch_size * self.accumulate):
            unit = "batches" if self.accumulate == 1 else f"updates of {self.accumulate} batches"
            raise ValueError(f"{images} images are not a whole number of {unit} of {size}.")
        if images < self.images:
            raise ValueError(f"{self.images} images were seen already; a training does not go back to {images}.")
        total, before = torch.zeros((), dtype=torch.float64, device=self.device), self.images
        started = compute_seconds(self.device)
        try:
            while self.images < images:
                total += self.update(progress)
        finally:
            self.seconds += compute_seconds(self.device) - started
        if self.images == before:
            return float("nan")
        mean = float(total) / (self.images - before)
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss is {mean} before {self.images} images; lower the learning rate or check the images."
            )
        return mean

    def update(self, progress: Callable[[int], object] = lambda seen: None) -> Tensor:
        """One update of theta, from ``accumulate`` batches; returns their summed loss."""
        self.model.zero_grad()
        total, sizes = torch.zeros((), dtype=torch.float64, device=self.device), []
        for _ in range(self.accumulate):
            images, extra = moved(self.batches.draw(), self.device)
            losses = self.step(images) if extra is None else self.step(images, extra)
            total += losses.sum()
            sizes.append(self.counted(images))
        if self.own:
            self.optimizer.param_groups[0]["lr"] = self.recipe.rate(self.images)
        self.optimizer.step()
        self.images += sum(sizes)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(float(total) / sum(sizes))
        elif self.scheduler is not None:
            self.scheduler.step()
        for size in sizes:
            progress(size)
        return total

    def counted(self, images: Tensor) -> int:
        """How many training images a batch counts as."""
        return len(images)

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that :meth:`load_state_dict` needs to go on as if nothing had happened.

        What :class:`Loaded` says of loaders holds here too.
        """
        state = {
            "settings": self._settings(), "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scheduler": state_of(self.scheduler), "step": state_of(self.step), "batches": self.batches.state_dict(),
            "images": self.images, "seconds": self.seconds,
        }  # fmt: skip
        return deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a copy of a :meth:`state_dict`.

        Raises ``ValueError`` for that of a training with another solver, optimiser, scheduler or kind of pool.
        """
        for name, own in self._settings().items():
            if own != (kept := state["settings"][name]):
                raise ValueError(f"the saved training's {name} is {kept}, and this one's is {own}; pass the same.")
        state = deepcopy(state)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for part, kept in ((self.scheduler, state["scheduler"]), (self.step, state["step"])):
            if kept is not None:
                part.load_state_dict(kept)  # type: ignore[union-attr]
        self.batches.load_state_dict(state["batches"])
        self.images, self.seconds = state["images"], state["seconds"]

    def _settings(self) -> dict[str, str]:
        """What must be the same in a training that is continued, in words that do not depend on the process."""
        solver = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(getattr(self.step, "solver", None)))
        kinds = {"optimizer": self.optimizer, "scheduler": self.scheduler, "step": self.step, "pool": self.batches}
        return {"solver": solver} | {name: _kind(part) for name, part in kinds.items()}


def _kind(part: object) -> str:
    return "none" if part is None else type(part).__name__


def _fitting(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """``optimizer``, if it can update ``model``."""
    theirs = {id(parameter) for parameter in model.parameters()}
    if not all(id(parameter) in theirs for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            "the optimizer holds a parameter that is not the model's, so that it would not be saved with it; build it "
            "on model.parameters(), after the model has its final dtype and device."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("LBFGS asks for the loss several times in a step; pass an optimizer that takes one gradient.")
    return optimizer


def compute_seconds(device: torch.device) -> float:
    """A clock for compute time: this process's CPU seconds, or on a GPU wall seconds after its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
