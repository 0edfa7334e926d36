"""The training of an auto-decoder, which stores a latent for each training image (beyond the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator

from gfe_companion.methods.baselines import StoredLatents, StoredStep
from gfe_companion.runs.train import Train
from gfe_core.encoding import Solver
from gfe_core.models import Decoder
from gfe_core.training import Training

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset


@dataclass(frozen=True)
class TrainStored(Train):
    """DeepSDF's auto-decoder in the place of encoding: one latent a training image; ``solver`` only validates."""

    latent_rate: float = 0.1
    penalty: float = 1e-4

    @property
    def name(self) -> str:
        """Which data, which seed, how far."""
        return f"train-{self.dataset}-autodecoder-{self._end}-seed{self.seed}"

    def begin(self, dataset: Dataset) -> tuple[Training, Solver | None]:
        """As :meth:`Train.begin`; the pool are the numbers of the images."""
        generator = Generator().manual_seed(self.seed)
        model = Decoder(generator=generator).to(self.device)
        images = dataset.train.images.to(self.device)
        stored = StoredLatents(images, model.latent_dim, self.latent_rate, self.penalty, generator)
        pool = torch.arange(len(images), device=self.device)
        return Training(model, StoredStep(stored, model), pool, generator, self.recipe), self.solver
