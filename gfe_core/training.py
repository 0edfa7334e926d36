"""Algorithm 1: train a decoder by encoding; the autoencoder trained alongside; losses over whole data sets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Generator, Tensor, nn

from gfe_core.encoding import Encoding, Solver
from gfe_core.models import AutoEncoder
from gfe_core.objective import Landscape, Loss, Objective, bce

Step = Callable[[Tensor], Tensor]  # images (B, P) -> losses (B,); leaves the summed loss's gradient in .grad


class Gradient(Protocol):
    """How the summed loss changes with theta (Sec. 3.1): one tensor for each decoder parameter."""

    needs_path: ClassVar[bool]  # whether the encoding must be recorded

    def __call__(self, objective: Landscape, encoding: Encoding) -> tuple[Tensor, ...]:
        """The gradient of the batch's summed loss at ``encoding``."""
        ...


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


@dataclass(frozen=True)
class CosineRecipe(Recipe):
    """The same with a learning rate that falls to zero over ``until`` training images, by half a cosine wave."""

    until: int = 100_000

    def rate(self, images: int) -> float:
        """The learning rate after ``images`` training images."""
        return self.learning_rate * (1 + math.cos(math.pi * min(1.0, images / self.until))) / 2


def encoding_step(decoder: nn.Module, solver: Solver, gradient: Gradient, loss: Loss = bce) -> Step:
    """One iteration of Algorithm 1: z* of every image by ``solver``, then d_theta of the summed loss by ``gradient``.

    Costs the solver's decoder passes and those of ``gradient``.
    """
    return lambda images: iteration(Objective(decoder, images, loss), solver, gradient)


def iteration(objective: Landscape, solver: Solver, gradient: Gradient) -> Tensor:
    """The losses (B,) of a batch at its z*; d_theta of their sum is left in .grad. See :func:`encoding_step`."""
    encoding = solver.encode(objective, record=gradient.needs_path)  # z*, Eq. (2) or (5)
    for parameter, slope in zip(objective.decoder.parameters(), gradient(objective, encoding), strict=True):
        parameter.grad = slope
    if learn := getattr(solver, "learn", None):  # of a solver that starts where earlier batches point to
        learn(objective, encoding)
    return encoding.loss


def autoencoder_step(autoencoder: AutoEncoder, loss: Loss = bce) -> Step:
    """One iteration of the autoencoder: encoder and decoder updated together by backpropagation."""

    def step(images: Tensor) -> Tensor:
        autoencoder.zero_grad()
        losses = loss(autoencoder(images), images)
        losses.sum().backward()
        return losses.detach()

    return step


class Training:
    """A training that can be advanced, saved and continued; the same seed gives the same weights either way.

    ``images`` counts the training images seen, ``seconds`` the compute time spent in iterations: process CPU time on a
    CPU, synchronised wall time on a GPU.
    """

    def __init__(
        self, model: nn.Module, step: Step, pool: Tensor, generator: Generator, recipe: Recipe | None = None
    ) -> None:
        self.recipe = recipe or Recipe()
        self.model, self.step, self.pool, self.generator = model, step, pool, generator
        self.optimizer = torch.optim.RMSprop(
            model.parameters(), self.recipe.learning_rate, alpha=self.recipe.alpha, eps=self.recipe.epsilon,
            weight_decay=self.recipe.weight_decay,
        )  # fmt: skip
        self.images, self.seconds = 0, 0.0

    def advance(self, images: int, progress: Callable[[int], object] = lambda seen: None) -> float:
        """Train until ``images`` images were seen in all; returns the mean training loss on the way.

        ``images`` must be a whole number of batches. ``progress`` is told the size of each batch that is done. Raises
        ``FloatingPointError`` when the training loss is no longer finite.
        """
        size = self.recipe.batch_size
        if images % size:
            raise ValueError(f"{images} images are not a whole number of batches of {size}.")
        if images < self.images:
            raise ValueError(f"{self.images} images were seen already; a training does not go back to {images}.")
        total = torch.zeros((), dtype=torch.float64, device=self.pool.device)
        iterations = (images - self.images) // size
        started = compute_seconds(self.pool.device)
        try:
            for _ in range(iterations):
                total += self.step(self.pool[self.draw().to(self.pool.device)]).sum()
                self.optimizer.param_groups[0]["lr"] = self.recipe.rate(self.images)
                self.optimizer.step()
                self.images += size
                progress(size)
        finally:
            self.seconds += compute_seconds(self.pool.device) - started
        mean = float(total) / (iterations * size) if iterations else float("nan")
        if iterations and not torch.isfinite(total):
            raise FloatingPointError(
                f"the training loss is {mean} before {self.images} images; lower the learning rate or check the images."
            )
        return mean

    def draw(self) -> Tensor:
        """Where the images of the next batch stand in the pool: (B,), on the CPU."""
        return torch.randint(len(self.pool), (self.recipe.batch_size,), generator=self.generator)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "images": self.images,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.images, self.seconds = state["images"], state["seconds"]


def compute_seconds(device: torch.device) -> float:
    """A clock for compute time: this process's CPU seconds, or on a GPU wall seconds after its work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def encode_all(
    decoder: nn.Module, images: Tensor, solver: Solver, loss: Loss = bce, batch_size: int = 500
) -> Iterator[Encoding]:
    """Encode many images, ``batch_size`` at a time: one :class:`Encoding` a batch, in order.

    Costs the solver's decoder passes. The batch size changes the speed and not the result.
    """
    for batch in images.split(batch_size):
        yield solver.encode(Objective(decoder, batch, loss))


@torch.no_grad()
def autoencoder_losses(autoencoder: AutoEncoder, images: Tensor, loss: Loss = bce) -> tuple[Tensor, Tensor]:
    """The autoencoder's own encoding of images (N, P): latents (N, d) and losses (N,). Costs one pass of each net."""
    z = autoencoder.encoder(images)
    return z, loss(autoencoder.decoder(z), images)
