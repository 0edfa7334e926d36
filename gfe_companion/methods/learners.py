"""How decoders learn where images are few: as an autoencoder, or by encoding (beyond the paper).

A learner is a frozen setting. :meth:`begin` makes of it a training on given images, together with its own encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn

from gfe_core.adjoint import ApproximateGradient
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.steps import autoencoder_step, encoding_step
from gfe_core.training import Recipe, Training, autoencoder_losses, encode_all
from gfe_core.warm import WarmStart


class Learning(NamedTuple):
    """A ``training``, its ``decoder``, and the losses (B,) of images (B, P) by its ``own`` encoder, if it has one."""

    training: Training
    decoder: nn.Module
    own: Callable[[Tensor], Tensor] | None


class Learner(Protocol):
    """How a decoder learns; a frozen dataclass."""

    @property
    def name(self) -> str:
        """For the names of runs."""

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """A training on ``images`` (N, P) before its first batch; weights and batches are drawn from ``generator``."""


@dataclass(frozen=True)
class Autoencoding:
    """The paper's autoencoder (Sec. 4): an encoder network, updated with the decoder."""

    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return "ae"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`. The own encoder costs one pass of each network."""
        model = AutoEncoder(generator)
        training = Training(model, autoencoder_step(model), images, generator, self.recipe)
        return Learning(training, model.decoder, lambda images: autoencoder_losses(model, images)[1])


@dataclass(frozen=True)
class Encoding:
    """Gradient flow encoding: Algorithm 1 with ``solver``; other images than those of training by ``tester``.

    The latter starts from what the training has learnt up to then. It usually has more trials.
    """

    solver: WarmStart
    tester: WarmStart
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return "gfe"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`Learner`. The own encoder costs the decoder passes of ``tester``."""
        decoder = Decoder(generator=generator)
        step = encoding_step(decoder, self.solver, ApproximateGradient())

        def own(images: Tensor) -> Tensor:
            encoder = self.tester.encoder(step.solver.knowledge())  # type: ignore[attr-defined]
            return torch.cat([encoding.loss for encoding in encode_all(decoder, images, encoder)])

        return Learning(Training(decoder, step, images, generator, self.recipe), decoder, own)
