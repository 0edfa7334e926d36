"""Notebook 08: the runs of a tuned autoencoder and a tuned accelerated GFE on the clock, as data.

A budget in seconds becomes a number of training images, by what one thread was measured to do in a second. So a run
is the same on every machine, a falling rate knows where it ends, and the seconds that are shown are those it took.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from gfe_companion.methods import COLD_TEST, FAST
from gfe_companion.methods.recipes import AdamRecipe
from gfe_companion.runs.configs import RunConfig, Train
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.ways import Ways
from gfe_core.encoding import Solver
from gfe_core.training import CosineRecipe, Recipe

SOLVERS: dict[str, Solver | None] = {"ae": None, "gfe_fast": FAST}
IMAGES_A_SECOND = {("ae", 16): 3300, ("ae", 64): 6600, ("gfe_fast", 16): 1400, ("gfe_fast", 64): 2700}
SHORT = 10.0  # seconds: longer trainings do without small batches
SCHEDULES = {"cosine": "falling rate", "constant": "constant rate"}


@dataclass(frozen=True, order=True)
class Tuning:
    """A setting of the sweep: ``optimiser``, its ``rate``, the ``batch`` and the ``schedule`` of the rate."""

    optimiser: str
    rate: float
    batch: int
    schedule: str = "cosine"

    def __str__(self) -> str:
        return f"{self.optimiser} {self.rate:g}, batch {self.batch}, {SCHEDULES[self.schedule]}"

    def recipe(self, images: int) -> Recipe:
        """How theta is updated in a training of so many ``images``, after which a falling rate is zero."""
        falls = self.schedule == "cosine"
        if self.optimiser == "Adam":
            return AdamRecipe(self.batch, self.rate, until=images if falls else 0)
        return CosineRecipe(self.batch, self.rate, until=images) if falls else Recipe(self.batch, self.rate)


FINAL = (Tuning("Adam", 2e-3, 64), Tuning("Adam", 2e-3, 16))  # what all seeds and budgets get
SWEPT = FINAL + tuple(
    tuning
    for schedule in SCHEDULES
    for batch in (64, 16)
    for optimiser, rates in (("Adam", (2e-3, 1e-3)), ("RMSprop", (1e-3, 5e-4)))
    for rate in rates
    if (tuning := Tuning(optimiser, rate, batch, schedule)) not in FINAL
)


def seeds_of(setting: Setting) -> tuple[int, ...]:
    """The seeds of the tuned trainings."""
    return setting.seeds[: setting.profile.clock_seeds]


def images_in(seconds: float, method: str, batch: int) -> int:
    """How many training images a budget of one thread's ``seconds`` is estimated to allow: whole batches, at least two.

    Raises ``KeyError`` for a method or batch size whose speed is not in :data:`IMAGES_A_SECOND`.
    """
    return batch * max(2, round(seconds * IMAGES_A_SECOND[method, batch] / batch))


def _train(setting: Setting, method: str, seed: int, tuning: Tuning, seconds: float) -> Train:
    images = images_in(seconds, method, tuning.batch)
    return Train(
        "mnist", setting.embedded(), seed, SOLVERS[method], kept=(images,), recipe=tuning.recipe(images),
        device=setting.device,
    )  # fmt: skip


def _ways(setting: Setting, training: Train, count: int) -> Ways:
    (images,) = training.kept
    return Ways(training, images, COLD_TEST, setting.profile.clock_validated, count)


def swept(setting: Setting) -> pd.DataFrame:
    """The sweep, on the first seed and validation images alone: columns method, tuning, budget, seed, config."""
    profile, rows = setting.profile, []
    for method in SOLVERS:
        for tuning in SWEPT[: profile.clock_settings]:
            seed, budget = setting.seeds[0], profile.clock_sweep
            training = _train(setting, method, seed, tuning, budget)
            rows.append((method, tuning, budget, seed, _ways(setting, training, 0)))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config"])


def tuned(setting: Setting) -> pd.DataFrame:
    """Both methods under :data:`FINAL`, each budget a training of its own: columns as those of :func:`swept`."""
    profile, rows = setting.profile, []
    for seed in seeds_of(setting):
        for method in SOLVERS:
            for tuning in FINAL:
                for budget in profile.clock_budgets:
                    if tuning.batch < 64 and budget > SHORT:
                        continue
                    training = _train(setting, method, seed, tuning, budget)
                    rows.append((method, tuning, budget, seed, _ways(setting, training, profile.clock_tested)))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config"])


def planned(setting: Setting) -> list[RunConfig]:
    """All runs of the frames above, without those that they rest on."""
    return [*dict.fromkeys(config for make in (swept, tuned) for config in make(setting).config)]
