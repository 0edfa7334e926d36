"""Decoders and losses such as people have: convolutional, ill-conditioned, of two outputs; all of them small."""

from __future__ import annotations

import torch
from conftest import mlp, seeded
from torch import Tensor, nn
from torch.nn import functional as F


def drawn(module: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """The module with normal weights of deviation scale / sqrt(inputs), whatever the global random state is."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            inputs = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(scale * inputs**-0.5 * torch.randn(parameter.shape, generator=generator))
    return module


def convolutional(dim: int, dtype: torch.dtype = torch.float64, size: int = 32, seed: int = 0) -> nn.Module:
    """Latents (B, d) to colour images (B, 3, size, size)."""
    decoder = nn.Sequential(
        nn.Linear(dim, 2 * (size // 4) ** 2), nn.Unflatten(1, (2, size // 4, size // 4)), nn.ELU(),
        nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.Tanh(), nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3, padding=1),
    )  # fmt: skip
    decoder.latent_dim = dim
    return drawn(decoder, seed).to(dtype)


class IllConditioned(nn.Module):
    """A z + tanh(B z) / 10, where the singular values of A fall from 1 to 1/100."""

    def __init__(self, dim: int, dtype: torch.dtype = torch.float64, pixels: int = 24, seed: int = 0) -> None:
        super().__init__()
        self.latent_dim = dim
        self.a, self.b = (nn.Linear(dim, pixels, bias=bias, dtype=torch.float64) for bias in (True, False))
        drawn(self, seed)
        with torch.no_grad():
            u, s, v = torch.linalg.svd(self.a.weight, full_matrices=False)
            self.a.weight.copy_(u @ torch.diag(torch.logspace(0, -2, len(s), dtype=torch.float64)) @ v)
        self.to(dtype)

    def forward(self, z: Tensor) -> Tensor:
        return self.a(z) + self.b(z).tanh() / 10


class WithVariance(nn.Module):
    """The mean that ``decoder`` returns, and one log-variance for each image beside it."""

    def __init__(self, decoder: nn.Module, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.decoder, self.latent_dim = decoder, decoder.latent_dim
        self.scale = nn.Linear(self.latent_dim, 1)
        with torch.no_grad():
            drawn(self.scale, 5, 0.3)
            self.scale.bias.fill_(-3.0)
        self.to(dtype)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.decoder(z), self.scale(z)[:, 0]


class Counted(nn.Module):
    """A decoder that counts the images that are sent through it either way, whatever it returns."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder, self.latent_dim, self.forward_images, self.backward_images = decoder, decoder.latent_dim, 0, 0

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.forward_images += len(z)
        if z.requires_grad:
            z = z.view_as(z)
            z.register_hook(self._backward)
        return self.decoder(z)

    def _backward(self, gradient: Tensor) -> None:
        self.backward_images += len(gradient)

    def forget(self) -> None:
        self.forward_images = self.backward_images = 0


def per_image(values: Tensor) -> Tensor:
    """The mean of each image's numbers: (B, ...) -> (B,)."""
    return values.flatten(1).mean(dim=1)


def mse(output: Tensor, images: Tensor) -> Tensor:
    return per_image((output - images).square())


def l1(output: Tensor, images: Tensor) -> Tensor:
    return per_image((output - images).abs())


def huber(output: Tensor, images: Tensor) -> Tensor:
    return per_image(F.huber_loss(output, images, reduction="none", delta=0.3))


def masked(output: Tensor, images: Tensor, seen: Tensor) -> Tensor:
    """The mean square over what is ``seen``."""
    return per_image(torch.where(seen, output - images, 0.0).square()) / per_image(seen.to(output.dtype))


def likelihood(output: tuple[Tensor, Tensor], images: Tensor) -> Tensor:
    """The negative log-likelihood of a normal distribution, a number per pixel; it may be negative."""
    mean, log_variance = output
    return log_variance / 2 + per_image((mean - images).square()) * torch.exp(-log_variance) / 2


def perceptual(size: int = 8, dtype: torch.dtype = torch.float64):
    """The squared distance of features, of which there are fewer than pixels."""
    net = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), nn.Conv2d(4, 2, 2)), 3).to(dtype)

    def loss(output: Tensor, images: Tensor) -> Tensor:
        shape = (-1, 3, size, size)
        return (net(output.reshape(shape)) - net(images.reshape(shape))).square().flatten(1).sum(dim=1)

    return loss


def small(dim: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Latents to (B, 24) numbers."""
    return mlp((dim, 10, 24), scale=0.7, dtype=dtype)
