"""Sec. 3.4: the adaptive minimise distance (AMD) solver, which picks each step so that the loss falls."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gfe_core.descent import Measured, Rule, State, Trial
from gfe_core.encoding import EulerSteps, SeparateSteps, Status
from gfe_core.landscape import Landscape

ORDER = 100.0  # times smaller than s_0, and a step is not of its order; looked at after the first FEW steps
FEW = 5
MEASURABLE = 1e3  # units in the last place of the loss


@dataclass
class AMDState(State):
    """Where each image stands on its flow, and what it tries next."""

    slope: Tensor  # |grad_z l|^2 = |dl/dt|
    t: Tensor
    s: Tensor  # the scaling factor s_n
    step: Tensor  # dt = beta^m s_n, shortened to land on tau


@dataclass
class UnscaledState(AMDState):
    """On a loss of unknown floor: with the loss at z(0), and whether AMD has said that its steps do not suit it."""

    initial: Tensor
    told: Tensor


@dataclass(frozen=True)
class AMD(Rule[AMDState]):
    """Gradient descent along Eq. (5), alpha = 1, its step backtracked until the loss falls: Sec. 3.4, Eq. (9) and (10).

    Every image has a step size of its own: the paper's text treats one sample. Cost: one forward and one backward pass
    for each trial step of each image. Fields, in the paper's symbols:

    - ``tau``: the final time; the last step is shortened to land on it, and then tried by Eq. (9) like any other.
    - ``beta`` in (0, 1): shrinks a trial step that does not lower the loss.
    - ``kappa`` >= 1: lets the scaling factor s grow from step to step, between ``s_0`` and ``s_max``.
    - ``tolerance``: the convergence stop that assigns tau'. An image is finished when its convergence curve is so flat
      that, at the present slope |dl/dt| = |grad l|^2, it would lose less than this fraction of its loss until tau. The
      number is Algorithm 1's; the paper leaves its unit open. 0 switches the stop off. A fraction of the loss means
      nothing for a loss other than the paper's, which may be negative or stand beside a large constant: there it is
      the fraction of what has been gained since z(0) that would be gained in another tau.
    - ``grow_accepted``: s_n grows from the last *accepted* step, kappa dt_{n-1}, and not from s_{n-1} as the paper has
      it. It saves backtracking where s_max is far above the useful step.
    - ``max_steps``, ``max_trials``: budgets for each image, that the paper does not have: of steps, and of trial steps,
      each of which costs one forward and one backward pass whether it is accepted or not. Without ``max_trials`` a loss
      a thousand times the paper's or more may practically never come to tau, as its steps are so far below s_0.

    A step that fails Eq. (9) although its predicted decrease lies within the rounding of the loss, or that has shrunk
    to nothing, ends the image as ``STALLED``: it could only be retried for ever. An image whose gradient is zero at
    z(0) ends there as ``CONVERGED``, even where the decoder is flat and the loss high; a warning says so.

    The numbers suit the scale of the paper's loss, a mean over pixels. On another loss a ``RuntimeWarning`` says when
    they do not: where another tau at the slope found at tau would gain more than half of what was gained, and where
    accepted steps are on average more than a hundred times smaller than s_0. Raises ``ValueError`` for fields out of
    range and for images whose loss or gradient at z(0) is not finite.
    """

    tau: float = 1e4
    beta: float = 0.75
    kappa: float = 1.1
    s_0: float = 1.0
    s_max: float = 10.0
    tolerance: float = 0.01
    grow_accepted: bool = False
    max_steps: int | None = None
    max_trials: int | None = None
    flow: ClassVar[EulerSteps | SeparateSteps] = EulerSteps()

    def __post_init__(self) -> None:
        if not (0 < self.tau < math.inf):
            raise ValueError(f"tau = {self.tau}: the final time must be positive and finite.")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta = {self.beta}: a step shrinks only for beta between 0 and 1 (the paper: 0.75).")
        if not 1 <= self.kappa < math.inf:
            raise ValueError(f"kappa = {self.kappa}: the scaling factor grows only for kappa >= 1 (the paper: 1.1).")
        if not 0 < self.s_0 <= self.s_max < math.inf:
            raise ValueError(f"s_0 = {self.s_0}, s_max = {self.s_max}: needed is 0 < s_0 <= s_max < infinity.")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance = {self.tolerance}: a fraction of the loss, at least 0 and below 1.")
        for name in ("max_steps", "max_trials"):
            budget = getattr(self, name)
            if budget is not None and budget < 1:
                raise ValueError(f"{name} = {budget}: at least 1, or None for no limit but tau.")

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> AMDState:
        """The state at z, t = 0. One forward and one backward pass."""
        at = Measured.at(objective, z)
        t, s = torch.zeros_like(at.loss), torch.full_like(at.loss, self.s_0)
        state = AMDState(z, at.loss, at.gradient, steps, at.slope, t, s, step=s.clamp(max=self.tau))
        if objective.floor is None:
            return UnscaledState(**vars(state), initial=at.loss, told=torch.zeros_like(steps).bool())
        return state

    def propose(self, state: AMDState) -> Trial:
        """z_n - dt grad_z l, Eq. (10), and dt |grad_z l|^2 as the decrease that is predicted."""
        return Trial(state.z - state.step[:, None] * state.gradient, state.step * state.slope)  # Eq. (10), of Eq. (5)

    def advance(self, state: AMDState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Where the loss falls, t grows by dt and s by kappa; elsewhere beta shrinks dt, Eq. (9)."""
        step, left = state.step, self.tau - state.t
        grown = (self.kappa * (step if self.grow_accepted else state.s)).clamp(self.s_0, self.s_max)  # s_n, Sec. 3.4
        state.step = self.beta * step  # beta^m s_n, Eq. (9)
        state.accept(
            falls, z=trial.point, loss=at.loss, gradient=at.gradient, slope=at.slope,
            t=torch.where(step >= left, self.tau, state.t + step), s=grown, step=grown,
        )  # fmt: skip
        state.step = torch.minimum(state.step, self.tau - state.t)  # the last step lands on tau

    def endings(self, state: AMDState) -> list[tuple[Status, Tensor]]:
        """At tau, or where the convergence curve is flat, or with ``max_steps`` taken."""
        if isinstance(state, UnscaledState):
            flat = self.tau * state.slope <= self.tolerance * (state.initial - state.loss)
            self.warn_of_scale(state, state.t >= self.tau)
        else:
            flat = (self.tau - state.t) * state.slope <= self.tolerance * state.loss
        ends = [(Status.REACHED_TAU, state.t >= self.tau), (Status.CONVERGED, flat)]
        if self.max_steps is not None:
            ends.append((Status.BUDGET_SPENT, state.steps >= self.max_steps))
        return ends

    def warn_of_scale(self, state: UnscaledState, ended: Tensor) -> None:
        """Warn, once, where (b,) an image has ``ended`` with much left to gain, or where most trials are refused."""
        more = self.tau * state.slope
        measurable = more > MEASURABLE * torch.finfo(more.dtype).eps * state.loss.abs()
        far = ended & measurable & (more > (state.initial - state.loss) / 2)
        refused = (state.steps >= FEW) & (ORDER * state.t < self.s_0 * state.steps)
        said = None
        if far.any():
            said = (
                f"AMD has ended images that would still gain more than half of what they gained in another tau = "
                f"{self.tau:g}: its steps are too small for the scale of this loss, or tau is too short. Multiply the "
                "loss, or raise s_0, s_max and tau."
            )
        elif refused.any():
            said = (
                f"AMD's steps are on average less than a hundredth of s_0 = {self.s_0:g}, and most trials are refused: "
                "s_0 is too large for the scale of this loss. Divide the loss, or lower s_0, s_max and tau."
            )
        if said and not state.told.any():
            warnings.warn(said, RuntimeWarning, stacklevel=6)  # at the call of encode
        state.told = state.told | (said is not None)

    def time(self, state: AMDState) -> Tensor:
        """The time t of the flow."""
        return state.t

    def stuck(self, state: AMDState, trial: Trial) -> Tensor:
        """Within the rounding of the loss, or with a step that has shrunk to nothing."""
        stuck = super().stuck(state, trial) | (state.step <= torch.finfo(state.loss.dtype).tiny)
        if isinstance(state, UnscaledState):
            self.warn_of_scale(state, stuck)
        return stuck
