"""Sec. 3.3's warning, measured: how curved the loss is in z, and what an adaptive solver makes of the flow."""

from __future__ import annotations

import contextlib
from copy import deepcopy

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import hessian, vmap
from torchdiffeq import odeint

from gfe_core.objective import Objective, bce

RTOL, ATOL = 1e-5, 1e-6  # what dopri5 is asked to keep of z, in float64


def curvature(decoder: nn.Module, images: Tensor, z: Tensor) -> Tensor:
    """The eigenvalues (B, d) of nabla_z^2 l, ascending, for ``images`` (B, P) at ``z`` (B, d).

    Costs d forward-mode passes through the gradient; an :class:`Objective` does not count them.
    """
    return torch.linalg.eigvalsh(vmap(hessian(lambda z, y: bce(decoder(z[None]), y[None])[0]))(z, images))


def dopri5(objective: Objective, tau: float, limit: int) -> dict[str, float]:
    """Follow dz/dt = -grad_z l (Eq. 5) to ``tau`` by torchdiffeq's dopri5, from z = 0, with one image.

    Returns ``evaluations`` of the gradient, ``steps`` accepted, their ``median`` size and, after the first tenth of the
    way, their ``late_median`` (NaN if it never got so far), the time ``reached``, and the ``loss`` there. It is stopped
    after ``limit`` evaluations.
    """
    field = _Field(objective, limit)
    with contextlib.suppress(_LimitReached):
        span = torch.tensor([0.0, tau], dtype=torch.float64)
        field.z = odeint(field, objective.start(), span, rtol=RTOL, atol=ATOL, method="dopri5")[-1]
        field.t = tau
    steps = pd.Series(field.steps)
    return {
        "evaluations": field.evaluations,
        "steps": len(steps),
        "median": steps.median(),
        "late_median": steps[steps.cumsum() > tau / 10].median(),
        "reached": field.t,
        "loss": float(objective.value(field.z)),
    }


class _LimitReached(Exception):
    pass


class _Field:
    """-grad_z l with the hooks by which torchdiffeq tells of its steps."""

    def __init__(self, objective: Objective, limit: int) -> None:
        self.objective, self.limit = objective, limit
        self.evaluations, self.steps = 0, []
        self.t, self.z = 0.0, objective.start()

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        if self.evaluations == self.limit:
            raise _LimitReached
        self.evaluations += 1
        return -self.objective.value_and_grad(z)[1]

    def callback_accept_step(self, t: Tensor, z: Tensor, dt: Tensor) -> None:
        """Called before the state moves on: ``z`` stands at the beginning of the step."""
        self.steps.append(float(dt))
        self.t, self.z = float(t), z


def stiffness(decoder: nn.Module, images: Tensor, latents: Tensor, tau: float, limit: int) -> pd.DataFrame:
    """One row an image: its largest curvature at ``start``, z = 0, and at ``end``, ``latents`` (B, d); dopri5's way."""
    decoder, images, latents = deepcopy(decoder).double().requires_grad_(False), images.double(), latents.double()
    start, end = (curvature(decoder, images, z)[:, -1] for z in (torch.zeros_like(latents), latents))
    rows = []
    for image in range(len(images)):
        followed = dopri5(Objective(decoder, images[image : image + 1]), tau, limit)
        rows.append({"image": image, "start": float(start[image]), "end": float(end[image])} | followed)
    return pd.DataFrame(rows)
