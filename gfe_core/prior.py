"""A prior on the latents as part of the objective (beyond the paper)."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from gfe_core.curvature import positive
from gfe_core.landscape import InTheta, Landscape
from gfe_core.precision import full_precision
from gfe_core.wrappers import Wrapped


class Prior(Wrapped):
    """l(y, D(z)) + energy(z): an objective whose minimiser is the MAP estimate under the prior exp(-energy).

    ``energy`` maps latents (B, d) to (B,), one number for each image that depends on its latent alone, and is twice
    differentiable by autograd: -log p(z) up to a constant, divided by the number of pixels where the loss is the mean
    over them. Latents of several dimensions come to it in rows, (B, d), as the solvers have them. How low the sum can
    fall is not known, so that solvers measure progress by what has been gained. :class:`Penalised` is the Gaussian
    prior in closed form. For trainings see :func:`~gfe_core.steps.encoding_step`, which takes no prior by itself.

    Costs no decoder passes but those of the objective. Raises ``ValueError`` where the energy is not of shape (B,) or
    of the latents' dtype, does not depend on them, depends on those of other images, or cannot be repeated.
    """

    def __init__(self, objective: Landscape, energy: Callable[[Tensor], Tensor]) -> None:
        super().__init__(objective)
        self.energy, self.floor = energy, None
        self._probe()

    def _probe(self) -> None:
        """Ask for the energy of two latents, together and alone, where their size is known."""
        try:
            dim = self.start().shape[1]
        except ValueError:
            return
        z = torch.arange(2 * dim, device=self.images.device).reshape(2, dim).sin().to(self.dtype)
        with torch.no_grad():
            try:
                together, again, alone = self.added(z), self.added(z), torch.cat([self.added(z[:1]), self.added(z[1:])])
            except (RuntimeError, IndexError, TypeError) as error:
                raise ValueError(
                    f"the energy fails on latents of shape {tuple(z.shape)}: {' '.join(str(error).split())}. It must "
                    "take any number of rows (B, d), and hold nothing that belongs to single images."
                ) from error
        tolerance = {"rtol": torch.finfo(self.dtype).eps ** 0.5, "atol": torch.finfo(self.dtype).eps ** 0.5}
        if not torch.allclose(together, again, **tolerance, equal_nan=True):
            raise ValueError("the energy of the same latents differs from call to call; leave out what is random.")
        if not torch.allclose(together, alone, **tolerance, equal_nan=True):
            raise ValueError("the energy of a latent depends on those of other images; compute it row by row.")

    def added(self, z: Tensor) -> Tensor:
        """What is added to the loss: (B, d) -> (B,), with its graph where one is recorded."""
        with full_precision(z.device.type):
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
        part = copy(self)
        super(Prior, part).__init__(self.within.select(index))
        part.floor = None
        return part


def _applied(vector: Tensor, of: Tensor, z: Tensor, **kept: bool) -> Tensor:
    """``vector`` applied to the Jacobian of ``of`` in z; zero where ``of`` does not depend on z."""
    if not of.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(of, z, vector, allow_unused=True, materialize_grads=True, **kept)[0]
