"""What identifies a run: frozen configurations, equal ones being the same run on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

from gfe_companion.methods import Entrant
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.encoding import Solver
from gfe_core.training import Gradient, Recipe

REVISION = 1  # raised when the method itself changes, so that runs of before are not taken for runs of now


class RunConfig:
    """What identifies a run. Subclasses are frozen dataclasses; equal configurations are the same run on disk."""

    def describe(self) -> dict:
        """This configuration as plain JSON data; nested dataclasses carry their type's name."""
        return _plain(self)

    @property
    def key(self) -> str:
        """Ten hexadecimal digits that stand for all fields, defaults included."""
        text = json.dumps([REVISION, self.describe()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def trained(self) -> Train:
        """The training that this run is, or rests on."""
        return self.dependencies()[0].trained

    def dependencies(self) -> tuple[RunConfig, ...]:
        """Runs that must be finished before this one."""
        return ()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Train(RunConfig):
    """Train from ``seed``: by encoding with ``solver``, or an autoencoder where it is None.

    The validation loss is measured, and the weights are kept, whenever the number of training images seen is in
    ``measured`` or ``kept``; training ends at the largest of them.
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
        """For people: which data, which method, which seed, how far."""
        method = "ae" if self.solver is None else f"gfe-{type(self.solver).__name__.lower()}"
        method += "-adjoint" if self.gradient.needs_path else ""
        return f"train-{self.dataset}-{method}-{max(self.measured + self.kept)}-seed{self.seed}"


@dataclass(frozen=True)
class TrainByAdjoint(Train):
    """The same with the full adjoint, Eq. (2)-(4), in the place of Eq. (6)."""

    gradient: ClassVar[Gradient] = AdjointGradient()


@dataclass(frozen=True)
class TrainStored(Train):
    """DeepSDF's auto-decoder in the place of encoding: one latent a training image; ``solver`` only validates."""

    latent_rate: float = 0.1
    penalty: float = 1e-4

    @property
    def name(self) -> str:
        """For people: which data, which seed, how far."""
        return f"train-{self.dataset}-autodecoder-{max(self.measured + self.kept)}-seed{self.seed}"


@dataclass(frozen=True)
class Evaluate(RunConfig):
    """Losses of the first ``count`` test images under the weights that ``training`` kept at ``images``.

    They are encoded by ``solver``, or, where it is None, by the autoencoder's own encoder.
    """

    training: Train
    images: int
    solver: Solver | None
    count: int

    @property
    def name(self) -> str:
        """For people: which training, at how many images."""
        encoder = "own" if self.solver is None else type(self.solver).__name__.lower()
        return self.training.name.replace("train-", "test-", 1) + f"-at{self.images}-by-{encoder}"

    @property
    def device(self) -> str:
        """The test runs where the training ran."""
        return self.training.device

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)


@dataclass(frozen=True)
class Stiffness(RunConfig):
    """How stiff the gradient flow of the first ``count`` training images is, at each stage that ``training`` kept.

    dopri5 may spend ``limit`` gradients on an image.
    """

    training: Train
    count: int
    tau: float
    limit: int = 5000

    @property
    def name(self) -> str:
        """For people: under which training."""
        return self.training.name.replace("train-", "stiffness-", 1)

    @property
    def device(self) -> str:
        """Dozens of small problems in float64: a matter for the CPU."""
        return "cpu"

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The training."""
        return (self.training,)


@dataclass(frozen=True)
class Optimum(RunConfig):
    """The lowest losses that several encoders and starts find for the first ``count`` images of ``evaluation``.

    The latents of ``evaluation`` are one of the starts.
    """

    evaluation: Evaluate
    count: int

    @property
    def name(self) -> str:
        """For people: of which test."""
        return self.evaluation.name.replace("test-", "optimum-", 1)

    @property
    def device(self) -> str:
        """The search ends in float64: a matter for the CPU."""
        return "cpu"

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The test, and the training whose weights it used."""
        return (self.evaluation, self.evaluation.training)


@dataclass(frozen=True)
class Race(RunConfig):
    """How near the optimum each encoder gets with how many decoder passes an image, ``most`` at most.

    The images and their best latents are those of ``optimum``.
    """

    optimum: Optimum
    entrants: tuple[Entrant, ...]
    most: int

    @property
    def name(self) -> str:
        """For people: on which decoder."""
        return self.optimum.name.replace("optimum-", "race-", 1)

    @property
    def device(self) -> str:
        """As its optimum."""
        return self.optimum.device

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The optimum, and the training whose weights it used."""
        return (self.optimum, self.optimum.trained)


@dataclass(frozen=True)
class Latents(RunConfig):
    """What the latents of the first ``count`` images of ``evaluation`` say of their classes, and their t-SNE map."""

    evaluation: Evaluate
    count: int
    perplexity: float = 30.0
    early_exaggeration: float = 4.0
    learning_rate: float = 100.0

    @property
    def name(self) -> str:
        """For people: the latents of which test."""
        return self.evaluation.name.replace("test-", "latents-", 1)

    @property
    def device(self) -> str:
        """scikit-learn's work: a matter for the CPU."""
        return "cpu"

    def dependencies(self) -> tuple[RunConfig, ...]:
        """The encoded test images."""
        return (self.evaluation,)
