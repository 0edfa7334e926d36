"""The one loop of all adaptive encoders: every image tries a step, and keeps it if its loss falls (Sec. 3.4, Eq. 9).

The loop has no settings of its own. What is tried, when an image is finished, and what a refusal means is a
:class:`Rule`'s: AMD's, or one of those beyond the paper.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, EulerSteps, PathRecorder, SeparateSteps, Status, shaped, warn_of_dead_starts
from gfe_core.landscape import Landscape, Start, require_finite
from gfe_core.precision import in_full_precision

ROUNDING = 4.0  # a predicted decrease below this many units in the last place of the loss cannot be measured


@dataclass
class State:
    """Where the images still under way stand, one row an image; a rule adds columns of its own."""

    z: Tensor  # (b, d)
    loss: Tensor  # (b,)
    gradient: Tensor  # (b, d), grad_z l
    steps: Tensor  # (b,), steps accepted so far

    def keep(self, rows: Tensor) -> None:
        """Go on with the images at ``rows`` (a mask) alone."""
        for name, column in vars(self).items():
            setattr(self, name, column[rows])

    def accept(self, falls: Tensor, **new: Tensor) -> None:
        """Take the columns ``new`` for those images whose loss ``falls`` (b,)."""
        everywhere = bool(falls.all())
        for name, column in new.items():
            if not everywhere:
                column = torch.where(falls.view(-1, *[1] * (column.ndim - 1)), column, getattr(self, name))
            setattr(self, name, column)


@dataclass
class Trial:
    """The points that are tried, (b, d), and the decrease of the loss that is predicted there, (b,)."""

    point: Tensor
    predicted: Tensor


@dataclass
class Measured:
    """At a trial: the loss (b,), its gradient (b, d), and ``slope`` (b,), the square of the gradient's length.

    No step can start where the slope is not finite.
    """

    loss: Tensor
    gradient: Tensor
    slope: Tensor

    @classmethod
    def at(cls, objective: Landscape, point: Tensor) -> Measured:
        """Measure at ``point`` (b, d). One forward and one backward pass."""
        loss, gradient = objective.value_and_grad(point)
        return cls(loss, gradient, gradient.square().sum(dim=1))


StateT = TypeVar("StateT", bound=State)


class Rule(ABC, Generic[StateT]):
    """What an image tries next. An instance is a solver: a frozen dataclass whose fields are its settings."""

    max_trials: int | None  # trials of each image at most; None for no limit
    flow: ClassVar[EulerSteps | SeparateSteps] = SeparateSteps()  # what a recorded path is, for an adjoint

    @abstractmethod
    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> StateT:
        """The state at ``z`` (B, d), to which ``steps`` (B,) have led."""

    @abstractmethod
    def propose(self, state: StateT) -> Trial:
        """What each image tries next."""

    @abstractmethod
    def advance(self, state: StateT, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Bring ``state`` up to date after a ``trial``, of which the images whose loss ``falls`` (b,) are accepted."""

    @abstractmethod
    def endings(self, state: StateT) -> list[tuple[Status, Tensor]]:
        """Which images are finished, and how; what comes first wins."""

    def measure(self, objective: Landscape, point: Tensor, state: StateT) -> Measured:
        """The loss and what the rule needs to know at ``point``. By default one forward and one backward pass."""
        return Measured.at(objective, point)

    def time(self, state: StateT) -> Tensor:
        """t (b,): by default the number of steps, since no flow is followed."""
        return state.steps.to(state.loss)

    def falls(self, state: StateT, trial: Trial, at: Measured) -> Tensor:
        """Where (b,) the loss falls, so that the step is taken: Eq. (9)."""
        return (at.loss < state.loss) & (at.slope < math.inf)  # Eq. (9)

    def stuck(self, state: StateT, trial: Trial) -> Tensor:
        """Where (b,) a refused ``trial`` says that the loss cannot fall any more: it is within the loss's rounding."""
        return trial.predicted <= ROUNDING * torch.finfo(state.loss.dtype).eps * state.loss.abs()

    @in_full_precision
    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode every image from ``z0`` (B, d), zero by default: see the class."""
        before, z = objective.evaluations, objective.start(z0)
        recorder = PathRecorder(len(z)) if record else None
        end = self.descend(objective, z, torch.zeros(len(z), dtype=torch.int64, device=z.device), recorder)
        path = recorder.path(self.flow) if recorder else None
        spent = objective.evaluations - before
        return shaped(Encoding(end.z, end.loss, end.t, end.steps, end.status, spent, path), objective)

    def descend(self, objective: Landscape, z: Tensor, steps: Tensor, recorder: PathRecorder | None) -> Encoding:
        """Go from ``z`` (B, d), to which ``steps`` (B,) have led; an image leaves the batch when it is finished.

        Costs what the rule measures: at the start, and at one trial a round for each image under way. ``evaluations``
        and ``path`` are left to the caller. Raises ``ValueError`` for images whose loss or gradient at z is not finite.
        """
        state = self.begin(objective, z, steps)
        require_finite(state.loss, "the loss at z(0)")
        require_finite(state.gradient, "the loss gradient at z(0)")
        warn_of_dead_starts(state.gradient[steps == 0])
        z, loss, t = state.z.clone(), state.loss.clone(), self.time(state).clone()
        result = Encoding(z, loss, t, steps.clone(), torch.zeros_like(steps), evaluations=0)
        image = torch.arange(len(steps), device=steps.device)  # where the images still under way stand in the batch
        if recorder:
            recorder.add(image, steps, self.time(state), state.z, state.loss)
        active, trials = objective, 0
        stalled = (state.gradient == 0).all(dim=1)
        while len(image):
            endings = [*self.endings(state), (Status.STALLED, stalled)]
            if trials == self.max_trials:
                endings.append((Status.BUDGET_SPENT, torch.ones_like(stalled)))
            finished = torch.stack([mask for _, mask in endings]).any(dim=0)
            if finished.any():
                end, status = image[finished], torch.zeros_like(state.steps)
                for kind, mask in reversed(endings):
                    status = torch.where(mask, int(kind), status)
                result.z[end], result.loss[end] = state.z[finished], state.loss[finished]
                result.t[end], result.steps[end] = self.time(state)[finished], state.steps[finished]
                result.status[end] = status[finished]
                under_way = ~finished
                image = image[under_way]
                if len(image) == 0:
                    break
                state.keep(under_way)
                active = active.select(under_way)
            trial, trials = self.propose(state), trials + 1
            at = self.measure(active, trial.point, state)
            falls = self.falls(state, trial, at)
            stalled = ~falls
            if stalled.any():
                stalled &= self.stuck(state, trial)
            self.advance(state, trial, at, falls)
            state.steps = state.steps + falls
            if recorder:
                columns = (image, state.steps, self.time(state), state.z, state.loss)
                recorder.add(*(column[falls] for column in columns))
        return result
