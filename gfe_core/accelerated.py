"""Faster encoders with AMD's guarantee: a trial point counts only where the loss falls (beyond the paper).

What makes AMD slow is steepest descent, not the test of Eq. (9). These solvers keep the test, image by image, and
choose better points to try. None of them follows a flow, so that ``t`` counts steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gfe_core.descent import Measured, Rule, State, Trial
from gfe_core.encoding import Status
from gfe_core.objective import Landscape


@dataclass
class Watched(State):
    """With the loss, and the steps accepted, since the last look at the convergence curve, and whether it is flat."""

    earlier: Tensor
    since: Tensor
    flat: Tensor


StateT = TypeVar("StateT", bound=Watched)


def watched(at: Measured, z: Tensor, steps: Tensor) -> dict[str, Tensor]:
    """The columns of :class:`Watched` at ``z`` (B, d), to which ``steps`` (B,) have led."""
    now = {"z": z, "loss": at.loss, "gradient": at.gradient, "steps": steps}
    return now | {"earlier": at.loss, "since": torch.zeros_like(steps), "flat": torch.zeros_like(steps).bool()}


@dataclass(frozen=True)
class Trials(Rule[StateT]):
    """What the accelerated encoders share: when an image is finished, and how many trials it may have.

    - ``tolerance``, ``patience``: an image is finished (``CONVERGED``) when ``patience`` accepted steps together took
      less than this fraction off its loss; 0 switches the stop off. Refusals say nothing of how flat the loss is.
    - ``max_trials``: rounds at most, each of which costs one forward and one backward pass for each image under way.

    A refused trial whose predicted decrease lies within the rounding of the loss ends the image as ``STALLED``.
    """

    tolerance: float = 1e-3
    patience: int = 5
    max_trials: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance = {self.tolerance}: a fraction of the loss, at least 0 and below 1.")
        for name in ("patience", "max_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1.")

    def accept(self, state: StateT, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Stand at the trial points where the loss ``falls`` (b,), and look whether the curve is flat."""
        state.accept(falls, z=trial.point, loss=at.loss, gradient=at.gradient)
        if self.tolerance > 0:
            state.since = state.since + falls
            due = state.since == self.patience
            state.flat = due & (state.earlier - state.loss < self.tolerance * state.loss)
            state.earlier, state.since = torch.where(due, state.loss, state.earlier), torch.where(due, 0, state.since)

    def endings(self, state: StateT) -> list[tuple[Status, Tensor]]:
        """Where the convergence curve is flat."""
        return [(Status.CONVERGED, state.flat)]


@dataclass
class Scaled(Watched):
    """With a step size for each image."""

    s: Tensor


ScaledT = TypeVar("ScaledT", bound=Scaled)


@dataclass(frozen=True)
class StepSize(Trials[ScaledT]):
    """With a step size of AMD's kind: ``s_0`` at first, times ``beta`` after a refusal, at most ``s_max``."""

    beta: float = 0.5
    s_0: float = 100.0
    s_max: float = 1e5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.beta < 1:
            raise ValueError(f"beta = {self.beta}: a step shrinks only for beta between 0 and 1.")
        if not 0 < self.s_0 <= self.s_max < math.inf:
            raise ValueError(f"s_0 = {self.s_0}, s_max = {self.s_max}: needed is 0 < s_0 <= s_max < infinity.")


@dataclass
class NesterovState(Scaled):
    """With the number k of steps since the last restart, the last gradient step x, and the point ahead of it."""

    k: Tensor
    x: Tensor
    ahead: Tensor


@dataclass(frozen=True)
class NesterovAMD(StepSize[NesterovState]):
    """AMD's step taken at a Nesterov point, with a restart for each image whose loss does not fall.

    The point that is tried lies ahead of the last gradient step by k / (k + 3) of its last move (Su, Boyd, Candes; the
    paper's Sec. 3.2 is the flow of it); a refusal sets k to zero and shrinks the step; an acceptance lets it grow by
    ``kappa``. One forward and one backward pass a trial.
    """

    kappa: float = 1.1

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> NesterovState:
        """At rest. One forward and one backward pass."""
        at = Measured.at(objective, z)
        s = torch.full_like(at.loss, self.s_0)
        ahead = z - s[:, None] * at.gradient
        return NesterovState(**watched(at, z, steps), s=s, k=torch.zeros_like(s), x=z, ahead=ahead)

    def propose(self, state: NesterovState) -> Trial:
        """The point ahead."""
        return Trial(state.ahead, state.s * state.gradient.square().sum(dim=1))

    def advance(self, state: NesterovState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Grow s and k, or shrink s and start again from rest; then look ahead."""
        state.s = torch.where(falls, (self.kappa * state.s).clamp(max=self.s_max), self.beta * state.s)
        state.k = torch.where(falls, state.k + 1, 0.0)
        self.accept(state, trial, at, falls)
        mask = falls[:, None]
        stepped = state.z - state.s[:, None] * state.gradient
        state.ahead = stepped + (state.k / (state.k + 3))[:, None] * (stepped - torch.where(mask, state.x, stepped))
        state.x = torch.where(mask, stepped, state.z)


@dataclass(frozen=True)
class BarzilaiBorweinAMD(StepSize[Scaled]):
    """AMD whose first trial step is Barzilai and Borwein's, from the last change of z and of the gradient."""

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> Scaled:
        """With the step s_0. One forward and one backward pass."""
        at = Measured.at(objective, z)
        return Scaled(**watched(at, z, steps), s=torch.full_like(at.loss, self.s_0))

    def propose(self, state: Scaled) -> Trial:
        """A gradient step."""
        point = state.z - state.s[:, None] * state.gradient
        return Trial(point, state.s * state.gradient.square().sum(dim=1))

    def advance(self, state: Scaled, trial: Trial, at: Measured, falls: Tensor) -> None:
        """s = m^T t / t^T t, for a move m that turned the gradient by t, or shrunk by beta."""
        moved, turned = trial.point - state.z, at.gradient - state.gradient
        along = (moved * turned).sum(dim=1)  # curvature along the step, times its length squared
        step = torch.where(along > 0, along / turned.square().sum(dim=1), 2 * state.s)
        state.s = torch.where(falls, step.clamp(max=self.s_max), self.beta * state.s)
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
        inverse = self.s_0 * torch.eye(z.shape[1], dtype=z.dtype, device=z.device).repeat(len(z), 1, 1)
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
