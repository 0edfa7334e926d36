"""What solvers see: a loss for each of B images as a function of its latents, with its derivatives and their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Start = Tensor | Callable[[Tensor], Tensor]  # z(0), or what gives it for images
InTheta = tuple[Tensor | None, ...]  # one entry for each decoder parameter; None where it has no gradient


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
    dtype: torch.dtype  # of latents and losses
    floor: float | None  # what the loss cannot fall below, where a share of the loss itself means something

    def __len__(self) -> int:
        return len(self.images)

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Forward and backward decoder passes so far, in images; selections of the same objective share the count."""

    @abstractmethod
    def start(self, z0: Start | None = None) -> Tensor:
        """z(0), a (B, d) tensor: ``z0``, checked, or zero. Costs nothing."""

    @abstractmethod
    def shaped(self, z: Tensor) -> Tensor:
        """Latents (..., d) in the shape in which a solver returns them."""

    @abstractmethod
    def value(self, z: Tensor) -> Tensor:
        """The loss: (B, d) -> (B,)."""

    @abstractmethod
    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient in z: (B, d) -> (B,), (B, d)."""

    @abstractmethod
    def all_gradients(self, z: Tensor) -> tuple[Tensor, InTheta]:
        """The gradient in z of each image, (B, d), and in theta of the summed loss."""

    @abstractmethod
    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """``vector`` (B, d) applied to both Jacobians of the gradient in z: (B, d), and in theta, summed."""

    @abstractmethod
    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its gradient, and its Gauss-Newton matrix in z: (B, d) -> (B,), (B, d), (B, d, d)."""

    @abstractmethod
    def select(self, index: Tensor | slice) -> Landscape:
        """The same for the images at ``index`` (indices, a mask or a slice); it counts into the same passes."""


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
