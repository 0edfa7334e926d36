"""Tests: what a training kept, on test images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import encode, model_with, restored
from gfe_companion.runs.train import Train
from gfe_core.encoding import Solver

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset


@dataclass(frozen=True)
class Evaluate(RunConfig):
    """Losses of ``count`` test images under the weights that ``training`` kept at ``images``.

    They are the first ones, of all or of every ``every``-th one. They are encoded by ``solver``, or, where it is None,
    by the autoencoder's own encoder.
    """

    training: Train
    images: int
    solver: Solver | None
    count: int
    every: int = 1

    @property
    def name(self) -> str:
        """Which training, at how many images, by which encoder."""
        encoder = "own" if self.solver is None else type(self.solver).__name__.lower()
        return self.training.name.replace("train-", "test-", 1) + f"-at{self.images}-by-{encoder}"

    @property
    def work(self) -> tuple[str, int]:
        """A test by its solver, of so many images."""
        return f"{type(self).__name__} by {self.solver!r}", self.count

    @property
    def device(self) -> str:
        """The test runs where the training ran."""
        return self.training.device

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Encode. One row an image; the latents ``z`` (N, d) are kept.

        An encoder that learns in a training is the training's own, with what it knew then.
        """
        (trained,) = needed
        model = model_with(trained[str(self.images)], self.training.solver).to(self.device)
        images = dataset.test.images[:: self.every][: self.count].to(self.device)
        known = {name: tensor.to(images) for name, tensor in trained.get(f"{self.images} start", {}).items()}
        columns = encode(model, images, restored(self.solver, known))
        z = columns.pop("z").cpu()
        return pd.DataFrame({name: column.cpu() for name, column in columns.items()}), {"z": z}
