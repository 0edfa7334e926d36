"""Decoders and their mirror images, the encoders, of other sizes and kinds than the paper's (beyond the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from gfe_core.models import LATENT_DIM, Decoder, Encoder

CHANNELS, SIDE = (32, 16), 7  # of the convolutional pair: 7 x 7 -> 14 x 14 -> 28 x 28
FILTER = (4, 2, 1)  # size, stride and padding


class Pair(nn.Module):
    """D(E(y)) for any decoder and encoder: images (B, 784) -> logits (B, 784)."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the reconstructions: (B, 784) -> (B, 784)."""
        return self.decoder(self.encoder(images))


class ConvolutionalDecoder(nn.Sequential):
    """Latents (B, d) -> logits (B, 784): a linear layer and two transposed convolutions, ELU between them."""

    def __init__(self, latent_dim: int = LATENT_DIM, generator: Generator | None = None) -> None:
        first, second = CHANNELS
        super().__init__(
            _drawn(latent_dim, generator, nn.Linear, latent_dim, first * SIDE**2), nn.ELU(),
            nn.Unflatten(1, (first, SIDE, SIDE)),
            _drawn(4 * first, generator, nn.ConvTranspose2d, first, second, *FILTER), nn.ELU(),
            _drawn(4 * second, generator, nn.ConvTranspose2d, second, 1, *FILTER), nn.Flatten(),
        )  # fmt: skip
        self.latent_dim = latent_dim


class ConvolutionalEncoder(nn.Sequential):
    """Images (B, 784) -> latents (B, d): the reverse of :class:`ConvolutionalDecoder`."""

    def __init__(self, latent_dim: int, generator: Generator | None = None) -> None:
        first, second = CHANNELS
        super().__init__(
            nn.Unflatten(1, (1, 4 * SIDE, 4 * SIDE)),
            _drawn(16, generator, nn.Conv2d, 1, second, *FILTER), nn.ELU(),
            _drawn(16 * second, generator, nn.Conv2d, second, first, *FILTER), nn.ELU(),
            nn.Flatten(), _drawn(first * SIDE**2, generator, nn.Linear, first * SIDE**2, latent_dim),
        )  # fmt: skip
        self.latent_dim = latent_dim


@dataclass(frozen=True)
class Network:
    """A kind of network: the paper's linear layers, or ``convolutional`` ones, with latents of ``latent_dim``."""

    latent_dim: int = LATENT_DIM
    convolutional: bool = False

    def __str__(self) -> str:
        return f"{'convolutional' if self.convolutional else 'linear layers'}, d = {self.latent_dim}"

    def decoder(self, generator: Generator | None = None) -> nn.Module:
        """A decoder whose weights are drawn from ``generator``."""
        make = ConvolutionalDecoder if self.convolutional else Decoder
        return make(self.latent_dim, generator=generator)

    def pair(self, generator: Generator | None = None) -> Pair:
        """The decoder that :meth:`decoder` draws, then its encoder."""
        make = ConvolutionalEncoder if self.convolutional else Encoder
        return Pair(self.decoder(generator), make(self.latent_dim, generator=generator))


def _drawn(inputs: int, generator: Generator | None, kind: type[nn.Module], *sizes: int) -> nn.Module:
    """A layer with weights and biases uniform in +-1/sqrt(inputs), ``inputs`` being what one output is made of.

    The global random state is left alone, as in :mod:`gfe_core.models`.
    """
    layer = nn.utils.skip_init(kind, *sizes)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    return layer
