"""Gauss-Newton for each image, in the few dimensions of a latent: damped at every step, or as a start for BFGS."""

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
        step = torch.linalg.solve_ex(_damped(curvature, state["damping"]), gradient)[0]
        return state["z"] - step, (step * gradient).sum(dim=1)

    def _next(self, state: State, point: Tensor, gradient: Tensor, falls: Tensor) -> State:
        return {"damping": state["damping"] * torch.where(falls, self.beta, 1 / self.beta)}


@dataclass(frozen=True)
class GaussNewtonBFGS(QuasiNewtonAMD):
    """BFGS whose first inverse curvature is s_0 (J^T W J + damping m I)^-1, each image's own, from one look at J.

    W and m are those of :class:`LevenbergMarquardt`. A Jacobian costs as much as ten gradients or more; looked at once,
    near the minimum, it leaves BFGS little to learn. Cost of an image: 1 + d forward passes at first, then one forward
    and one backward pass a trial.
    """

    s_0: float = 1.0
    damping: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.damping < math.inf:
            raise ValueError(f"damping = {self.damping}: needed is damping > 0.")

    def _measure(self, objective: Objective, z: Tensor, best: Tensor | None = None) -> tuple[Tensor, State]:
        if best is not None:
            return super()._measure(objective, z, best)
        loss, gradient, curvature = objective.gauss_newton(z)
        return loss, {"gradient": gradient, "curvature": curvature}

    def _begin(self, state: State) -> State:
        curvature, gradient = state.pop("curvature"), state["gradient"]
        damping = torch.full_like(state["loss"], self.damping)
        inverse = self.s_0 * torch.linalg.inv_ex(_damped(curvature, damping))[0]
        direction = torch.bmm(inverse, gradient[:, :, None])[:, :, 0]
        one = torch.ones_like(state["loss"])
        return state | {"inverse": inverse, "direction": direction, "s": one, "fresh": one == 0}


def _damped(curvature: Tensor, damping: Tensor) -> Tensor:
    """(B, d, d) matrices and damping m I, m the mean of each one's diagonal."""
    size = curvature.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(torch.finfo(curvature.dtype).tiny)
    return curvature + torch.diag_embed((damping * size)[:, None].expand(curvature.shape[:2]))
