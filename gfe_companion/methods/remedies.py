"""What is done to the images or the networks of a training on few images, so that it overfits less (beyond the paper).

All random numbers come from the training's own generator, so that a saved training goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from gfe_companion.methods.learners import Autoencoding, Learner, Learning
from gfe_core.models import AutoEncoder
from gfe_core.objective import bce
from gfe_core.steps import Step, state_of
from gfe_core.training import Recipe, Training, autoencoder_losses


def shifted(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Square images (B, P), each moved by up to ``pixels`` along either axis; what comes in is black.

    Both distances are whole, uniform from -``pixels`` to ``pixels``.
    """
    side = math.isqrt(images.shape[1])
    padded = functional.pad(images.reshape(-1, side, side), [pixels] * 4)
    moves = torch.randint(2 * pixels + 1, (2, len(images), 1), generator=generator).to(images.device)
    rows, columns = torch.arange(side, device=images.device) + moves
    return padded[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]].flatten(1)


def dropped(values: Tensor, share: float, generator: Generator) -> Tensor:
    """``values`` of any shape, each zero with the probability ``share``."""
    return values * (torch.rand(values.shape, generator=generator).to(values.device) >= share)


def with_dropout(layers: Iterable[nn.Module], values: Tensor, share: float, generator: Generator) -> Tensor:
    """``values`` through ``layers``; after each ELU a ``share`` is dropped, and the others grow by 1/(1 - share)."""
    for layer in layers:
        values = layer(values)
        if isinstance(layer, nn.ELU):
            values = dropped(values, share, generator) / (1 - share)
    return values


@dataclass(frozen=True)
class Shifted:
    """``learner`` on images that are moved by up to ``pixels`` each time they are drawn; its encoder sees them so."""

    learner: Learner
    pixels: int

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"{self.learner.name}-shifts{self.pixels}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`."""
        learning = self.learner.begin(images, generator)
        learning.training.step = ShiftedStep(learning.training.step, self.pixels, generator)
        return learning


class ShiftedStep:
    """``step`` on images (B, P) that are moved by up to ``pixels``."""

    def __init__(self, step: Step, pixels: int, generator: Generator) -> None:
        self.step, self.pixels, self.generator = step, pixels, generator
        self.solver = getattr(step, "solver", None)

    def __call__(self, images: Tensor) -> Tensor:
        """The losses (B,) of the moved images; adds to .grad."""
        return self.step(shifted(images, self.pixels, self.generator))

    def state_dict(self) -> dict[str, Any]:
        """That of the step within."""
        return state_of(self.step) or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        if state:
            self.step.load_state_dict(state)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class WeightDecay:
    """An autoencoder whose training loss has ``amount`` |theta|^2 / 2 added, theta being all its weights."""

    amount: float

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"ae-decay{self.amount:g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`."""
        return Autoencoding(Recipe(weight_decay=self.amount)).begin(images, generator)


@dataclass(frozen=True)
class Denoising:
    """A denoising autoencoder (Vincent et al., 2008): the encoder sees each image without a ``share`` of its pixels.

    The loss is that of the whole image. Other images than those of training are encoded as they are.
    """

    share: float
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"ae-denoising{self.share:g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`."""

        def losses(model: AutoEncoder, images: Tensor) -> Tensor:
            return bce(model(dropped(images, self.share, generator)), images)

        return learning_of(losses, images, generator, self.recipe)


@dataclass(frozen=True)
class Dropout:
    """An autoencoder with dropout (Srivastava et al., 2014) of a ``share`` of the hidden units of both networks.

    Other images than those of training are encoded, and decoded, by the whole networks.
    """

    share: float
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"ae-dropout{self.share:g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`."""

        def losses(model: AutoEncoder, images: Tensor) -> Tensor:
            z = with_dropout(model.encoder, images, self.share, generator)
            return bce(with_dropout(model.decoder, z, self.share, generator), images)

        return learning_of(losses, images, generator, self.recipe)


def learning_of(losses: Any, images: Tensor, generator: Generator, recipe: Recipe) -> Learning:
    """The paper's autoencoder trained on ``losses``, a function of it and of images (B, P) that returns (B,)."""
    model = AutoEncoder(generator)

    def step(images: Tensor) -> Tensor:
        found = losses(model, images)
        found.sum().backward()
        return found.detach()

    training = Training(model, step, images, generator, recipe)
    return Learning(training, model.decoder, lambda images: autoencoder_losses(model, images)[1])
