"""Trainings of decoders of other shapes than the paper's: of other latent dimensions, and a convolutional one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, nn

from gfe_companion.datasets.base import Dataset
from gfe_companion.methods.networks import ConvolutionalDecoder
from gfe_companion.runs.train import Train
from gfe_core.encoding import Solver
from gfe_core.models import LATENT_DIM, Decoder
from gfe_core.training import Training, encoding_step


@dataclass(frozen=True)
class TrainShaped(Train):
    """The training of a decoder of ``latent_dim`` latents, the paper's or a ``convolutional`` one, by encoding."""

    latent_dim: int = LATENT_DIM
    convolutional: bool = False

    @property
    def shape(self) -> str:
        """For people."""
        return f"{'convolutional' if self.convolutional else 'linear'} layers, d = {self.latent_dim}"

    @property
    def name(self) -> str:
        """With the shape of the decoder."""
        return f"{super().name}-{'convolutional' if self.convolutional else 'linear'}-{self.latent_dim}"

    @property
    def work(self) -> tuple[str, int]:
        """A training of such a decoder, of so many images."""
        what, images = super().work
        return f"{what}, {self.shape}", images

    def decoder(self, generator: Generator | None = None) -> nn.Module:
        """The decoder before its training."""
        made = ConvolutionalDecoder if self.convolutional else Decoder
        return made(latent_dim=self.latent_dim, generator=generator)

    def begin(self, dataset: Dataset) -> tuple[Training, Solver | None]:
        """The training before its first batch. Raises ``ValueError`` without a solver."""
        if self.solver is None:
            raise ValueError("a decoder of another shape has no encoder here; give a solver.")
        generator = Generator().manual_seed(self.seed)
        decoder = self.decoder(generator).to(self.device)
        step = encoding_step(decoder, self.solver, self.gradient)
        return Training(decoder, step, dataset.train.images.to(self.device), generator, self.recipe), step.solver
