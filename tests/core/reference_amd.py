"""AMD as one function, a plain statement of Sec. 3.4 without rules or states: what the loop must equal bit for bit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gfe_core.amd import AMD
from gfe_core.descent import ROUNDING
from gfe_core.encoding import Encoding, PathRecorder, Status
from gfe_core.objective import Landscape


def encode(amd: AMD, objective: Landscape, z0: Tensor | None = None, record: bool = False) -> Encoding:
    before = objective.evaluations
    z = objective.start(z0)
    loss, gradient = objective.value_and_grad(z)
    slope = gradient.square().sum(dim=1)  # |dl/dt| along the flow
    t = torch.zeros_like(loss)
    s = torch.full_like(loss, amd.s_0)
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
    initial = loss

    def is_flat() -> Tensor:
        if objective.floor is None:
            return amd.tau * slope <= amd.tolerance * (initial - loss)
        return (amd.tau - t) * slope <= amd.tolerance * loss

    flat = is_flat()
    stalled = torch.zeros_like(flat)
    most = torch.iinfo(steps.dtype).max if amd.max_steps is None else amd.max_steps
    trials = 0  # of every image that is still under way: each tries one step a round

    while len(image):
        finished = flat | stalled | (t >= amd.tau) | (steps >= most) | (trials == amd.max_trials)
        if finished.any():
            end = image[finished]
            result.z[end], result.loss[end] = z[finished], loss[finished]
            result.t[end], result.steps[end] = t[finished], steps[finished]
            status = torch.where(stalled, Status.STALLED, Status.BUDGET_SPENT)
            status = torch.where(flat, Status.CONVERGED, status)
            result.status[end] = torch.where(t >= amd.tau, Status.REACHED_TAU, status)[finished]
            keep = ~finished
            image, z, loss, gradient, slope, t, s, trial, steps, initial = (
                x[keep] for x in (image, z, loss, gradient, slope, t, s, trial, steps, initial)
            )
            active = active.select(keep)
            if len(image) == 0:
                break
        # One round: a trial step for every image; those whose loss does not fall shrink theirs and stay.
        trials += 1
        step = torch.minimum(trial, amd.tau - t)  # the last step lands on tau
        z_new = z - step[:, None] * gradient  # Eq. (10)
        loss_new, gradient_new = active.value_and_grad(z_new)
        slope_new = gradient_new.square().sum(dim=1)
        falls = (loss_new < loss) & (slope_new < math.inf)  # Eq. (9)
        stalled = ~falls
        t_new = torch.where(step >= amd.tau - t, amd.tau, t + step)
        s_new = (amd.kappa * (step if amd.grow_accepted else s)).clamp(amd.s_0, amd.s_max)
        new = (t_new, z_new, loss_new, gradient_new, slope_new, s_new, s_new)
        if stalled.any():
            stalled &= (step * slope <= rounding * loss.abs()) | (step <= nothing)
            old = (t, z, loss, gradient, slope, s, amd.beta * step)
            new = (torch.where(falls.view(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(new, old, strict=True))
        t, z, loss, gradient, slope, s, trial = new
        steps = steps + falls
        flat = is_flat()
        if recorder:
            recorder.add(image[falls], steps[falls], t[falls], z[falls], loss[falls])

    return Encoding(
        result.z, result.loss, result.t, result.steps, result.status,
        objective.evaluations - before, recorder.path() if recorder else None,
    )  # fmt: skip
