"""Faster encoders with AMD's guarantee: a trial point counts only where the loss falls (beyond the paper).

What makes AMD slow is steepest descent, not the test of Eq. (9). These solvers keep the test, image by image, and
choose better points to try. None of them follows a flow, so that ``t`` counts steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, PathRecorder, SeparateSteps, Status
from gfe_core.objective import Objective, require_finite

ROUNDING = 4.0  # a predicted decrease below this many units in the last place of the loss cannot be measured
State = dict[str, Tensor]  # of the images still under way, one row an image: z, loss, gradient, and a rule's own


@dataclass(frozen=True)
class Trials(ABC):
    """The loop that the solvers share: every image tries one point a round, and keeps it if the loss falls.

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

    def encode(self, objective: Objective, z0: Tensor | None = None, record: bool = False) -> Encoding:
        """Encode every image from ``z0`` (B, d), zero by default: see the class."""
        before = objective.evaluations
        z = objective.start(z0)
        recorder = PathRecorder(len(z)) if record else None
        end = self._run(objective, z, torch.zeros(len(z), dtype=torch.int64, device=z.device), recorder)
        path = recorder.path(SeparateSteps()) if recorder else None
        return Encoding(
            end["z"], end["loss"], end["steps"].to(end["loss"]), end["steps"], end["status"],
            objective.evaluations - before, path,
        )  # fmt: skip

    def _run(self, objective: Objective, z: Tensor, steps: Tensor, recorder: PathRecorder | None) -> State:
        """z, loss, steps and status at the end; ``steps`` (B,) have led to ``z`` (B, d)."""
        loss, slope = self._measure(objective, z)
        require_finite(loss, "the loss at z(0)")
        for column in slope.values():
            require_finite(column.flatten(1), "the loss gradient at z(0)")
        state = self._begin({"z": z, "loss": loss, "steps": steps} | slope)
        state |= {"earlier": loss, "since": torch.zeros_like(steps)}  # loss, and steps accepted, since the last look
        end = {name: state[name].clone() for name in ("z", "loss", "steps")}
        end["status"] = torch.full_like(end["steps"], Status.BUDGET_SPENT)
        image = torch.arange(len(loss), device=loss.device)  # where the images still under way stand in the batch
        if recorder:
            recorder.add(image, steps, steps.to(loss), z, loss)
        active, rounding = objective, ROUNDING * torch.finfo(loss.dtype).eps
        stalled = (state["gradient"] == 0).all(dim=1)
        for _ in range(self.max_trials):
            flat = torch.zeros_like(stalled)
            if self.tolerance > 0:
                due = state["since"] == self.patience
                flat = due & (state["earlier"] - state["loss"] < self.tolerance * state["loss"])
                state["earlier"] = torch.where(due, state["loss"], state["earlier"])
                state["since"] = torch.where(due, 0, state["since"])
            if (finished := flat | stalled).any():
                for name in ("z", "loss", "steps"):
                    end[name][image[finished]] = state[name][finished]
                end["status"][image[finished]] = torch.where(stalled, Status.STALLED, Status.CONVERGED)[finished]
                image, active, stalled = image[~finished], active.select(~finished), stalled[~finished]
                state = {name: column[~finished] for name, column in state.items()}
                if len(image) == 0:
                    break
            point, predicted = self._trial(state)
            loss, slope = self._measure(active, point, state["loss"])
            falls = (loss < state["loss"]) & slope["gradient"].isfinite().all(dim=1)  # Eq. (9)
            stalled = ~falls & (predicted <= rounding * state["loss"].abs())
            columns = self._next(state, point, slope["gradient"], falls)
            new = slope | {"z": point, "loss": loss, "steps": state["steps"] + 1}
            kept = {name: torch.where(falls.view(-1, *[1] * (x.ndim - 1)), x, state[name]) for name, x in new.items()}
            state |= columns | kept | {"since": state["since"] + falls}
            if recorder:
                steps = state["steps"][falls]
                recorder.add(image[falls], steps, steps.to(loss), state["z"][falls], state["loss"][falls])
        for name in ("z", "loss", "steps"):
            end[name][image] = state[name]
        end["status"][image[stalled]] = Status.STALLED
        return end

    def _measure(self, objective: Objective, z: Tensor, best: Tensor | None = None) -> tuple[Tensor, State]:
        """The loss at z and what the rule needs to know there; only the loss counts where it is not below ``best``."""
        loss, gradient = objective.value_and_grad(z)
        return loss, {"gradient": gradient}

    @abstractmethod
    def _begin(self, state: State) -> State:
        """``state`` with the rule's own columns."""

    @abstractmethod
    def _trial(self, state: State) -> tuple[Tensor, Tensor]:
        """The points to try (b, d), and the decrease that is predicted there (b,)."""

    @abstractmethod
    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        """The rule's columns after the trial ``point`` with its ``gradient``, accepted where the loss ``falls``."""


@dataclass(frozen=True)
class _Scaled(Trials):
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


@dataclass(frozen=True)
class NesterovAMD(_Scaled):
    """AMD's step taken at a Nesterov point, with a restart for each image whose loss does not fall.

    The point that is tried lies ahead of the last gradient step by k / (k + 3) of its last move (Su, Boyd, Candes; the
    paper's Sec. 3.2 is the flow of it); a refusal sets k to zero and shrinks the step; an acceptance lets it grow by
    ``kappa``. One forward and one backward pass a trial.
    """

    kappa: float = 1.1

    def _begin(self, state: State) -> State:
        s = torch.full_like(state["loss"], self.s_0)
        ahead = state["z"] - s[:, None] * state["gradient"]
        return state | {"s": s, "k": torch.zeros_like(s), "x": state["z"], "ahead": ahead}

    def _trial(self, state: State) -> tuple[Tensor, Tensor]:
        return state["ahead"], state["s"] * state["gradient"].square().sum(dim=1)

    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        mask = falls[:, None]
        s = torch.where(falls, (self.kappa * state["s"]).clamp(max=self.s_max), self.beta * state["s"])
        k = torch.where(falls, state["k"] + 1, 0.0)
        start, slope = torch.where(mask, point, state["z"]), torch.where(mask, gradient, state["gradient"])
        stepped = start - s[:, None] * slope
        x = torch.where(mask, stepped, start)
        ahead = stepped + (k / (k + 3))[:, None] * (stepped - torch.where(mask, state["x"], stepped))
        return {"s": s, "k": k, "x": x, "ahead": ahead}


@dataclass(frozen=True)
class BarzilaiBorweinAMD(_Scaled):
    """AMD whose first trial step is Barzilai and Borwein's, from the last change of z and of the gradient."""

    def _begin(self, state: State) -> State:
        return state | {"s": torch.full_like(state["loss"], self.s_0)}

    def _trial(self, state: State) -> tuple[Tensor, Tensor]:
        slope = state["gradient"]
        return state["z"] - state["s"][:, None] * slope, state["s"] * slope.square().sum(dim=1)

    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        moved, turned = point - state["z"], gradient - state["gradient"]
        along = (moved * turned).sum(dim=1)  # curvature along the step, times its length squared
        step = torch.where(along > 0, along / turned.square().sum(dim=1), 2 * state["s"])
        return {"s": torch.where(falls, step.clamp(max=self.s_max), self.beta * state["s"])}


@dataclass(frozen=True)
class QuasiNewtonAMD(_Scaled):
    """AMD along the direction of BFGS: a (d, d) inverse curvature for each image, learnt from its own gradients.

    A latent has few dimensions, so that the whole matrix is affordable. The trial is the full step, which a refusal
    shrinks by ``beta``; ``s_0`` scales the first one.
    """

    def _begin(self, state: State) -> State:
        loss, z = state["loss"], state["z"]
        inverse = self.s_0 * torch.eye(z.shape[1], dtype=z.dtype, device=z.device).repeat(len(z), 1, 1)
        direction = self.s_0 * state["gradient"]
        return state | {"inverse": inverse, "direction": direction, "s": torch.ones_like(loss), "fresh": loss == loss}

    def _trial(self, state: State) -> tuple[Tensor, Tensor]:
        step, direction = state["s"], state["direction"]
        return state["z"] - step[:, None] * direction, step * (state["gradient"] * direction).sum(dim=1)

    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        moved, turned = point - state["z"], torch.where(falls[:, None], gradient - state["gradient"], 0.0)
        h, along = state["inverse"], (moved * turned).sum(dim=1)
        known = falls & (along > 1e-8 * moved.norm(dim=1) * turned.norm(dim=1))
        swung = torch.bmm(h, turned[:, :, None])[:, :, 0]
        if (fresh := known & state["fresh"]).any():  # the first pair sets the scale
            scale = torch.where(fresh, along / (turned * swung).sum(dim=1), 1.0)
            h, swung = scale[:, None, None] * h, scale[:, None] * swung
        rho = torch.where(known, 1 / along, 0.0)[:, None]
        # H <- (I - rho m t^T) H (I - rho t m^T) + rho m m^T, which adds m (w m - rho H t)^T - H t (rho m)^T
        weight = rho + rho.square() * (turned * swung).sum(dim=1, keepdim=True)
        right = torch.stack([weight * moved - rho * swung, -rho * moved], dim=1)
        h = torch.baddbmm(h, torch.stack([moved, swung], dim=2), right)
        slope = torch.where(falls[:, None], gradient, state["gradient"])
        s = torch.where(falls, 1.0, self.beta * state["s"])
        direction = torch.bmm(h, slope[:, :, None])[:, :, 0]
        return {"inverse": h, "direction": direction, "s": s, "fresh": state["fresh"] & ~known}
