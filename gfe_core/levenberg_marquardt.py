"""Levenberg and Marquardt for each image: Gauss-Newton in the few dimensions of a latent (beyond the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.accelerated import QuasiNewtonAMD, State, Trials
from gfe_core.encoding import PathRecorder
from gfe_core.objective import Objective


@dataclass(frozen=True)
class LevenbergMarquardt(Trials):
    """Damped Gauss-Newton steps: (J^T W J + lambda m I) p = grad_z l, z - p is tried.

    J (P, d) is the decoder's Jacobian at z, W the curvature of the loss in the logits, p (1 - p) / P for the
    cross-entropy, m the mean of the diagonal of J^T W J. lambda, each image's own, starts at ``damping``, shrinks by
    ``beta`` where the loss falls and grows by 1 / ``beta`` where not. Cost of an image: one forward pass a trial, and
    1 + d more where it is accepted. From far away Gauss-Newton steps lead into bad basins, so that ``first`` goes
    before; None does without.
    """

    tolerance: float = 1e-5
    max_trials: int = 50
    damping: float = 0.1
    beta: float = 0.3
    first: Trials | None = QuasiNewtonAMD(tolerance=0.0, max_trials=10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.damping < math.inf and 0 < self.beta < 1):
            raise ValueError(f"damping = {self.damping}, beta = {self.beta}: needed is damping > 0 and 0 < beta < 1.")

    def _run(self, objective: Objective, z: Tensor, steps: Tensor, recorder: PathRecorder | None) -> State:
        if self.first is not None:
            near = self.first._run(objective, z, steps, recorder)
            z, steps = near["z"], near["steps"]
        return super()._run(objective, z, steps, recorder)

    def _measure(self, objective: Objective, z: Tensor, best: Tensor | None = None) -> tuple[Tensor, State]:
        if best is None:
            loss, gradient, curvature = objective.gauss_newton(z)
            return loss, {"gradient": gradient, "curvature": curvature}
        loss = objective.value(z)
        slope = {"gradient": z.new_zeros(z.shape), "curvature": z.new_zeros(*z.shape, z.shape[1])}
        if (falls := loss < best).any():
            _, slope["gradient"][falls], slope["curvature"][falls] = objective.select(falls).gauss_newton(z[falls])
        return loss, slope

    def _begin(self, state: State) -> State:
        return state | {"damping": torch.full_like(state["loss"], self.damping)}

    def _trial(self, state: State) -> tuple[Tensor, Tensor]:
        curvature, gradient = state["curvature"], state["gradient"]
        size = curvature.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        damped = curvature + torch.diag_embed((state["damping"] * size)[:, None].expand_as(gradient))
        step = torch.linalg.solve_ex(damped, gradient)[0]
        return state["z"] - step, (step * gradient).sum(dim=1)

    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        return {"damping": state["damping"] * torch.where(falls, self.beta, 1 / self.beta)}
