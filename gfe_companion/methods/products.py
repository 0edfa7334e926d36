"""A decoder whose matrix products go through oneDNN, for encoding on a CPU where torch's own are slower.

torch multiplies float32 matrices by MKL, which on some processors is half as fast as oneDNN, which torch ships as
well. ``bench --only peers`` measures what this is worth.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

ROWS = 16


def available() -> bool:
    """Whether this build of torch has the operation."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _Product(torch.autograd.Function):
    """x W^T + b, with one way back, to x alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _multiplied(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiplied(gradients[0].contiguous(), weight.mT, None), None, None


class Product(nn.Module):
    """A linear layer by oneDNN, with the weights that ``linear`` has now."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(each.detach(), False) for each in (linear.weight, linear.bias))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, n) -> (B, m)."""
        return _Product.apply(x, self.weight, self.bias)


class Padded(nn.Module):
    """A decoder that is given whole groups of :data:`ROWS` latents, the last of them filled up with zeros.

    oneDNN compiles its products for each number of rows, and images leave a batch one by one.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder, self.latent_dim = decoder, decoder.latent_dim

    def forward(self, z: Tensor) -> Tensor:
        """Latents (B, d) -> what the decoder returns for them."""
        lacking = -len(z) % ROWS
        return self.decoder(functional.pad(z, (0, 0, 0, lacking)))[: len(z)] if lacking else self.decoder(z)


def by_onednn(decoder: nn.Module) -> nn.Module:
    """A copy of ``decoder`` for encoding, whose linear layers, float32 and with a bias, multiply by oneDNN.

    Its gradients are in the latents alone, once: for solvers that need no more than ``value_and_grad``.
    """
    copy = deepcopy(decoder)
    for module in list(copy.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and child.bias is not None and child.weight.dtype == torch.float32:
                setattr(module, name, Product(child))
    return Padded(copy.requires_grad_(False))


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
