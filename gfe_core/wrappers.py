"""Objectives made of others: with a prior on the latents, or in other coordinates (beyond the paper).

Each wraps another :class:`~gfe_core.objective.Landscape` and hands the work on; it counts into the same decoder passes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gfe_core.curvature import positive
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
    :func:`~gfe_core.objective.bce` is, is -log p(y | z) / P: there the prior is N(0, I / (P penalty)).
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


class Prior(Wrapped):
    """l(y, D(z)) + energy(z): an objective whose minimiser is the MAP estimate under the prior exp(-energy).

    ``energy`` maps latents (B, d) to (B,), one number for each image that depends on its latent alone, and is twice
    differentiable by autograd: -log p(z) up to a constant, divided by the number of pixels where the loss is the mean
    over them. Latents of several dimensions come to it in rows, as the solvers have them. No ``floor`` is known of it.
    :class:`Penalised` is the Gaussian prior in closed form. Costs no decoder passes but those of the objective. Raises
    ``ValueError`` where the energy is not of shape (B,) or of the latents' dtype, or does not depend on them.
    """

    def __init__(self, objective: Landscape, energy: Callable[[Tensor], Tensor]) -> None:
        super().__init__(objective)
        self.energy, self.floor = energy, None

    def added(self, z: Tensor) -> Tensor:
        """What is added to the loss: (B, d) -> (B,), with its graph where one is recorded."""
        energy = self.energy(z)
        if not isinstance(energy, Tensor) or energy.shape != z.shape[:1]:
            shape = tuple(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
            raise ValueError(
                f"the energy of latents of shape {tuple(z.shape)} is {shape}; it needs one number for each image, "
                f"({len(z)},), such as z.square().sum(dim=1) / 2."
            )
        if energy.dtype != z.dtype:
            raise ValueError(f"the energy of {z.dtype} latents is {energy.dtype}; compute it in the latents' dtype.")
        return energy

    def slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The energy (B,) and its gradient (B, d)."""
        with torch.inference_mode(False), torch.enable_grad():
            z, energy = self._begun(z)
            return energy.detach(), _applied(torch.ones_like(energy), energy, z)

    def turned(self, z: Tensor, vectors: Tensor) -> Tensor:
        """The energy's Hessian at z times each of ``vectors`` (n, B, d): (n, B, d)."""
        with torch.inference_mode(False), torch.enable_grad():
            z, energy = self._begun(z)
            slope = _applied(torch.ones_like(energy), energy, z, create_graph=True)
            return torch.stack([_applied(vector.clone(), slope, z, retain_graph=True) for vector in vectors])

    def _begun(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of the latents, and their energy with its graph."""
        z = z.clone().detach().requires_grad_()
        energy = self.added(z)
        if not energy.requires_grad:
            raise ValueError(
                "the energy does not depend on the latents as far as autograd can see; compute it from them by torch's "
                "own operations, without detach and no_grad."
            )
        return z, energy

    def value(self, z: Tensor) -> Tensor:
        """The sum. One forward pass."""
        with torch.no_grad():
            return self.within.value(z) + self.added(z)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and its gradient. One forward and one backward pass."""
        loss, gradient = self.within.value_and_grad(z)
        energy, slope = self.slope(z)
        return loss + energy, gradient + slope

    def all_gradients(self, z: Tensor) -> tuple[Tensor, InTheta]:
        """Its gradient in z, and in theta, on which the prior does not depend. One forward and one backward pass."""
        in_z, in_theta = self.within.all_gradients(z)
        return in_z + self.slope(z)[1], in_theta

    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """``vector`` (B, d) applied to the Jacobians of that gradient. Four passes."""
        in_z, in_theta = self.within.vector_jacobian(z, vector)
        return in_z + self.turned(z, vector[None])[0], in_theta

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, gradient and Gauss-Newton matrix, with the energy's Hessian; negative eigenvalues are set to zero.

        The objective's passes for its matrix, and d ways back through the energy's gradient.
        """
        loss, gradient, curvature = self.within.gauss_newton(z)
        energy, slope = self.slope(z)
        units = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, *z.shape)
        hessian = self.turned(z, units).transpose(0, 1)
        return loss + energy, gradient + slope, positive(curvature + (hessian + hessian.mT) / 2)

    def select(self, index: Tensor | slice) -> Prior:
        """The same for the images at ``index``."""
        return Prior(self.within.select(index), self.energy)


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


def _applied(vector: Tensor, of: Tensor, z: Tensor, **kept: bool) -> Tensor:
    """``vector`` applied to the Jacobian of ``of`` in z; zero where ``of`` does not depend on z."""
    if not of.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(of, z, vector, allow_unused=True, materialize_grads=True, **kept)[0]


def _times(rows: Tensor, factor: Tensor) -> Tensor:
    """Each of ``rows`` (..., B, d) times ``factor``, (d, d) or one for each image, (B, d, d)."""
    return rows @ factor if factor.ndim == 2 else (rows[..., None, :] @ factor)[..., 0, :]
