"""Sec. 4: the decoder, its mirror image the encoder, and the autoencoder that the paper compares with."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

LATENT_DIM, HIDDEN, PIXELS = 20, (150, 300, 600), 784


def _linear_elu(sizes: tuple[int, ...], generator: Generator | None) -> list[nn.Module]:
    """Linear layers of the given sizes with ELU between them, drawn from ``generator``.

    Weights and biases are uniform in +-1/sqrt(inputs), PyTorch's own default; drawing them from a generator leaves
    the global random state alone, so that runs side by side cannot disturb one another.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        layers += [linear, nn.ELU()]
    return layers[:-1]


class Decoder(nn.Sequential):
    """D: latents (B, 20) -> logits (B, 784), "four gradually increasing linear layers with ELU" (Sec. 4)."""

    def __init__(
        self, latent_dim: int = LATENT_DIM, hidden: tuple[int, ...] = HIDDEN, pixels: int = PIXELS,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(*_linear_elu((latent_dim, *hidden, pixels), generator))
        self.latent_dim = latent_dim


class Encoder(nn.Sequential):
    """E: images (B, 784) -> latents (B, 20), "the exact reverse" of the decoder (Sec. 4)."""

    def __init__(
        self, latent_dim: int = LATENT_DIM, hidden: tuple[int, ...] = HIDDEN, pixels: int = PIXELS,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(*_linear_elu((pixels, *reversed(hidden), latent_dim), generator))
        self.latent_dim = latent_dim


class AutoEncoder(nn.Module):
    """D(E(y)): images (B, 784) -> logits (B, 784); :attr:`decoder` can be encoded by any solver afterwards."""

    def __init__(self, generator: Generator | None = None) -> None:
        super().__init__()
        self.decoder = Decoder(generator=generator)
        self.encoder = Encoder(generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the reconstructions: (B, 784) -> (B, 784)."""
        return self.decoder(self.encoder(images))
