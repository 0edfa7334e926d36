"""Objectives made of others: with a prior on the latents, or in other coordinates (beyond the paper).

Each wraps another :class:`~gfe_core.objective.Landscape` and hands the work on; it counts into the same decoder passes.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from gfe_core.landscape import InTheta, Landscape, Start


class Wrapped(Landscape):
    """A landscape over ``within``, whose decoder, images and count of passes it shares."""

    def __init__(self, within: Landscape) -> None:
        self.within, self.decoder, self.images = within, within.decoder, within.images
        self.dtype, self.floor = within.dtype, within.floor

    @property
    def evaluations(self) -> int:
        """Decoder passes so far, in images."""
        return self.within.evaluations

    def start(self, z0: Start | None = None) -> Tensor:
        """z(0), as ``within`` has it."""
        return self.within.start(z0)

    def shaped(self, z: Tensor) -> Tensor:
        """Latents (..., d) as ``within`` has them."""
        return self.within.shaped(z)

    @abstractmethod
    def select(self, index: Tensor | slice) -> Wrapped:
        """The same for the images at ``index``."""


class Penalised(Wrapped):
    """l(y, D(z)) + penalty |z|^2 / 2: an objective whose latents stay near zero, as under a Gaussian prior.

    Where l is -log p(y | z) up to a constant, this is -log p(z | y) up to a constant for the prior N(0, I / penalty),
    and its minimiser the maximum a posteriori (MAP) estimate. A loss that is the *mean* over P pixels, as
    :func:`~gfe_core.objective.bce` is, is -log p(y | z) / P: there the prior is N(0, I / (P penalty)). Raises
    ``ValueError`` for a penalty that is negative or not finite.
    """

    def __init__(self, objective: Landscape, penalty: float) -> None:
        if not 0 <= penalty < math.inf:
            raise ValueError(f"penalty = {penalty}: the weight of |z|^2 / 2 must be at least 0 and finite.")
        super().__init__(objective)
        self.penalty = penalty

    def added(self, z: Tensor) -> Tensor:
        """What is added to the loss: (..., d) -> (...)."""
        return self.penalty / 2 * z.square().sum(dim=-1)

    def value(self, z: Tensor) -> Tensor:
        """The sum. One forward pass."""
        return self.within.value(z) + self.added(z)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and its gradient. One forward and one backward pass."""
        loss, gradient = self.within.value_and_grad(z)
        return loss + self.added(z), gradient + self.penalty * z

    def all_gradients(self, z: Tensor) -> tuple[Tensor, InTheta]:
        """Its gradient in z, and in theta, on which the penalty does not depend. One forward and one backward pass."""
        in_z, in_theta = self.within.all_gradients(z)
        return in_z + self.penalty * z, in_theta

    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """``vector`` (B, d) applied to the Jacobians of that gradient. Four passes."""
        in_z, in_theta = self.within.vector_jacobian(z, vector)
        return in_z + self.penalty * vector, in_theta

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient and Gauss-Newton matrix, the penalty's curvature included. 1 + d forward passes."""
        loss, gradient, curvature = self.within.gauss_newton(z)
        return loss + self.added(z), gradient + self.penalty * z, curvature + self.penalty * torch.eye(z.shape[1]).to(z)

    def select(self, index: Tensor | slice) -> Penalised:
        """The same for the images at ``index``."""
        return Penalised(self.within.select(index), self.penalty)


class Moved(Wrapped):
    """An objective in the coordinates u of z = z0 + u L^T, whose zero is ``z0`` (B, d).

    L is ``factor``, one (d, d) for all images or one for each, (B, d, d).
    """

    def __init__(self, objective: Landscape, z0: Tensor, factor: Tensor) -> None:
        super().__init__(objective)
        self.z0, self.factor = z0, factor

    def start(self, z0: Start | None = None) -> Tensor:
        """u(0): as given, checked, or zero, which is ``z0`` of the class."""
        return self.within.start(torch.zeros_like(self.z0) if z0 is None else z0)

    def shaped(self, u: Tensor) -> Tensor:
        """u (..., d) as it is: coordinates, and no latents of the decoder's."""
        return u

    def at(self, u: Tensor) -> Tensor:
        """z = z0 + u L^T: (..., B, d) -> (..., B, d)."""
        return self.z0 + _times(u, self.factor.mT)

    def back(self, z: Tensor) -> Tensor:
        """u of z = z0 + u L^T: (..., B, d) -> (..., B, d). Raises ``RuntimeError`` where L has no inverse."""
        return torch.linalg.solve(self.factor, (z - self.z0)[..., None])[..., 0]

    def pulled(self, in_z: Tensor) -> Tensor:
        """A gradient in z (B, d) as the gradient in u."""
        return _times(in_z, self.factor)

    def value(self, u: Tensor) -> Tensor:
        """l(y, D(z0 + u L^T)). One forward pass."""
        return self.within.value(self.at(u))

    def value_and_grad(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """That and its gradient in u. One forward and one backward pass."""
        loss, gradient = self.within.value_and_grad(self.at(u))
        return loss, self.pulled(gradient)

    def all_gradients(self, u: Tensor) -> tuple[Tensor, InTheta]:
        """Its gradient in u, and in theta with u held fixed. One forward and one backward pass."""
        in_z, in_theta = self.within.all_gradients(self.at(u))
        return self.pulled(in_z), in_theta

    def vector_jacobian(self, u: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """``vector`` (B, d) applied to the Jacobians of the gradient in u. Four passes."""
        in_z, in_theta = self.within.vector_jacobian(self.at(u), _times(vector, self.factor.mT))
        return self.pulled(in_z), in_theta

    def gauss_newton(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient and Gauss-Newton matrix in u. 1 + d forward passes."""
        loss, gradient, curvature = self.within.gauss_newton(self.at(u))
        return loss, self.pulled(gradient), self.factor.mT @ curvature @ self.factor

    def select(self, index: Tensor | slice) -> Moved:
        """The same for the images at ``index``."""
        factor = self.factor if self.factor.ndim == 2 else self.factor[index]
        return Moved(self.within.select(index), self.z0[index], factor)


def _times(rows: Tensor, factor: Tensor) -> Tensor:
    """Each of ``rows`` (..., B, d) times ``factor``, (d, d) or one for each image, (B, d, d)."""
    return rows @ factor if factor.ndim == 2 else (rows[..., None, :] @ factor)[..., 0, :]
