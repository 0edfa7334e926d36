"""What the encoders beyond the paper share: when an image is finished, and how long a first step is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from gfe_core.descent import Measured, Rule, State, Trial
from gfe_core.encoding import Status
from gfe_core.landscape import Landscape

PAPER = 100.0  # the first step on the paper's loss, whose curvature is about a hundredth
GROWTH = 1e3  # times the first step, and no step is longer


@dataclass
class Watched(State):
    """With the loss at z(0), and that at the last look at the convergence curve, and whether it is flat.

    ``since`` counts the steps accepted after that look.
    """

    initial: Tensor
    earlier: Tensor
    since: Tensor
    flat: Tensor


StateT = TypeVar("StateT", bound=Watched)


def watched(at: Measured, z: Tensor, steps: Tensor) -> dict[str, Tensor]:
    """The columns of :class:`Watched` at ``z`` (B, d), to which ``steps`` (B,) have led."""
    now = {"z": z, "loss": at.loss, "gradient": at.gradient, "steps": steps, "initial": at.loss, "earlier": at.loss}
    return now | {"since": torch.zeros_like(steps), "flat": torch.zeros_like(steps).bool()}


@dataclass(frozen=True)
class Trials(Rule[StateT]):
    """What the accelerated encoders share: when an image is finished, and how many trials it may have.

    - ``tolerance``, ``patience``, ``share``: an image is finished (``CONVERGED``) when its last accepted steps,
      ``patience`` of them and at least this share of all, together gained less than the fraction ``tolerance`` of what
      has been gained since z(0); 0 switches the stop off. What is gained depends neither on the loss's sign nor on a
      constant in it, and its fraction not on the scale. Refusals say nothing of how flat the loss is. A plateau lasts
      the longer, the later it comes: with a share of 0 and a tolerance of 1e-3 an image may be left 5 % or more above
      where it would have come to. The defaults are meant to leave less than 0.5 % of the loss, and hardly cost more.
    - ``max_trials``: rounds at most, each of which costs one forward and one backward pass for each image under way;
      then it is ``BUDGET_SPENT``.

    A refused trial whose predicted decrease lies within the rounding of the loss ends the image as ``STALLED``: in
    float32 the usual end. Raises ``ValueError`` as :class:`~gfe_core.amd.AMD` does.
    """

    tolerance: float = 1e-6
    patience: int = 5
    share: float = 0.3
    max_trials: int = 300

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance = {self.tolerance}: a fraction of the gain, at least 0 and below 1.")
        if not 0 <= self.share < 1:
            raise ValueError(f"share = {self.share}: of all accepted steps, at least 0 and below 1.")
        for name in ("patience", "max_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1.")

    def accept(self, state: StateT, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Stand at the trial points where the loss ``falls`` (b,), and look whether the curve is flat."""
        state.accept(falls, z=trial.point, loss=at.loss, gradient=at.gradient)
        if self.tolerance > 0:
            state.since = state.since + falls
            due = state.since >= (self.share * (state.steps + falls)).clamp(min=self.patience)
            state.flat = due & (state.earlier - state.loss < self.tolerance * (state.initial - state.loss))
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
    """With a step size of AMD's kind: ``s_0`` at first, times ``beta`` after a refusal.

    None for ``s_0`` is 100 on the paper's loss. On others, whose scale is not known, it makes the first step as long as
    the latent, or of length 1: a loss a thousand times as large is encoded by the same steps. Steps that grow, as
    those of first order do, grow to ``s_max`` at most, by default a thousand times the first. BFGS ignores ``s_max``.
    """

    beta: float = 0.5
    s_0: float | None = None
    s_max: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.beta < 1:
            raise ValueError(f"beta = {self.beta}: a step shrinks only for beta between 0 and 1.")
        first = PAPER if self.s_0 is None else self.s_0
        if not 0 < first <= (first if self.s_max is None else self.s_max) < math.inf:
            raise ValueError(
                f"s_0 = {self.s_0}, s_max = {self.s_max}: needed is 0 < s_0 <= s_max < infinity, where None for s_0 is "
                f"{PAPER:g}; pass both, or neither."
            )

    def first_step(self, objective: Landscape, at: Measured, z: Tensor) -> Tensor:
        """The step size (B,) to begin with at ``z`` (B, d)."""
        if self.s_0 is None and objective.floor is None:
            step = z.norm(dim=1).clamp_min(1) / at.gradient.norm(dim=1)
            return torch.where(step < math.inf, step, 1.0)
        return torch.full_like(at.loss, PAPER if self.s_0 is None else self.s_0)

    def longest(self, first: Tensor) -> Tensor:
        """The largest step size (B,) after a ``first`` one (B,)."""
        return GROWTH * first if self.s_max is None else torch.full_like(first, self.s_max)


@dataclass
class Capped(Scaled):
    """With the largest step size for each image."""

    longest: Tensor
