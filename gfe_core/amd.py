"""Sec. 3.4: the adaptive minimise distance (AMD) solver, which picks each step so that the loss falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, PathRecorder, Status
from gfe_core.objective import Objective, require_finite

ROUNDING = 4.0  # a predicted decrease below this many units in the last place of the loss cannot be measured


@dataclass(frozen=True)
class AMD:
    """Gradient descent along Eq. (5), alpha = 1, whose step is backtracked until the loss falls (Sec. 3.4, Eq. 9-10).

    Every image has a step size of its own: the paper's text treats one sample. Cost: one forward and one backward pass
    for each trial step of each image. Fields, in the paper's symbols:

    - ``tau``: the final time; the last step is shortened to land on it, and then tried by Eq. (9) like any other.
    - ``beta`` in (0, 1): shrinks a trial step that does not lower the loss.
    - ``kappa`` >= 1: lets the scaling factor s grow from step to step, between ``s_0`` and ``s_max``.
    - ``tolerance``: the convergence stop that assigns tau'. An image is finished when its convergence curve is so flat
      that, at the present slope |dl/dt| = |grad l|^2, it would lose less than this fraction of its loss until tau. The
      number is Algorithm 1's; the paper leaves its unit open. 0 switches the stop off.
    - ``grow_accepted``: s_n grows from the last *accepted* step, kappa dt_{n-1}, and not from s_{n-1} as the paper has
      it. It saves backtracking where s_max is far above the useful step.
    - ``max_steps``, ``max_trials``: budgets for each image, that the paper does not have: of steps, and of trial steps,
      each of which costs one forward and one backward pass whether it is accepted or not.

    A step that fails Eq. (9) although its predicted decrease lies within the rounding of the loss, or that has shrunk
    to nothing, ends the image as ``STALLED``: it could only be retried for ever. Raises ``ValueError`` for fields out
    of range and for images whose loss or gradient at z(0) is not finite.
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

    def encode(self, objective: Objective, z0: Tensor | None = None, record: bool = False) -> Encoding:
        """Encode every image from ``z0`` (B, d), zero by default: see the class."""
        before = objective.evaluations
        z = objective.start(z0)
        loss, gradient = objective.value_and_grad(z)
        require_finite(loss, "the loss at z(0)")
        require_finite(gradient, "the loss gradient at z(0)")
        slope = gradient.square().sum(dim=1)  # |dl/dt| along the flow
        t = torch.zeros_like(loss)
        s = torch.full_like(loss, self.s_0)
        trial = s.clone()
        rounding, nothing = ROUNDING * torch.finfo(loss.dtype).eps, torch.finfo(loss.dtype).tiny
        result = Encoding(
            z.clone(), loss.clone(), t.clone(),
            torch.zeros_like(loss, dtype=torch.int64), torch.zeros_like(loss, dtype=torch.int64), 0,
        )  # fmt: skip
        recorder = PathRecorder(len(loss)) if record else None
        image = torch.arange(len(loss), device=loss.device)  # where the images still under way stand in the batch
        steps = torch.zeros_like(image)
        if recorder:
            recorder.add(image, steps, t, z, loss)
        active = objective
        flat = (self.tau - t) * slope <= self.tolerance * loss
        stalled = torch.zeros_like(flat)
        most = torch.iinfo(steps.dtype).max if self.max_steps is None else self.max_steps
        trials = 0  # of every image that is still under way: each tries one step a round

        while len(image):
            finished = flat | stalled | (t >= self.tau) | (steps >= most) | (trials == self.max_trials)
            if finished.any():
                end = image[finished]
                result.z[end], result.loss[end] = z[finished], loss[finished]
                result.t[end], result.steps[end] = t[finished], steps[finished]
                status = torch.where(stalled, Status.STALLED, Status.BUDGET_SPENT)
                status = torch.where(flat, Status.CONVERGED, status)
                result.status[end] = torch.where(t >= self.tau, Status.REACHED_TAU, status)[finished]
                keep = ~finished
                image, z, loss, gradient, slope, t, s, trial, steps = (
                    x[keep] for x in (image, z, loss, gradient, slope, t, s, trial, steps)
                )
                active = active.select(keep)
                if len(image) == 0:
                    break
            # One round: a trial step for every image; those whose loss does not fall shrink theirs and stay.
            trials += 1
            step = torch.minimum(trial, self.tau - t)  # the last step lands on tau
            z_new = z - step[:, None] * gradient  # Eq. (10)
            loss_new, gradient_new = active.value_and_grad(z_new)
            slope_new = gradient_new.square().sum(dim=1)
            falls = (loss_new < loss) & (slope_new < math.inf)  # Eq. (9)
            stalled = ~falls
            t_new = torch.where(step >= self.tau - t, self.tau, t + step)
            s_new = (self.kappa * (step if self.grow_accepted else s)).clamp(self.s_0, self.s_max)
            new = (t_new, z_new, loss_new, gradient_new, slope_new, s_new, s_new)
            if stalled.any():
                stalled &= (step * slope <= rounding * loss.abs()) | (step <= nothing)
                old = (t, z, loss, gradient, slope, s, self.beta * step)
                new = (torch.where(falls.view(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(new, old, strict=True))
            t, z, loss, gradient, slope, s, trial = new
            steps = steps + falls
            flat = (self.tau - t) * slope <= self.tolerance * loss
            if recorder:
                recorder.add(image[falls], steps[falls], t[falls], z[falls], loss[falls])

        return Encoding(
            result.z, result.loss, result.t, result.steps, result.status,
            objective.evaluations - before, recorder.path() if recorder else None,
        )  # fmt: skip
