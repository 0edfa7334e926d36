"""Other ways to learn a decoder: variational, semi-amortised, and with stored latents (beyond the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from gfe_companion.methods.baselines import StoredLatents, StoredStep
from gfe_companion.methods.learners import Learning
from gfe_core.models import AutoEncoder, Decoder, Encoder
from gfe_core.objective import bce
from gfe_core.steps import add_to_grad
from gfe_core.training import Recipe, Training


class VariationalPair(nn.Module):
    """A decoder, and an encoder (B, P) -> (B, 2 d) that says the mean and the log variance of each latent."""

    def __init__(self, generator: Generator | None = None) -> None:
        super().__init__()
        self.decoder = Decoder(generator=generator)
        self.encoder = Encoder(2 * self.decoder.latent_dim, generator=generator)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances (B, d) of the latents of images (B, P)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), summed over latents: (B, d), (B, d) -> (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


@dataclass(frozen=True)
class Variational:
    """A variational autoencoder (Kingma and Welling, 2014): cross-entropy + ``weight`` KL, one sample of an
    image's latent each time it is drawn.

    The cross-entropy is a mean over the 784 pixels, so that a weight of 1/784 is the evidence bound. Other images than
    those of training are encoded by the posterior's mean.
    """

    weight: float
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"vae{self.weight:.2g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`~gfe_companion.methods.learners.Learner`."""
        model = VariationalPair(generator)

        def step(images: Tensor) -> Tensor:
            mean, log_variance = model.posterior(images)
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            losses = bce(model.decoder(mean + (log_variance / 2).exp() * noise), images)
            (losses + self.weight * divergence(mean, log_variance)).sum().backward()
            return losses.detach()

        @torch.no_grad()
        def own(images: Tensor) -> Tensor:
            return bce(model.decoder(model.posterior(images)[0]), images)

        return Learning(Training(model, step, images, generator, self.recipe), model.decoder, own)


def refined(decoder: nn.Module, images: Tensor, z: Tensor, steps: int, rate: float) -> Tensor:
    """Latents (B, d) after ``steps`` gradient steps of length ``rate`` on each image's loss, from ``z``.

    Costs a forward and a backward pass a step.
    """
    for _ in range(steps):
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(bce(decoder(z), images).sum(), z)
        z = z - rate * slope
    return z.detach()


@dataclass(frozen=True)
class SemiAmortised:
    """An autoencoder whose latents are refined by a few gradient steps (as Kim et al., 2018), in training and in tests.

    The decoder learns at the refined latents, the encoder at its own: it is to be a good start. Costs ``steps`` + 2
    forward and backward passes of the decoder an image.
    """

    rate: float
    steps: int = 10
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"ae-refined{self.steps}x{self.rate:g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`~gfe_companion.methods.learners.Learner`."""
        model = AutoEncoder(generator)
        encoder, decoder = model.encoder, model.decoder

        def step(images: Tensor) -> Tensor:
            z = encoder(images)
            slopes = torch.autograd.grad(bce(decoder(z), images).sum(), list(encoder.parameters()))
            add_to_grad(encoder, slopes)
            losses = bce(decoder(refined(decoder, images, z, self.steps, self.rate)), images)
            losses.sum().backward()
            return losses.detach()

        @torch.no_grad()
        def own(images: Tensor) -> Tensor:
            return bce(decoder(refined(decoder, images, encoder(images), self.steps, self.rate)), images)

        return Learning(Training(model, step, images, generator, self.recipe), decoder, own)


@dataclass(frozen=True)
class Stored:
    """DeepSDF's auto-decoder: one stored latent a training image, moved by ``latent_rate``. It has no encoder."""

    latent_rate: float
    penalty: float = 1e-4
    recipe: Recipe = Recipe()

    @property
    def name(self) -> str:
        """For the names of runs."""
        return f"stored{self.latent_rate:g}"

    def begin(self, images: Tensor, generator: Generator) -> Learning:
        """See :class:`~gfe_companion.methods.learners.Learner`; the training's pool are the numbers of the images."""
        decoder = Decoder(generator=generator)
        stored = StoredLatents(images, decoder.latent_dim, self.latent_rate, self.penalty, generator)
        pool = torch.arange(len(images), device=images.device)
        return Learning(Training(decoder, StoredStep(stored, decoder), pool, generator, self.recipe), decoder, None)
