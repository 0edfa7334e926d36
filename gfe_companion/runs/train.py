"""Trainings: a decoder by encoding (Algorithm 1), or an autoencoder, measured on the way."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd
from torch import Generator, Tensor, nn
from tqdm import tqdm

from gfe_companion.runs.config import RunConfig, Saved
from gfe_companion.runs.encode import encode, knowledge_of
from gfe_core.adjoint import AdjointGradient, ApproximateGradient, TooCoarse
from gfe_core.encoding import Solver
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.training import Gradient, Recipe, Training, autoencoder_step, encoding_step

if TYPE_CHECKING:
    from gfe_companion.datasets.base import Dataset

CHUNK = 50  # iterations between two looks at the clock that decides when an unfinished training is saved


@dataclass(frozen=True)
class Train(RunConfig):
    """Train from ``seed``: by encoding with ``solver``, or an autoencoder where it is None.

    The validation loss is measured where the number of training images seen is in ``measured``, and the weights are
    kept where it is in ``kept``; training ends at the largest of both.
    """

    dataset: str
    embedded: bool
    seed: int
    solver: Solver | None
    measured: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    validation_images: int = 1000
    recipe: Recipe = Recipe()
    device: str = "cpu"
    gradient: ClassVar[Gradient] = ApproximateGradient()  # Eq. (6)

    @property
    def trained(self) -> Train:
        """Itself."""
        return self

    @property
    def name(self) -> str:
        """Which data, which method, which seed, how far."""
        method = "ae" if self.solver is None else f"gfe-{type(self.solver).__name__.lower()}"
        method += "-adjoint" if self.gradient.needs_path else ""
        return f"train-{self.dataset}-{method}-{self._end}-seed{self.seed}"

    @property
    def work(self) -> tuple[str, int]:
        """A training by its solver, of so many images."""
        return f"{type(self).__name__} by {self.solver!r}", self._end

    @property
    def _end(self) -> int:
        return max(self.measured + self.kept)

    def begin(self, dataset: Dataset) -> tuple[Training, Solver | None]:
        """The training before its first batch, and what its images are encoded by, None for an AE's own encoder."""
        generator = Generator().manual_seed(self.seed)
        images = dataset.train.images.to(self.device)
        if self.solver is None:
            autoencoder = AutoEncoder(generator).to(self.device)
            return Training(autoencoder, autoencoder_step(autoencoder), images, generator, self.recipe), None
        decoder = Decoder(generator=generator).to(self.device)
        step = encoding_step(decoder, self.solver, self.gradient)
        return Training(decoder, step, images, generator, self.recipe), step.solver

    def execute(self, dataset: Dataset, needed: list[dict], saved: Saved) -> tuple[pd.DataFrame, dict]:
        """Train. One row for each point; the weights kept at a point by its number, "<number> start" what was learnt.

        A training that cannot go on, because its loss is no longer finite or its path too coarse for the adjoint, ends
        with a row whose column ``failure`` says so.
        """
        training, solver = self.begin(dataset)
        model = training.model
        validation = dataset.validation.images[: self.validation_images].to(self.device)
        rows: list[dict] = []
        kept: dict[str, dict] = {}
        summed = 0.0  # training loss since the last row, summed over images
        if state := saved.load():
            training.load_state_dict(state["training"])
            rows, kept, summed = state["rows"], state["kept"], state["summed"]

        points = sorted({*self.measured, *self.kept})
        quiet = not sys.stderr.isatty()
        with tqdm(total=points[-1], initial=training.images, desc=self.name, unit="image", disable=quiet) as bar:
            for point in points:
                while training.images < point:
                    before = training.images
                    until = min(point, before + CHUNK * self.recipe.batch_size)
                    try:
                        summed += training.advance(until, bar.update) * (until - before)
                    except (FloatingPointError, TooCoarse) as error:  # a finding about the method: figures tell it
                        rows.append({"images": training.images, "seconds": training.seconds, "failure": str(error)})
                        return pd.DataFrame(rows), kept
                    if saved.due():
                        saved.save({"training": training.state_dict(), "rows": rows, "kept": kept, "summed": summed})
                if rows and rows[-1]["images"] >= point:
                    continue  # measured by an earlier attempt
                row = {"images": point, "seconds": training.seconds}
                row["training_loss"] = summed / (point - (rows[-1]["images"] if rows else 0))
                try:
                    if point in self.measured:
                        row["validation_loss"] = _validated(model, validation, solver)
                except FloatingPointError as error:  # its last update broke it, which no training loss tells any more
                    rows.append({"images": point, "seconds": training.seconds, "failure": str(error)})
                    return pd.DataFrame(rows), kept
                rows.append(row)
                summed = 0.0
                if point in self.kept:
                    kept[str(point)] = _copied(model.state_dict())
                    if learnt := knowledge_of(solver):
                        kept[f"{point} start"] = _copied(learnt)
        return pd.DataFrame(rows), kept


def _validated(model: nn.Module, images: Tensor, solver: Solver | None) -> float:
    """The mean loss of validation images. Raises ``FloatingPointError`` where the model has diverged.

    On a grid that is too coarse for some images the mean is infinite, too: that is a finding about the grid.
    """
    loss = float(encode(model, images, solver)["loss"].double().mean())
    if solver is None and not math.isfinite(loss):
        raise FloatingPointError(f"the validation loss is {loss}; lower the learning rate or check the images.")
    return loss


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


@dataclass(frozen=True)
class TrainByAdjoint(Train):
    """The same with the full adjoint, Eq. (2)-(4), in the place of Eq. (6)."""

    gradient: ClassVar[Gradient] = AdjointGradient()
