"""Beyond Sec. 3.1: the gradient in theta at a minimiser of the loss, by the implicit function theorem.

No path is followed back. What counts is where the encoding ended, and how that minimum moves with theta.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gfe_core.encoding import Encoding
from gfe_core.landscape import InTheta, Landscape, require_finite
from gfe_core.precision import in_full_precision

MISSED = 10.0  # a residual that is computed afresh may be so many times the tolerance


class NoMinimum(ValueError):
    """The loss has no isolated minimum there: its Hessian has a direction of negative or of no curvature."""


class NotSolved(ValueError):
    """The linear system was not solved to the tolerance."""


@dataclass(frozen=True)
class ImplicitGradient:
    """The total derivative of l(y, D(z*(theta), theta)), where z*(theta) minimises a loss g in z.

    At a minimiser grad_z g(z*, theta) = 0. Differentiated in theta, this says how z* moves: with H = nabla_z^2 g,
    H dz*/dtheta = -partial_theta grad_z g. So one linear system an image is all that is needed:

        d_theta l = partial_theta l - lambda^T partial_theta grad_z g,   H lambda = grad_z l.

    It is what Eq. (4) tends to where the flow is followed to its end: lambda is the integral of the adjoint variable.

    - g is l by default. At an exact minimiser lambda is then 0, and the result that of Eq. (6). Where the encoding has
      stopped early it is what Eq. (6) would give at the minimiser that one step of Newton's method predicts: an error
      that is linear in the distance to z* becomes quadratic.
    - ``inner`` makes g of the objective, over the same latents and with the same decoder, where another loss was
      minimised: ``inner=partial(Penalised, penalty=0.01)`` for latents with a prior. Eq. (6) is wrong there even at
      the minimiser. An encoding that has stopped early leaves an error that is linear in the distance to z*.

    H lambda = grad_z l is solved for each image on its own:

    - By conjugate gradients on products with the exact Hessian, until the residual is below ``tolerance`` of grad_z l;
      None stands for the square root of the dtype's precision. ``max_products`` for each image; None stands for
      2 d + 50, d of which suffice in exact arithmetic.
    - With ``gauss_newton`` directly, by the eigenvalues of the Gauss-Newton matrix. It has no negative curvature, but
      is the Hessian only where the decoder is linear or fits its images.

    ``damping`` is added to the eigenvalues of H, which shortens lambda along flat directions: a larger one brings the
    result nearer to Eq. (6).

    ``lower`` and ``upper`` are the bounds of the encoding, if it had some (:class:`~gfe_core.lbfgs.LBFGSAMD`): numbers,
    or tensors that broadcast to (B, d). A latent variable at its bound does not move with theta, and takes no part.

    Cost for each image: 6 passes, and 4 for each product that its system needs, or with ``gauss_newton`` the 1 + d
    forward passes of that matrix. Memory: one graph of a backward pass at a time.

    Raises :class:`NoMinimum` where H has a negative or a vanishing curvature along a direction that counts,
    :class:`NotSolved` where the system was not solved, and ``ValueError`` for fields out of range and for an ``inner``
    of other images or another decoder. A latent that changes neither loss does no harm.
    """

    inner: Callable[[Landscape], Landscape] | None = None
    gauss_newton: bool = False
    damping: float = 0.0
    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf
    tolerance: float | None = None
    max_products: int | None = None
    needs_path: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.damping < math.inf:
            raise ValueError(f"damping = {self.damping}: what is added to the Hessian must be at least 0 and finite.")
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance = {self.tolerance}: a share of the gradient, above 0 and below 1, or None.")
        if self.max_products is not None and self.max_products < 1:
            raise ValueError(f"max_products = {self.max_products}: at least 1, or None for 2 d + 50.")

    @in_full_precision
    def __call__(self, objective: Landscape, encoding: Encoding) -> InTheta:
        """The total derivative of the batch's summed loss at the end of ``encoding``, for each decoder parameter.

        None stands for one that requires no gradient, or is not used.
        """
        inner = objective if self.inner is None else self.inner(objective)
        if inner.decoder is not objective.decoder or len(inner) != len(objective):
            raise ValueError("inner must be a loss of the same images with the same decoder: make it of its argument.")
        z = encoding.z.detach().flatten(1)
        at_end, partial = objective.all_gradients(z)
        require_finite(at_end, "the loss gradient at z")
        lower, upper = (torch.as_tensor(bound, dtype=z.dtype, device=z.device) for bound in (self.lower, self.upper))
        free = ((z > lower) & (z < upper)).to(z)
        at_end = at_end * free
        solve = self._by_gauss_newton if self.gauss_newton else self._by_conjugate_gradients
        adjoint = solve(inner, z, at_end, free)
        in_z, through = inner.vector_jacobian(z, adjoint)
        if not self.gauss_newton:
            self._check(free * in_z + self.damping * adjoint - at_end, at_end)
        return tuple(_difference(whole, part) for whole, part in zip(partial, through, strict=True))

    def _by_conjugate_gradients(self, inner: Landscape, z: Tensor, right: Tensor, free: Tensor) -> Tensor:
        """lambda (B, d) with H lambda = ``right``; an image leaves the batch where its own residual is small."""
        adjoint, aim = torch.zeros_like(right), self._tolerance(right) * right.norm(dim=1)
        image = right.norm(dim=1).nonzero()[:, 0]  # where the images still under way stand in the batch
        residual = direction = right[image]
        part, steepest = inner.select(image), torch.zeros_like(aim[image])
        for _ in range(self.max_products or 2 * z.shape[1] + 50):
            if len(image) == 0:
                break
            turned = free[image] * part.vector_jacobian(z[image], direction)[0] + self.damping * direction
            length, curvature = direction.norm(dim=1), (direction * turned).sum(dim=1)
            steepest = steepest.maximum(turned.norm(dim=1) / length)
            self._require_curved(curvature / length**2, steepest, z.shape[1], image)
            square = residual.square().sum(dim=1)
            step = (square / curvature)[:, None]
            adjoint[image] += step * direction
            residual = residual - step * turned
            direction = residual + (residual.square().sum(dim=1) / square)[:, None] * direction
            left = residual.norm(dim=1) > aim[image]
            if not left.all():
                image, steepest, residual, direction = image[left], steepest[left], residual[left], direction[left]
                part = part.select(left)
        return adjoint

    def _by_gauss_newton(self, inner: Landscape, z: Tensor, right: Tensor, free: Tensor) -> Tensor:
        """lambda (B, d) with H lambda = ``right``, the shortest one, H being the Gauss-Newton matrix."""
        matrix = inner.gauss_newton(z)[2]
        require_finite(matrix.flatten(1), "the Gauss-Newton matrix")
        matrix = free[:, :, None] * matrix * free[:, None, :]
        values, vectors = torch.linalg.eigh(matrix)
        values = values.clamp_min(0) + self.damping
        along = (right[:, None] @ vectors)[:, 0]
        flat = values <= _smallest(values.amax(dim=1), z.shape[1])[:, None]
        lost = torch.where(flat, along, 0).norm(dim=1) > self._tolerance(right) * right.norm(dim=1)
        if lost.any():
            image, smallest = lost.nonzero()[:, 0], values.masked_fill(~flat, 0)[lost].amax(dim=1)
            self._require_curved(smallest, values[lost].amax(dim=1), z.shape[1], image)
        return (torch.where(flat, 0, along / values)[:, None] @ vectors.mT)[:, 0]

    def _require_curved(self, curvature: Tensor, steepest: Tensor, dim: int, image: Tensor) -> None:
        """Raise where a ``curvature`` (b,) of the images at ``image`` is not positive beside the ``steepest`` (b,)."""
        straight = ~(curvature > _smallest(steepest, dim))
        if straight.any():
            at = int(straight.nonzero()[0])
            remedy = "a damping" if self.gauss_newton else "gauss_newton=True or a damping"
            raise NoMinimum(
                f"the loss of image {int(image[at])} of the batch has curvature "
                f"{float(curvature[at]):.3g} along a direction in z, the steepest {float(steepest[at]):.3g}, so that z "
                f"is no isolated minimum; encode further, encode with a prior (Penalised), or take {remedy}. "
                "At a minimum of the loss itself ApproximateGradient (Eq. 6) is exact."
            )

    def _check(self, residual: Tensor, right: Tensor) -> None:
        """Raise where the system's ``residual`` (B, d), computed afresh, is large beside the ``right`` side (B, d)."""
        share = residual.norm(dim=1) / right.norm(dim=1).clamp_min(torch.finfo(right.dtype).tiny)
        missed = ~(share <= MISSED * self._tolerance(right))
        if missed.any():
            at = int(missed.nonzero()[0])
            raise NotSolved(
                f"conjugate gradients left {float(share[at]):.2g} of the gradient of image {at} of the batch; allow "
                "more max_products or a larger tolerance, add a damping, or encode in float64."
            )

    def _tolerance(self, values: Tensor) -> float:
        return self.tolerance or math.sqrt(torch.finfo(values.dtype).eps)


def _smallest(steepest: Tensor, dim: int) -> Tensor:
    """The curvature (b,) that rounding hides beside the ``steepest`` (b,)."""
    return dim * torch.finfo(steepest.dtype).eps * steepest


def _difference(whole: Tensor | None, part: Tensor | None) -> Tensor | None:
    """``whole`` - ``part``, where None is the gradient of a parameter that has none."""
    if part is None:
        return whole
    return -part if whole is None else whole - part
