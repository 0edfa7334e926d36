"""Gauss-Newton for each image, in the few dimensions of a latent: damped at every step, or as a start for BFGS."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from gfe_core.accelerated import QuasiNewtonAMD, QuasiNewtonState
from gfe_core.curvature import or_identity, vanished
from gfe_core.descent import Measured, Rule, Trial
from gfe_core.encoding import Encoding, PathRecorder
from gfe_core.landscape import Landscape
from gfe_core.trials import Trials, Watched, watched

LONGEST = 10.0  # a first step in lengths of the latent, on a loss whose curvature may mean little so far away


@dataclass
class DampedState(Watched):
    """With each image's Gauss-Newton matrix (b, d, d) and its damping."""

    curvature: Tensor
    damping: Tensor


@dataclass
class Curved(Measured):
    """With the Gauss-Newton matrix (b, d, d), where the loss falls."""

    curvature: Tensor
    vanished: Tensor  # (b,), where it is a scaled identity in place of a curvature


@dataclass(frozen=True)
class LevenbergMarquardt(Trials[DampedState]):
    """Damped Gauss-Newton steps: (J^T H J + lambda m I) p = grad_z l, z - p is tried.

    J (P, d) is the decoder's Jacobian at z, H the Hessian of the loss in the decoder's output, diag(p (1 - p)) / P for
    the cross-entropy, m the mean of the diagonal of J^T H J, which is a scaled identity where it vanishes. lambda, each
    image's own, starts at ``damping``, shrinks by ``beta`` where the loss falls and grows by 1 / ``beta`` where not.
    Cost of an image: one forward pass a trial, and 1 + d more at first and where one is accepted (beyond d = 64 some
    more: :func:`~gfe_core.curvature.gauss_newton`). From far away Gauss-Newton steps lead into bad basins, so that
    ``first`` goes before, with trials of its own, and one more forward pass; None does without.
    """

    tolerance: float = 1e-7
    max_trials: int = 100
    damping: float = 0.1
    beta: float = 0.3
    first: Rule[Any] | None = QuasiNewtonAMD(tolerance=0.0, max_trials=10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.damping < math.inf and 0 < self.beta < 1):
            raise ValueError(f"damping = {self.damping}, beta = {self.beta}: needed is damping > 0 and 0 < beta < 1.")

    def descend(self, objective: Landscape, z: Tensor, steps: Tensor, recorder: PathRecorder | None) -> Encoding:
        """First steps by ``first``, then damped ones from there."""
        if self.first is None:
            return super().descend(objective, z, steps, recorder)
        near = self.first.descend(objective, z, steps, recorder)
        own = {field.name: getattr(self, field.name) for field in fields(LevenbergMarquardt)}
        onward = _Onward(**(own | {"first": None}), initial=objective.value(z))
        return onward.descend(objective, near.z, near.steps, recorder)

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> DampedState:
        """With the Gauss-Newton matrix at z. 1 + d forward passes."""
        at = _curved(objective, z)
        damping = torch.full_like(at.loss, self.damping)
        return DampedState(**watched(at, z, steps), curvature=at.curvature, damping=damping)

    def propose(self, state: DampedState) -> Trial:
        """z - p."""
        step = torch.linalg.solve_ex(_damped(state.curvature, state.damping), state.gradient)[0]
        return Trial(state.z - step, (step * state.gradient).sum(dim=1))

    def measure(self, objective: Landscape, point: Tensor, state: DampedState) -> Curved:
        """The loss by one forward pass; the rest, by 1 + d more, where it falls."""
        loss = objective.value(point)
        gradient, slope, curvature = torch.zeros_like(point), torch.zeros_like(loss), torch.zeros_like(state.curvature)
        at = Curved(loss, gradient, slope, curvature, torch.zeros_like(loss, dtype=torch.bool))
        if (falls := loss < state.loss).any():
            lower = _curved(objective.select(falls), point[falls])
            at.gradient[falls], at.slope[falls], at.curvature[falls] = lower.gradient, lower.slope, lower.curvature
        return at

    def advance(self, state: DampedState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Damp less where the loss falls, more where it does not."""
        assert isinstance(at, Curved)
        state.damping = state.damping * torch.where(falls, self.beta, 1 / self.beta)
        state.accept(falls, curvature=at.curvature)
        self.accept(state, trial, at, falls)


@dataclass(frozen=True)
class _Onward(LevenbergMarquardt):
    """Goes on where others have led; what has been gained counts from the ``initial`` losses (B,)."""

    initial: Tensor | None = None

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> DampedState:
        state = super().begin(objective, z, steps)
        assert self.initial is not None
        state.initial = self.initial
        return state


@dataclass(frozen=True)
class GaussNewtonBFGS(QuasiNewtonAMD):
    """BFGS whose first inverse curvature is s_0 (J^T H J + damping m I)^-1, each image's own, from one look at J.

    H and m are those of :class:`LevenbergMarquardt`. A Jacobian costs as much as ten gradients or more; looked at once,
    near the minimum, it leaves BFGS little to learn. Cost of an image: 1 + d forward passes at first, then one forward
    and one backward pass a trial. ``s_0`` is a number here, and not None.
    """

    s_0: float = 1.0
    damping: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping = {self.damping}: needed is damping > 0.")

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> QuasiNewtonState:
        """With the inverse of the damped Gauss-Newton matrix at z. 1 + d forward passes."""
        at = _curved(objective, z)
        inverse = self.s_0 * torch.linalg.inv_ex(_damped(at.curvature, torch.full_like(at.loss, self.damping)))[0]
        state = self.along(at, z, steps, inverse, fresh=False)
        state.fresh = at.vanished
        if objective.floor is None:
            length = state.direction.norm(dim=1)
            shorter = (LONGEST * z.norm(dim=1).clamp_min(1) / length).clamp(max=1).nan_to_num(1.0)
            state.inverse, state.direction = shorter[:, None, None] * state.inverse, shorter[:, None] * state.direction
        return state


def _curved(objective: Landscape, z: Tensor) -> Curved:
    loss, gradient, curvature = objective.gauss_newton(z)
    lost = vanished(curvature, gradient, z)
    return Curved(loss, gradient, gradient.square().sum(dim=1), or_identity(curvature, gradient, z), lost)


def _damped(curvature: Tensor, damping: Tensor) -> Tensor:
    """(B, d, d) matrices and damping m I, m the mean of each one's diagonal."""
    size = curvature.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(torch.finfo(curvature.dtype).tiny)
    return curvature + torch.diag_embed((damping * size)[:, None].expand(curvature.shape[:2]))
