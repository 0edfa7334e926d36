"""Sec. 3.1: gradients of the training loss in the decoder's parameters theta, with and without the path's part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, EulerSteps, GradientFlow, MovedFlow, Path, SeparateSteps
from gfe_core.landscape import InTheta, Landscape
from gfe_core.precision import in_full_precision
from gfe_core.wrappers import Moved, Penalised

TOO_COARSE = 0.5  # a predicted and a corrected lambda further apart than this share of its largest size are both wrong


class TooCoarse(ValueError):
    """The recorded path has slices that are too long for the adjoint equation."""


@dataclass(frozen=True)
class ApproximateGradient:
    """Eq. (6): d_theta L = partial_theta l(y, D(z_tau, theta)), the dependence of z_tau on theta ignored.

    Exact where z_tau is a minimiser z* (there grad_z l = 0 and the neglected integral of Eq. (4) vanishes). Costs one
    forward and one backward pass for each image, whatever the length of the path.
    """

    needs_path: ClassVar[bool] = False

    def __call__(self, objective: Landscape, encoding: Encoding) -> InTheta:
        """The gradient of the batch's summed loss at z_tau: a tensor for each decoder parameter, or None.

        None stands for one that requires no gradient, or is not used.
        """
        return objective.all_gradients(encoding.z.flatten(1))[1]  # Eq. (6)


@dataclass(frozen=True)
class AdjointGradient:
    """Eq. (2)-(4): the total derivative of l(y, D(z_tau(theta), theta)), by the adjoint method, signs corrected.

    Backwards along the recorded path runs the adjoint variable, and with it the integral:

        lambda(tau) = grad_z l,   d lambda/dt = alpha nabla_z^2 l lambda                               (Eq. 3)
        d_theta l = partial_theta l - integral_0^tau alpha lambda^T partial_theta grad_z l dt          (Eq. 4)

    The paper prints both signs of Eq. (3) the other way round; then that of the integral in Eq. (4) would be wrong. At
    each recorded slice *one* vector-Jacobian product of grad_z l with lambda gives the Hessian's part and theta's.

    - :class:`GradientFlow`: each step of lambda is predicted by Euler's method, to have what the product needs, and
      then corrected by the trapezoidal rule, which also sums the integral. The error falls as 1/N^2. Stable while
      h alpha times the Hessian's largest eigenvalue stays below 1 (RK4, which made the path: 2.79).
    - :class:`NesterovFlow`: the transpose of Eq. (8) has a lambda for z and one for v, and lambda_v is what multiplies
      partial_theta grad_z l: d lambda_z/dt = nabla_z^2 l lambda_v, d lambda_v/dt = -lambda_z + 3/(t + eps) lambda_v.
      Predicted and corrected in the same way, which makes it velocity Verlet, with the friction integrated exactly.
    - :class:`EulerSteps` (AMD): the transpose of the steps themselves, their sizes held fixed; exact up to rounding.
    - :class:`MovedFlow` (a warm start): one of these in the coordinates u, along the penalised loss; lambda(tau) is
      still the gradient of l itself.

    The objective must be the one that was encoded, a :class:`Penalised` one if that was. Cost for each image with N
    slices: at most 4N + 6 passes, besides those of the encoding. Memory: the path, and one slice's graph at a time.
    Raises ``ValueError`` where the encoding has no path, and :class:`TooCoarse` where its slices are too long for the
    adjoint equation, which needs shorter ones than RK4 does for the flow.
    """

    needs_path: ClassVar[bool] = True

    @in_full_precision
    def __call__(self, objective: Landscape, encoding: Encoding) -> InTheta:
        """The total derivative of the batch's summed loss at z_tau: a tensor for each decoder parameter, or None.

        None stands for one that requires no gradient, or is not used.
        """
        at_end, partial = objective.all_gradients(encoding.z.flatten(1))  # lambda(tau), Eq. (3)
        total = [None if slope is None else slope.clone() for slope in partial]  # autograd may return one tensor twice
        for part in integral(objective, encoding, at_end):  # Eq. (4)
            for i, slope in enumerate(part):
                if slope is not None:
                    before = total[i]
                    total[i] = -slope if before is None else before.sub_(slope)
        return tuple(total)


def integral(objective: Landscape, encoding: Encoding, at_end: Tensor) -> Iterator[InTheta]:
    """The integral of Eq. (4), part by part: one from each slice of the path, the last first; their sum is its value.

    ``at_end`` (B, d) is lambda(tau). Each part has one tensor for each decoder parameter. Costs four passes a slice.
    Raises as :class:`AdjointGradient` does.
    """
    path = encoding.path
    if path is None:
        raise ValueError("the adjoint needs the path of the encoding: call encode(objective, record=True).")
    if isinstance(path.flow, SeparateSteps):
        raise ValueError(
            "this encoding follows no flow that an adjoint could follow back; train with ApproximateGradient (Eq. 6), "
            "or encode by AMD, FixedGrid or Nesterov."
        )
    flow, path = path.flow, replace(path, z=path.z.flatten(2))
    if isinstance(flow, MovedFlow):
        moved = Moved(Penalised(objective, flow.penalty), flow.z0, flow.factor)
        path = replace(path, z=moved.back(path.z), flow=flow.flow)
        return integral(moved, replace(encoding, path=path), moved.pulled(at_end))
    if isinstance(flow, EulerSteps):
        return _along_steps(objective, path, at_end)
    if isinstance(flow, GradientFlow):
        return _along_gradient_flow(objective, path, at_end, flow.alpha.tolist())
    return _along_nesterov_flow(objective, path, at_end, flow.eps)


def _along_steps(objective: Landscape, path: Path, adjoint: Tensor) -> Iterator[InTheta]:
    h = path.t.diff(dim=0)
    adjoint = adjoint.clone()
    for n in reversed(range(len(h))):
        moved = h[n] > 0  # an image that was finished before this step takes no part
        in_z, in_theta = objective.select(moved).vector_jacobian(path.z[n][moved], h[n][moved, None] * adjoint[moved])
        adjoint[moved] -= in_z
        yield in_theta


def _along_gradient_flow(objective: Landscape, path: Path, adjoint: Tensor, alpha: list[float]) -> Iterator[InTheta]:
    h, weight = _slices(path)
    last = len(h)
    in_z, in_theta = objective.vector_jacobian(path.z[last], adjoint)
    yield _scaled(alpha[last] * weight[last], in_theta)
    slope = alpha[last] * in_z  # d lambda/dt, Eq. (3)
    largest = adjoint.norm(dim=1)
    for n in reversed(range(last)):
        predicted = adjoint - h[n] * slope
        in_z, in_theta = objective.vector_jacobian(path.z[n], predicted)
        yield _scaled(alpha[n] * weight[n], in_theta)
        before, slope = slope, alpha[n] * in_z
        adjoint = adjoint - h[n] / 2 * (before + slope)
        largest = _largest(largest, adjoint, predicted, n)


def _along_nesterov_flow(objective: Landscape, path: Path, adjoint: Tensor, eps: float) -> Iterator[InTheta]:
    h, weight = _slices(path)
    t = [time + eps for time in path.t[:, 0].tolist()]
    of_v, slope = torch.zeros_like(adjoint), torch.zeros_like(adjoint)  # lambda_v(tau) = 0, d lambda_z/dt
    largest = adjoint.norm(dim=1)
    for n in reversed(range(len(h))):
        predicted = adjoint - h[n] * slope
        # lambda_v / (t + eps)^3 changes by the integral of lambda_z / (t + eps)^3, lambda_z a straight line.
        cubes = (t[n] - t[n] ** 3 / t[n + 1] ** 2) / 2  # t_n^3 times the integral of s^-3
        squares = t[n] ** 2 - t[n] ** 3 / t[n + 1]  # t_n^3 times the integral of s^-2
        of_v = (t[n] / t[n + 1]) ** 3 * of_v + cubes * adjoint - (t[n + 1] * cubes - squares) * slope
        before = slope
        slope, in_theta = objective.vector_jacobian(path.z[n], of_v)
        yield _scaled(weight[n], in_theta)
        adjoint = adjoint - h[n] / 2 * (before + slope)
        largest = _largest(largest, adjoint, predicted, n)


def _slices(path: Path) -> tuple[list[float], list[float]]:
    """The N lengths of the slices, and the N + 1 weights of the trapezoidal rule."""
    t = path.t[:, 0].tolist()
    h = [later - earlier for earlier, later in pairwise(t)]
    return h, [(before + after) / 2 for before, after in pairwise([0.0, *h, 0.0])]


def _scaled(factor: float, parts: InTheta) -> InTheta:
    return tuple(None if part is None else factor * part for part in parts)


def _largest(largest: Tensor, adjoint: Tensor, predicted: Tensor, n: int) -> Tensor:
    """The largest |lambda| of each image so far; raises where prediction and correction are too far apart."""
    largest = largest.maximum(adjoint.norm(dim=1))
    coarse = ~((adjoint - predicted).norm(dim=1) <= TOO_COARSE * largest)
    if coarse.any():
        raise TooCoarse(
            f"the path of image {int(coarse.nonzero()[0])} of the batch is too coarse for the adjoint: slice {n + 1} "
            "is too long for the curvature of the loss there; use more slices or a smaller tau."
        )
    return largest
