"""Faster encoders with AMD's guarantee: a trial point counts only where the loss falls (beyond the paper).

What makes AMD slow is steepest descent, not the test of Eq. (9). These solvers keep the test, image by image, and
choose better points to try. None of them follows a flow, so that ``t`` counts steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.descent import Measured, Trial
from gfe_core.landscape import Landscape
from gfe_core.trials import Capped, Scaled, StepSize, watched


@dataclass
class NesterovState(Capped):
    """With the number k of steps since the last restart, the last gradient step x, and the point ahead of it."""

    k: Tensor
    x: Tensor
    ahead: Tensor


@dataclass(frozen=True)
class NesterovAMD(StepSize[NesterovState]):
    """AMD's step taken at a Nesterov point, with a restart for each image whose loss does not fall.

    The point that is tried lies ahead of the last gradient step by k / (k + 3) of its last move (the first is of two
    steps; Su, Boyd, Candes; the paper's Sec. 3.2 is its flow); a refusal sets k to zero and shrinks the step; an
    acceptance lets it grow by ``kappa``. One forward and one backward pass a trial.
    """

    kappa: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.kappa < math.inf:
            raise ValueError(f"kappa = {self.kappa}: the step grows only for kappa >= 1 (the paper: 1.1).")

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> NesterovState:
        """At rest. One forward and one backward pass."""
        at = Measured.at(objective, z)
        s = self.first_step(objective, at, z)
        ahead = z - s[:, None] * at.gradient
        return NesterovState(
            **watched(at, z, steps), s=s, longest=self.longest(s), k=torch.zeros_like(s), x=z, ahead=ahead
        )

    def propose(self, state: NesterovState) -> Trial:
        """The point ahead."""
        return Trial(state.ahead, state.s * state.gradient.square().sum(dim=1))

    def advance(self, state: NesterovState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Grow s and k, or shrink s and start again from rest; then look ahead."""
        state.s = torch.where(falls, (self.kappa * state.s).minimum(state.longest), self.beta * state.s)
        state.k = torch.where(falls, state.k + 1, 0.0)
        self.accept(state, trial, at, falls)
        mask = falls[:, None]
        stepped = state.z - state.s[:, None] * state.gradient
        state.ahead = stepped + (state.k / (state.k + 3))[:, None] * (stepped - torch.where(mask, state.x, stepped))
        state.x = torch.where(mask, stepped, state.z)


@dataclass(frozen=True)
class BarzilaiBorweinAMD(StepSize[Capped]):
    """AMD whose first trial step is Barzilai and Borwein's, from the last change of z and of the gradient.

    Its steps let rounding grow: after fifty or more, an image's latent may differ from batch to batch in its sixth
    digit, though hardly its loss.
    """

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> Capped:
        """With the first step. One forward and one backward pass."""
        at = Measured.at(objective, z)
        s = self.first_step(objective, at, z)
        return Capped(**watched(at, z, steps), s=s, longest=self.longest(s))

    def propose(self, state: Capped) -> Trial:
        """A gradient step."""
        point = state.z - state.s[:, None] * state.gradient
        return Trial(point, state.s * state.gradient.square().sum(dim=1))

    def advance(self, state: Capped, trial: Trial, at: Measured, falls: Tensor) -> None:
        """s = m^T t / t^T t, for a move m that turned the gradient by t, or shrunk by beta."""
        moved, turned = trial.point - state.z, at.gradient - state.gradient
        along = (moved * turned).sum(dim=1)  # curvature along the step, times its length squared
        step = torch.where(along > 0, along / turned.square().sum(dim=1), 2 * state.s)
        state.s = torch.where(falls, step.minimum(state.longest), self.beta * state.s)
        self.accept(state, trial, at, falls)


@dataclass
class QuasiNewtonState(Scaled):
    """With each image's inverse curvature (b, d, d), its direction (b, d), and whether no curvature was seen yet."""

    inverse: Tensor
    direction: Tensor
    fresh: Tensor


@dataclass(frozen=True)
class QuasiNewtonAMD(StepSize[QuasiNewtonState]):
    """AMD along the direction of BFGS: a (d, d) inverse curvature for each image, learnt from its own gradients.

    A latent has few dimensions, so that the whole matrix is affordable. The trial is the full step, which a refusal
    shrinks by ``beta``; ``s_0`` scales the first one.
    """

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> QuasiNewtonState:
        """With s_0 times the identity. One forward and one backward pass."""
        at = Measured.at(objective, z)
        inverse = torch.diag_embed(self.first_step(objective, at, z)[:, None].expand(z.shape))
        return self.along(at, z, steps, inverse, fresh=True)

    def along(self, at: Measured, z: Tensor, steps: Tensor, inverse: Tensor, fresh: bool) -> QuasiNewtonState:
        """The state at ``z`` (B, d) with an ``inverse`` curvature (B, d, d), which the first pair rescales if fresh."""
        one, direction = torch.ones_like(at.loss), torch.bmm(inverse, at.gradient[:, :, None])[:, :, 0]
        return QuasiNewtonState(
            **watched(at, z, steps), s=one, inverse=inverse, direction=direction, fresh=one == float(fresh)
        )

    def propose(self, state: QuasiNewtonState) -> Trial:
        """A step along the direction."""
        decrease = state.s * (state.gradient * state.direction).sum(dim=1)
        return Trial(state.z - state.s[:, None] * state.direction, decrease)

    def advance(self, state: QuasiNewtonState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Update the inverse curvature by what the step has seen (BFGS)."""
        moved = trial.point - state.z
        turned = torch.where(falls[:, None], at.gradient - state.gradient, 0.0)
        h, along = state.inverse, (moved * turned).sum(dim=1)
        known = falls & (along > 1e-8 * moved.norm(dim=1) * turned.norm(dim=1))
        swung = torch.bmm(h, turned[:, :, None])[:, :, 0]
        if (fresh := known & state.fresh).any():  # the first pair sets the scale
            scale = torch.where(fresh, along / (turned * swung).sum(dim=1), 1.0)
            h, swung = scale[:, None, None] * h, scale[:, None] * swung
        rho = torch.where(known, 1 / along, 0.0)[:, None]
        # H <- (I - rho m t^T) H (I - rho t m^T) + rho m m^T, which adds m (w m - rho H t)^T - H t (rho m)^T
        weight = rho + rho.square() * (turned * swung).sum(dim=1, keepdim=True)
        right = torch.stack([weight * moved - rho * swung, -rho * moved], dim=1)
        state.inverse = torch.baddbmm(h, torch.stack([moved, swung], dim=2), right)
        state.s = torch.where(falls, 1.0, self.beta * state.s)
        state.fresh = state.fresh & ~known
        self.accept(state, trial, at, falls)
        state.direction = torch.bmm(state.inverse, state.gradient[:, :, None])[:, :, 0]
