"""Tests on the clock: what each way of encoding gives under one decoder, and how long it takes (beyond the paper)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.train_tuned import TrainTuned
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.objective import bce
from gfe_core.training import compute_seconds, encode_all
from gfe_core.warm import WarmStart

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

WAYS = ("own", "warm", "zero")
Encode = Callable[[Tensor], Tensor]  # images (N, P) -> losses (N,)


@dataclass(frozen=True)
class Ways(RunConfig):
    """Losses under the decoder that ``training`` kept at ``images``, its images encoded in three ways.

    - "own": in one pass, by an autoencoder's encoder or by the linear map of a warm start;
    - "warm": from there by ``solver``; for a decoder whose training has learnt coordinates, in these;
    - "zero": by ``solver`` from z = 0.

    They are measured on the first ``validated`` validation images, on which settings are chosen, and on the first
    ``count`` test images, on which the chosen ones are compared; either number may be zero.
    """

    training: TrainTuned
    images: int
    solver: QuasiNewtonAMD
    validated: int
    count: int

    @property
    def name(self) -> str:
        """Of which training, at how many images."""
        return self.training.name.replace("train-", "ways-", 1) + f"-at{self.images}"

    @property
    def work(self) -> tuple[str, int]:
        """Encodings by its solver, of so many images."""
        return f"{type(self).__name__} by {self.solver!r}", self.validated + self.count

    @property
    def device(self) -> str:
        """The test runs where the training ran."""
        return self.training.device

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Encode. One row an image: split, the loss by each way, and "<way>_seconds", which all images took."""
        (trained,) = needed
        model = self.training.restored(trained[str(self.images)]).to(self.device)
        known = {name: tensor.to(self.device) for name, tensor in trained.get(f"{self.images} start", {}).items()}
        splits = {
            "validation": dataset.validation.images[: self.validated], "test": dataset.test.images[: self.count]
        }  # fmt: skip
        images = torch.cat(list(splits.values())).to(self.device)
        history = timed(ways_of(model, self.solver, known), images)
        return history.assign(split=[name for name, part in splits.items() for _ in part]), {}


def ways_of(model: nn.Module, solver: QuasiNewtonAMD, known: dict[str, Tensor]) -> dict[str, Encode]:
    """Each of :data:`WAYS` for an autoencoder, or for a decoder whose warm start has learnt what is ``known``."""
    decoder = getattr(model, "decoder", model)
    unit = replace(solver, s_0=1.0)  # the step that its coordinates make right on average
    warm = WarmStart(unit).encoder(known) if known else solver
    start: Encode = warm.start if known else model.encoder  # type: ignore[union-attr, assignment]

    def own(images: Tensor) -> Tensor:
        with torch.no_grad():
            return bce(decoder(start(images)), images)

    def onward(images: Tensor) -> Tensor:
        with torch.no_grad():
            z0 = start(images)
        return torch.cat([each.loss for each in encode_all(decoder, images, warm, z0=z0)])

    def from_zero(images: Tensor) -> Tensor:
        return torch.cat([each.loss for each in encode_all(decoder, images, solver)])

    return dict(zip(WAYS, (own, onward, from_zero), strict=True))


def timed(ways: dict[str, Encode], images: Tensor) -> pd.DataFrame:
    """The losses of ``images`` (N, P) by each of ``ways``, and the compute seconds that all of them took."""
    columns: dict[str, object] = {}
    for name, encode in ways.items():
        started = compute_seconds(images.device)
        columns[name] = encode(images).cpu().numpy()
        columns[f"{name}_seconds"] = compute_seconds(images.device) - started
    return pd.DataFrame(columns)
