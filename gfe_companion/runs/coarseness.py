"""Sec. 5's "later on", measured: how long the steps of a fixed grid are for the flow of a decoder in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.train import Train
from gfe_core.fixed_grid import FixedGrid
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Loss, Objective, bce

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

RK4_DECAY = 2.785293563405282  # RK4 is stable for x' = -x with steps up to this,
RK4_SWING = math.sqrt(8)  # and for x'' = -x with steps up to this
LOOKS = 8  # slices of a flow, besides the first, at which the curvature is measured
LEFT = 4  # after one of so many parts of the slices the flow has left z = 0


@dataclass(frozen=True)
class Coarseness(RunConfig):
    """The longest step of the flow on ``grid``, over RK4's bound of stability, at each stage that ``training`` kept.

    Measured on the first ``count`` training images.
    """

    training: Train
    grid: FixedGrid | Nesterov
    count: int = 16

    @property
    def name(self) -> str:
        """Of which flow, under which training."""
        flow = f"{type(self.grid).__name__.lower()}-{self.grid.slices}"
        return self.training.name.replace("train-", f"coarseness-{flow}-", 1)

    @property
    def work(self) -> tuple[str, int]:
        """A flow on as many slices, for so many images, at each stage."""
        return f"{type(self).__name__} of {self.grid.slices}", self.count * len(self.training.kept)

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Measure. The frame of :func:`coarseness`, a block a stage, and ``images``, those seen in training so far."""
        images = dataset.train.images[: self.count]
        frames = [
            coarseness(model_with(weights, self.training.solver), images, self.grid).assign(images=int(stage))
            for stage, weights in needed[0].items()
        ]
        columns = ["image", "t", "curvature", "share", "start", "rises", "images"]
        return pd.concat(frames) if frames else pd.DataFrame(columns=columns), {}


def coarseness(
    decoder: nn.Module, images: Tensor, grid: FixedGrid | Nesterov, loss: Loss = bce, looks: int = LOOKS
) -> pd.DataFrame:
    """How near ``grid`` comes to losing the flows of ``images`` (B, P): one row an image.

    Columns: ``share``, the longest step over the bound of stability, the largest of ``looks`` slices after the first
    quarter of them; ``t``, where that is; ``curvature``, the largest eigenvalue mu of nabla_z^2 l there; ``start``, the
    share of the first slice, which z leaves before it could swing; ``rises``, whether the loss rises from one slice to
    the next. An image whose flow is not finite has infinite shares. Costs the flow, and d forward-mode passes through
    the gradient for each look.
    """
    decoder = decoder.requires_grad_(False)
    path = grid.encode(Objective(decoder, images, loss), record=True).path
    assert path is not None, "it was asked for"
    finite = path.z.isfinite().all(dim=2).all(dim=0)
    found = pd.DataFrame({"image": range(len(images)), "t": math.nan, "curvature": math.nan})
    found["share"] = found["start"] = math.inf
    found["rises"] = (~(path.loss.diff(dim=0) <= 1e-5).all(dim=0)).numpy()
    if not finite.any():
        return found
    later = torch.linspace(grid.slices // LEFT, grid.slices - 1, min(looks, grid.slices)).round().long()
    index = torch.cat([torch.zeros(1, dtype=torch.long), later])
    z, y = path.z[index][:, finite], images[finite]
    mu = curvature(decoder, y.repeat(len(index), 1), z.flatten(0, 1), loss)[:, -1].unflatten(0, z.shape[:2])
    shares = steps_over_bound(grid, mu, index)
    share, where = shares[1:].max(dim=0)
    own = torch.arange(len(y))
    for column, values in (
        ("share", share), ("start", shares[0]), ("t", path.t[later, 0][where]), ("curvature", mu[1:][where, own]),
    ):  # fmt: skip
        found.loc[finite.numpy(), column] = values.double().numpy()
    return found


def steps_over_bound(grid: FixedGrid | Nesterov, mu: Tensor, index: Tensor) -> Tensor:
    """The steps of the slices at ``index`` (M,), over RK4's bound where the curvature is ``mu`` (M, B): (M, B).

    For the first-order flow that is h alpha(t) mu / 2.785. The second-order flow swings with the frequency sqrt(mu),
    hardly damped by its friction 3 / t when t is large against h: h sqrt(mu) / sqrt(8). No direction of negative
    curvature is unstable by its step, so that there it is zero.
    """
    times, mu = grid.times(), mu.clamp_min(0)
    steps = torch.tensor([later - t for t, later in pairwise(times)])[index, None].to(mu)
    if isinstance(grid, Nesterov):
        return steps * mu.sqrt() / RK4_SWING
    alpha = torch.tensor([grid.alpha(t, grid.tau) for t in times])[index, None].to(mu)
    return steps * alpha * mu / RK4_DECAY
