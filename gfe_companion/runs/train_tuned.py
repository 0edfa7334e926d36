"""Trainings of tuned methods: other networks, encoded images rehearsed, an autoencoder first (beyond the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Generator, nn

from gfe_companion.methods.networks import Network
from gfe_companion.methods.rehearsal import HybridStep, RehearsedStep
from gfe_companion.runs.train import Train
from gfe_core.encoding import Solver
from gfe_core.steps import EncodingStep
from gfe_core.training import Training, autoencoder_step, encoding_step

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

APART = 7919  # added to the seed for what draws rehearsed images, so that the batches are those of other trainings


@dataclass(frozen=True)
class TrainTuned(Train):
    """A training of ``network`` as :class:`Train`; of a solver that learns, two things may be changed.

    - ``rehearsals`` updates follow each encoded batch, on the last ``capacity`` encoded images: see
      :class:`RehearsedStep`;
    - up to ``switch`` images it is an autoencoder: see :class:`HybridStep`.
    """

    network: Network = Network()
    rehearsals: int = 0
    capacity: int = 2048
    switch: int = 0

    @property
    def name(self) -> str:
        """Which data, network and method, which seed, how far."""
        method = "ae" if self.solver is None else "gfe"
        method += f"-rehearsed{self.rehearsals}" if self.rehearsals else ""
        method += f"-ae-until{self.switch}" if self.switch else ""
        network = f"{'conv' if self.network.convolutional else 'd'}{self.network.latent_dim}"
        return f"train-{self.dataset}-tuned-{method}-{network}-{self._end}-seed{self.seed}"

    @property
    def work(self) -> tuple[str, int]:
        """A training of its kind, of so many images."""
        kind = f"{self.solver!r} {self.rehearsals} {bool(self.switch)} {self.network} {self.recipe.batch_size}"
        return f"{type(self).__name__} by {kind}", self._end

    def model(self, generator: Generator | None = None) -> nn.Module:
        """What is trained: a decoder, or with an encoder of its own a pair, whose decoder is drawn alike."""
        with_encoder = self.solver is None or self.switch
        return self.network.pair(generator) if with_encoder else self.network.decoder(generator)

    def restored(self, weights: dict) -> nn.Module:
        """What was trained, with the ``weights`` that were kept."""
        model = self.model()
        model.load_state_dict(weights)
        return model

    def begin(self, dataset: Dataset) -> tuple[Training, Solver | None]:
        """As :meth:`Train.begin`."""
        generator = Generator().manual_seed(self.seed)
        model, images = self.model(generator).to(self.device), dataset.train.images.to(self.device)
        if self.solver is None:
            return Training(model, autoencoder_step(model), images, generator, self.recipe), None
        encoding = encoding_step(getattr(model, "decoder", model), self.solver, self.gradient)
        step: EncodingStep | RehearsedStep = encoding
        if self.rehearsals:
            apart = Generator().manual_seed(self.seed + APART)
            step = RehearsedStep(encoding, self.rehearsals, self.capacity, apart)
        whole = HybridStep(autoencoder_step(model), step, self.switch) if self.switch else step
        return Training(model, whole, images, generator, self.recipe), encoding.solver
