"""Notebook 08: the runs of a tuned autoencoder and a tuned accelerated GFE on the clock, as data.

A budget in seconds becomes a number of training images, by what one thread was measured to do in a second. So a run
is the same on every machine, a falling rate knows where it ends, and the seconds that are shown are those it took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from gfe_companion.methods import COLD_TEST, FAST
from gfe_companion.methods.networks import Network
from gfe_companion.methods.recipes import AdamRecipe
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.train_tuned import TrainTuned
from gfe_companion.runs.ways import Ways
from gfe_companion.studies.beyond_plans import with_trials
from gfe_core.encoding import Solver
from gfe_core.training import CosineRecipe, Recipe

REHEARSED = 3  # updates on recent images for each encoded batch


@dataclass(frozen=True)
class Trainer:
    """How a decoder is trained: by ``solver``, None being an autoencoder; see :class:`TrainTuned` for the rest.

    ``ae_share`` of the budget it is an autoencoder first. ``speeds`` are training images a second of one thread by
    batch size, as measured once.
    """

    solver: Solver | None
    speeds: tuple[tuple[int, int], ...]
    rehearsals: int = 0
    ae_share: float = 0.0

    def speed(self, batch: int) -> int:
        """Images a second with that ``batch``; raises ``KeyError`` where none was measured."""
        return dict(self.speeds)[batch]


AE_SPEEDS = ((16, 3400), (64, 7000))
TRAINERS = {
    "ae": Trainer(None, AE_SPEEDS),
    "gfe_fast": Trainer(FAST, ((16, 1400), (64, 2700))),
    "gfe_rehearsed": Trainer(FAST, ((16, 2500), (64, 5700)), rehearsals=REHEARSED),
}
SHORT = 5.0  # seconds: longer trainings do without small batches
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


FINAL = (Tuning("Adam", 3e-3, 64), Tuning("Adam", 2e-3, 16))  # what all seeds get
SWEPT = FINAL + tuple(
    tuning
    for schedule in SCHEDULES
    for batch in (64, 16)
    for optimiser, rates in (("Adam", (4e-3, 3e-3, 2e-3, 1e-3)), ("RMSprop", (1e-3, 5e-4)))
    for rate in rates
    if (tuning := Tuning(optimiser, rate, batch, schedule)) not in FINAL
)


def affordable(tunings: Iterable[Tuning], seconds: float) -> list[Tuning]:
    """Those of ``tunings`` that a training of so many ``seconds`` may have: a long one does without small batches."""
    return [tuning for tuning in tunings if tuning.batch >= FINAL[0].batch or seconds <= SHORT]


# What was tried to get more out of a second, by name; the autoencoder is what to beat.
RECIPES = {
    "AE": (TRAINERS["ae"], FINAL[0]),
    "GFE, five trials": (TRAINERS["gfe_fast"], FINAL[0]),
    "three trials": (Trainer(with_trials(3), ((64, 3200),)), FINAL[0]),
    "three trials, batch 128": (Trainer(with_trials(3), ((128, 3700),)), Tuning("Adam", 3e-3, 128)),
    "map and curvature every 40 batches": (Trainer(replace(FAST, refresh=40), ((64, 2900),)), FINAL[0]),
    "an AE for half the time, then GFE": (Trainer(FAST, ((64, 2700),), ae_share=0.5), FINAL[0]),
    f"{REHEARSED} rehearsals": (TRAINERS["gfe_rehearsed"], FINAL[0]),
    "7 rehearsals": (Trainer(FAST, ((64, 7400),), rehearsals=7), FINAL[0]),
}


NETWORK = Network()  # the paper's
# Whether it is so elsewhere, too: data sets and networks.
NETWORKS = (
    ("mnist", Network(5)), ("mnist", Network(20)), ("mnist", Network(64)),
    ("fashion_mnist", Network(20)), ("fashion_mnist", Network(20, convolutional=True)),
)  # fmt: skip


def seeds_of(setting: Setting) -> tuple[int, ...]:
    """The seeds of the tuned trainings."""
    return setting.seeds[: setting.profile.clock_seeds]


def images_in(seconds: float, speed: float, batch: int) -> int:
    """Training images that ``seconds`` of one thread are estimated to allow: whole batches, at least two."""
    return batch * max(2, round(seconds * speed / batch))


def _train(
    setting: Setting, trainer: Trainer, seed: int, tuning: Tuning, seconds: float, dataset: str = "",
    network: Network = NETWORK,
) -> TrainTuned:  # fmt: skip
    dataset, first = dataset or setting.dataset, trainer.ae_share * seconds
    switch = images_in(first, dict(AE_SPEEDS)[tuning.batch], tuning.batch) if first else 0
    images = switch + images_in(seconds - first, trainer.speed(tuning.batch), tuning.batch)
    return TrainTuned(
        dataset, setting.embedded(dataset), seed, trainer.solver, kept=(images,), recipe=tuning.recipe(images),
        device=setting.device, rehearsals=trainer.rehearsals, switch=switch, network=network,
    )  # fmt: skip


def _ways(setting: Setting, training: TrainTuned, count: int) -> Ways:
    (images,) = training.kept
    solver = replace(COLD_TEST, max_trials=setting.profile.clock_trials)
    return Ways(training, images, solver, setting.profile.clock_validated, count)


def swept(setting: Setting) -> pd.DataFrame:
    """The sweep, on the first seed and validation images alone: columns method, tuning, budget, seed, config.

    At one budget the AE and the accelerated GFE have all settings; rehearsed GFE has those of the optimiser and
    schedule of :data:`FINAL`, and so has the AE at either end of the budgets, as far as they are affordable there.
    """
    profile, seed, rows = setting.profile, setting.seeds[0], []
    whole = SWEPT[: profile.clock_settings]
    near = [t for t in whole if (t.optimiser, t.schedule) == (FINAL[0].optimiser, FINAL[0].schedule)]
    sweeps: list[tuple[str, float, Sequence[Tuning]]] = [
        (method, profile.clock_sweep, whole) for method in ("ae", "gfe_fast")
    ]
    sweeps.append(("gfe_rehearsed", profile.clock_sweep, near))
    sweeps += [("ae", end, affordable(near, end)) for end in ends(setting)]
    for method, budget, tunings in sweeps:
        for tuning in tunings:
            training = _train(setting, TRAINERS[method], seed, tuning, budget)
            rows.append((method, tuning, budget, seed, _ways(setting, training, 0)))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config"])


def ends(setting: Setting) -> list[float]:
    """The shortest and the longest of the budgets, in seconds."""
    budgets = setting.profile.clock_budgets
    return sorted({min(budgets), max(budgets)})


def tuned(setting: Setting) -> pd.DataFrame:
    """All of :data:`TRAINERS` under :data:`FINAL`, each budget a training of its own: the columns of :func:`swept`."""
    profile, rows = setting.profile, []
    for seed in seeds_of(setting):
        for method, trainer in TRAINERS.items():
            for budget in profile.clock_budgets:
                for tuning in affordable(FINAL, budget):
                    training = _train(setting, trainer, seed, tuning, budget)
                    rows.append((method, tuning, budget, seed, _ways(setting, training, profile.clock_tested)))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config"])


def recipes(setting: Setting) -> pd.DataFrame:
    """:data:`RECIPES` at a few budgets, on one seed fewer where there are several: the columns of :func:`swept`."""
    profile, rows = setting.profile, []
    for seed in seeds_of(setting)[: max(1, profile.clock_seeds - 1)]:
        for name, (trainer, tuning) in RECIPES.items():
            for budget in profile.clock_recipes:
                training = _train(setting, trainer, seed, tuning, budget)
                rows.append((name, tuning, budget, seed, _ways(setting, training, profile.clock_tested)))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config"])


def networks(setting: Setting) -> pd.DataFrame:
    """All of :data:`TRAINERS` with :data:`NETWORKS`, on as many seeds as :func:`recipes`.

    Columns: those of :func:`swept`, dataset, network.
    """
    profile, rows, tuning = setting.profile, [], FINAL[0]
    for seed in seeds_of(setting)[: max(1, profile.clock_seeds - 1)]:
        for dataset, network in NETWORKS:
            for method, trainer in TRAINERS.items():
                training = _train(setting, trainer, seed, tuning, profile.clock_networks, dataset, network)
                ways = _ways(setting, training, profile.clock_tested)
                rows.append((method, tuning, profile.clock_networks, seed, ways, dataset, network))
    return pd.DataFrame(rows, columns=["method", "tuning", "budget", "seed", "config", "dataset", "network"])


def planned(setting: Setting) -> list[RunConfig]:
    """All runs of the frames above, without those that they rest on."""
    return [*dict.fromkeys(config for make in (swept, tuned, recipes, networks) for config in make(setting).config)]
