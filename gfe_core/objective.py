"""l(y, D(z)) for each image, its value and its gradient in z: the only caller of the decoder while encoding.

Every solver sees the decoder through an :class:`Objective`, so that the cost of a method is *counted* here, in decoder
passes, and never assumed.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def bce(logits: Tensor, images: Tensor) -> Tensor:
    """Binary cross-entropy with logits, the mean over the pixels: (B, P), (B, P) -> (B,).

    The sigmoid lives in the loss, so a decoder ends in logits. An untrained decoder has about log 2 = 0.69.
    """
    return functional.binary_cross_entropy_with_logits(logits, images, reduction="none").mean(dim=1)


@dataclass
class Passes:
    """Decoder passes so far, in images: one image sent once through the decoder forward, or once back, counts one."""

    forward: int = 0
    backward: int = 0


class Landscape(ABC):
    """What solvers and gradients see: a loss for each of B images as a function of its latents (B, d).

    :class:`Objective` is the paper's; what wraps one (:mod:`gfe_core.wrappers`) answers every question for itself.
    """

    decoder: nn.Module
    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Forward and backward decoder passes so far, in images; selections of the same objective share the count."""

    @abstractmethod
    def start(self, z0: Tensor | None = None) -> Tensor:
        """z(0), a (B, d) tensor: ``z0``, checked, or zero. Costs nothing."""

    @abstractmethod
    def value(self, z: Tensor) -> Tensor:
        """The loss: (B, d) -> (B,)."""

    @abstractmethod
    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient in z: (B, d) -> (B,), (B, d)."""

    @abstractmethod
    def all_gradients(self, z: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The gradient in z of each image, (B, d), and in theta of the summed loss."""

    @abstractmethod
    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``vector`` (B, d) applied to both Jacobians of the gradient in z: (B, d), and in theta, summed."""

    @abstractmethod
    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its gradient, and its Gauss-Newton matrix in z: (B, d) -> (B,), (B, d), (B, d, d)."""

    @abstractmethod
    def select(self, index: Tensor | slice) -> Landscape:
        """The same for the images at ``index`` (indices, a mask or a slice); it counts into the same passes."""


class Objective(Landscape):
    """The distance l(y, D(z)) of Sec. 3 for a batch of images y, as a function of their latents z.

    ``decoder`` maps (B, d) to logits (B, P); ``images`` is (B, P) in [0, 1]; ``loss`` maps (logits, images) to (B,),
    one loss for each image. Raises ``ValueError`` for images that are not finite or not in [0, 1], and for a decoder
    whose batch normalisation uses the statistics of the batch, in training mode or for want of others: an image's loss
    would depend on its neighbours.
    """

    def __init__(self, decoder: nn.Module, images: Tensor, loss: Loss = bce) -> None:
        if images.ndim != 2:
            raise ValueError(f"images have shape {tuple(images.shape)}; flatten each one: images.reshape(B, -1).")
        outside = ~((images >= 0) & (images <= 1)).all(dim=1)
        if outside.any():
            at = int(outside.nonzero()[0])
            raise ValueError(
                f"image {at} of the batch has pixels that are not finite or not in [0, 1]; "
                "scale the images (for bytes: divide by 255) and drop damaged ones."
            )
        for name, module in decoder.named_modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                continue
            if module.running_mean is None:
                raise ValueError(
                    f"the decoder's batch normalisation '{name}' keeps no running statistics, so that an image's loss "
                    "depends on the rest of the batch in any mode; build it with track_running_stats=True."
                )
            if module.training:
                raise ValueError(
                    f"the decoder's batch normalisation '{name}' is in training mode, so that an image's loss depends "
                    "on the rest of the batch; call decoder.eval() first."
                )
        self.decoder, self.images, self.loss = decoder, images, loss
        self.passes = Passes()

    @property
    def evaluations(self) -> int:
        """Forward and backward decoder passes so far, in images; selections of the same objective share the count."""
        return self.passes.forward + self.passes.backward

    def start(self, z0: Tensor | None = None) -> Tensor:
        """z(0), a (B, d) tensor: ``z0``, checked, or the zero vector of the paper (Sec. 3). Costs nothing."""
        latent_dim = getattr(self.decoder, "latent_dim", None)
        if z0 is None:
            if latent_dim is None:
                raise ValueError("this decoder has no `latent_dim`, so z(0) = 0 has no size; pass z0 of shape (B, d).")
            return self.images.new_zeros(len(self), latent_dim)
        if z0.ndim != 2 or len(z0) != len(self) or latent_dim not in (None, z0.shape[1]):
            raise ValueError(
                f"z0 has shape {tuple(z0.shape)}; it needs ({len(self)}, {latent_dim or 'd'}): one row for each of the "
                f"{len(self)} images."
            )
        require_finite(z0, "z0")
        return z0.detach().to(self.images).clone()

    @torch.no_grad()
    def value(self, z: Tensor) -> Tensor:
        """l(y, D(z)): (B, d) -> (B,). Costs one forward pass."""
        self.passes.forward += len(z)
        return self.loss(self.decoder(z), self.images)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """l(y, D(z)) and its gradient in z: (B, d) -> (B,), (B, d). Costs one forward and one backward pass."""
        self.passes.forward += len(z)
        self.passes.backward += len(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            loss = self.loss(self.decoder(z), self.images)
            (gradient,) = torch.autograd.grad(loss.sum(), z)
        return loss.detach(), gradient

    def all_gradients(self, z: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """grad_z l (B, d) of each image, and partial_theta of the summed loss: one tensor for each decoder parameter.

        Costs one forward and one backward pass.
        """
        self.passes.forward += len(z)
        self.passes.backward += len(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            loss = self.loss(self.decoder(z), self.images).sum()
            in_z, *in_theta = torch.autograd.grad(loss, (z, *self.decoder.parameters()))
        return in_z, tuple(in_theta)

    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """vector^T applied to both Jacobians of grad_z l: nabla_z^2 l (B, d), and partial_theta grad_z l.

        ``vector`` is (B, d); the latter is summed over the images, one tensor for each decoder parameter. Costs four
        passes: one forward, one backward, and the way back through both of them.
        """
        self.passes.forward += len(z)
        self.passes.backward += 3 * len(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            loss = self.loss(self.decoder(z), self.images).sum()
            (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
            in_z, *in_theta = torch.autograd.grad(
                gradient, (z, *self.decoder.parameters()), vector, materialize_grads=True
            )
        return in_z, tuple(in_theta)

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """l(y, D(z)), its gradient, and its Gauss-Newton matrix J^T W J in z: (B, d) -> (B,), (B, d), (B, d, d).

        J (P, d) is the decoder's Jacobian, by forward mode; W the diagonal of the loss's second derivative in the
        logits, for a loss that is a sum over pixels. Costs 1 + d forward passes.
        """
        dim = z.shape[1]
        self.passes.forward += (1 + dim) * len(z)
        z = z.detach()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what torch itself calls at its first forward mode
            along = torch.eye(dim, dtype=z.dtype, device=z.device)[:, None, :].expand(dim, len(z), dim)
            columns: Any = (None, 0)  # one output, and one column of J for each direction
            forward: Any = torch.func.vmap(partial(torch.func.jvp, self.decoder, (z,)), out_dims=columns)
            logits, jacobian = forward((along,))  # (B, P), (d, B, P)
        with torch.enable_grad():
            logits = logits.detach().requires_grad_()
            loss = self.loss(logits, self.images)
            (slope,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
            (weight,) = torch.autograd.grad(slope.sum(), logits)
        jacobian, slope = jacobian.permute(1, 2, 0), slope.detach()  # (B, P, d)
        gradient = torch.einsum("bp,bpd->bd", slope, jacobian)
        return loss.detach(), gradient, jacobian.mT @ (weight.clamp_min(0)[:, :, None] * jacobian)

    def select(self, index: Tensor | slice) -> Objective:
        """The same objective for the images at ``index``; it counts into the same passes."""
        part = object.__new__(Objective)
        part.decoder, part.images, part.loss = self.decoder, self.images[index], self.loss
        part.passes = self.passes
        return part


class NotFinite(ValueError, FloatingPointError):
    """A value is not finite: of the caller's, or of a training that has diverged."""


def require_finite(values: Tensor, what: str) -> None:
    """Raise :class:`NotFinite` naming the first image whose ``values`` (B,) or (B, d) are not all finite."""
    finite = torch.isfinite(values)
    if not finite.all():
        bad = ~(finite if finite.ndim == 1 else finite.all(dim=1))
        raise NotFinite(
            f"{what} of image {int(bad.nonzero()[0])} of the batch is not finite; "
            "check that image, z0 and the decoder's weights."
        )
