"""Sec. 3.3's warning, measured: how curved the loss is in z, and what an adaptive solver makes of the flow."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.train import Train
from gfe_core.amd import AMD
from gfe_core.encoding import Solver
from gfe_core.models import Decoder
from gfe_core.objective import Objective

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

RTOL, ATOL = 1e-5, 1e-6  # what dopri5 is asked to keep of z, in float64
# The registry's uncapped AMD, without the other methods of the registry, on which no stiffness rests.
UNCAPPED = AMD(s_max=1000.0, tolerance=1e-3, grow_accepted=True, max_trials=100)


@dataclass(frozen=True)
class Stiffness(RunConfig):
    """How stiff the gradient flow of the first ``count`` training images is, at each stage that ``training`` kept.

    It is measured at zero and where ``solver`` ends. dopri5 may spend ``limit`` gradients on an image, and is held to
    ``rtol`` and ``atol``.
    """

    training: Train
    count: int
    tau: float
    limit: int = 5000
    solver: Solver = UNCAPPED
    rtol: float = RTOL
    atol: float = ATOL

    @property
    def name(self) -> str:
        """Under which training."""
        return self.training.name.replace("train-", "stiffness-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """dopri5 to its limit, for so many images, before training and at each stage."""
        return f"{type(self).__name__} within {self.limit}", self.count * (1 + len(self.training.kept))

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Measure. The frame of :func:`stiffness`, a block a stage, and ``images``, those seen in training so far."""
        images, frames = dataset.train.images[: self.count], []
        fresh = Decoder(generator=Generator().manual_seed(self.training.seed)).state_dict()
        for stage, weights in {"0": fresh, **needed[0]}.items():
            if not stage.isdigit():  # what an encoder had learnt, kept beside the weights
                continue
            decoder = model_with(weights, self.training.solver)
            latents = self.solver.encode(Objective(decoder, images)).z
            frame = stiffness(decoder, images, latents, self.tau, self.limit, self.rtol, self.atol)
            frames.append(frame.assign(images=int(stage)))
        return pd.concat(frames), {}


def dopri5(objective: Objective, tau: float, limit: int, rtol: float = RTOL, atol: float = ATOL) -> dict[str, float]:
    """Follow dz/dt = -grad_z l (Eq. 5) to ``tau`` by torchdiffeq's dopri5, from z = 0, with one image.

    Returns ``evaluations`` of the gradient, ``steps`` accepted, their ``median`` size and, after the first tenth of the
    way, their ``late_median`` (NaN if it never got so far), the time ``reached``, and the ``loss`` there. It is stopped
    after ``limit`` evaluations.
    """
    from torchdiffeq import odeint  # slow to import, and not for every worker

    field = _Field(objective, limit)
    with contextlib.suppress(_LimitReached):
        span = torch.tensor([0.0, tau], dtype=torch.float64)
        field.z = odeint(field, objective.start(), span, rtol=rtol, atol=atol, method="dopri5")[-1]
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
        self.evaluations = 0
        self.steps: list[float] = []
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


def stiffness(
    decoder: nn.Module, images: Tensor, latents: Tensor, tau: float, limit: int, rtol: float = RTOL, atol: float = ATOL
) -> pd.DataFrame:
    """One row an image: its largest curvature at ``start``, z = 0, and at ``end``, ``latents`` (B, d); dopri5's way."""
    decoder, images, latents = deepcopy(decoder).double().requires_grad_(False), images.double(), latents.double()
    start, end = (curvature(decoder, images, z)[:, -1] for z in (torch.zeros_like(latents), latents))
    rows = []
    for image in range(len(images)):
        followed = dopri5(Objective(decoder, images[image : image + 1]), tau, limit, rtol, atol)
        rows.append({"image": image, "start": float(start[image]), "end": float(end[image])} | followed)
    return pd.DataFrame(rows)
