"""The runs that each figure and table needs, as data: frozen configurations that :mod:`runs` executes and caches."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.companion.profiles import CURVE_IMAGES, FLOW_KEPT, FLOW_STEP, Setting
from gfe_core.encoding import Solver
from gfe_core.fixed_grid import FixedGrid
from gfe_core.nesterov import Nesterov
from gfe_core.training import Gradient, Recipe

REVISION = 1  # raised when the method itself changes, so that runs of before are not taken for runs of now

LITERAL = AMD()  # Sec. 3.4 as it is written: s_max = 10, about 1,000 steps to tau, fewer where the curve is flat
# The departure: larger steps, each grown from the last accepted one, and a hundred trials in all.
UNCAPPED = AMD(s_max=1000.0, tolerance=1e-3, grow_accepted=True, max_trials=100)

# The paper gives no final time for its fixed grids. The first-order flow gets AMD's, the second-order flow the time in
# which a constant gradient carries z equally far: tau^2 / 8 = 1e4 (1 - e^-2) / 2.
FLOW_TAU = 1e4
NESTEROV_TAU = math.sqrt(4 * FLOW_TAU * (1 - math.exp(-2)))
ADJOINT_TAU = 1e3  # shorter, for the adjoint: its equation needs slices that are short against the curvature


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
    stand_in: bool
    seed: int
    solver: Solver | None
    measured: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    validation_images: int = 1000
    recipe: Recipe = Recipe()
    device: str = "cpu"
    gradient: ClassVar[Gradient] = ApproximateGradient()  # Eq. (6)

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
    tau: float = FLOW_TAU
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


def _trainings(setting: Setting) -> dict[str, Solver | None]:
    """The trained methods of Table 1, by the name that tables and figures use."""
    methods: dict[str, Solver | None] = {"ae": None, "gfe_amd_uncapped": UNCAPPED}
    if setting.profile.literal_amd:
        methods["gfe_amd"] = LITERAL
    return methods


def _train(setting: Setting, stand_in: bool, method: Solver | None, seed: int, images: tuple[int, ...]) -> Train:
    return Train(
        "mnist", stand_in, seed, method, images, tuple(i for i in images if i in setting.profile.table1_images),
        setting.profile.validation_images, device=setting.device,
    )  # fmt: skip


def table1(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Table 1 as a frame of runs to be made: columns images, method, seed, config (an :class:`Evaluate`)."""
    profile, rows = setting.profile, []
    for seed in setting.seeds:
        for method, solver in _trainings(setting).items():
            training = _train(setting, stand_in, solver, seed, profile.table1_images)
            for images in profile.table1_images:
                count = 10_000 if solver is None else profile.test_images
                rows.append((images, method, seed, Evaluate(training, images, solver, count)))
                if solver is None:
                    rows.append(
                        (images, "ae_then_amd", seed, Evaluate(training, images, UNCAPPED, profile.test_images))
                    )
    return pd.DataFrame(rows, columns=["images", "method", "seed", "config"])


def figure4(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 4 as a frame of runs to be made: columns method, seed, config (a :class:`Train`).

    Every seed's training of Table 1 is part of it; the first seeds of the autoencoder and of uncapped GFE-amd are also
    followed to the profile's full length.
    """
    profile, rows = setting.profile, []
    reach = {
        "ae": (profile.curve_ae, profile.curve_ae_seeds),
        "gfe_amd_uncapped": (profile.curve_gfe, profile.curve_gfe_seeds),
    }
    for method, solver in _trainings(setting).items():
        far, seeds = reach.get(method, (0, 0))
        for place, seed in enumerate(setting.seeds):
            points = tuple(i for i in CURVE_IMAGES if i <= far) if place < seeds else profile.table1_images
            rows.append((method, seed, _train(setting, stand_in, solver, seed, points)))
    return pd.DataFrame(rows, columns=["method", "seed", "config"])


def _follow(
    setting: Setting, stand_in: bool, seed: int, solver: Solver, until: int, kind: type[Train] = Train
) -> Train:
    profile = setting.profile
    return kind(
        "mnist", stand_in, seed, solver, tuple(range(FLOW_STEP, until + 1, FLOW_STEP)),
        tuple(images for images in FLOW_KEPT if images <= until), profile.flow_validation_images, device=setting.device,
    )  # fmt: skip


def figure3_left(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 3, left: columns solver, method, seed, config. Eq. (6) against Eq. (2)-(4), by fixed grid and by AMD."""
    profile, rows = setting.profile, []
    solvers = {"fixed grid": FixedGrid(ADJOINT_TAU, profile.adjoint_slices), "AMD": UNCAPPED}
    for seed in setting.seeds[: profile.flow_seeds]:
        for name, solver in solvers.items():
            for method, kind in (("approximate", Train), ("adjoint", TrainByAdjoint)):
                config = _follow(setting, stand_in, seed, solver, profile.adjoint_images, kind)
                rows.append((name, method, seed, config))
    return pd.DataFrame(rows, columns=["solver", "method", "seed", "config"])


def flows(setting: Setting) -> dict[str, Solver]:
    """The solvers that Figures 1 and 3 (right) compare, by the name that figures use."""
    slices = setting.profile.slices
    return {
        "gfe": FixedGrid(FLOW_TAU, slices),
        "gfe_nesterov": Nesterov(NESTEROV_TAU, slices),
        "gfe_amd_uncapped": UNCAPPED,
    }


def figure3_right(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """Figure 3, right, and Figure 1: columns method, seed, config (a :class:`Train`)."""
    rows = [
        (method, seed, _follow(setting, stand_in, seed, solver, setting.profile.flow_images))
        for seed in setting.seeds[: setting.profile.flow_seeds]
        for method, solver in flows(setting).items()
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "config"])


def stiffness(setting: Setting, stand_in: bool) -> pd.DataFrame:
    """The stiffness of the flow as training proceeds: columns seed, config (a :class:`Stiffness`)."""
    profile = setting.profile
    plan = table1(setting, stand_in).query("method == 'gfe_amd_uncapped'").drop_duplicates("seed")
    rows = [
        (row.seed, Stiffness(row.config.training, profile.stiff_images))
        for row in plan.itertuples()
        if row.seed in setting.seeds[: profile.flow_seeds]
    ]
    return pd.DataFrame(rows, columns=["seed", "config"])
