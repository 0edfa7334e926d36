"""Notebook 08: the accelerated encoder beside others. The same decoder learns few images by each of them."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.claims import BATCH
from gfe_companion.evidence.clock import envelope
from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import FAST_TEST
from gfe_companion.runs.configs import Evaluate
from gfe_companion.runs.encode import encode, model_with, restored
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.beyond_clock import seeds_said
from gfe_companion.studies.results import Table, Text, listed

MUCH = 0.02  # relative: from here on a loss counts as higher
COLUMNS = ["trainer", "seed", "images", "seconds", "validation", "loss", "speedup"]


def runs_of_trainers(setting: Setting) -> pd.DataFrame:
    """The trainings, finished: trainer, seed, images, config, run, loss, seconds, validation, speedup over the first.

    ``validation`` is the mean loss of validation images, encoded here as the test images are.
    """
    compared = plans.tested(plans.compared(setting), setting)
    slow = compared[compared.trainer == next(iter(plans.trainers()))].set_index("seed").seconds
    validated = [_validation(setting, config) for config in over(compared.config, "encoders")]
    return compared.assign(validation=validated, speedup=compared.seed.map(slow) / compared.seconds)


def _validation(setting: Setting, config: Evaluate) -> float:
    """The mean loss of the first validation images under what ``config`` tests, by the same encoder."""
    (run,) = run_grid([config.training], setting)
    model = model_with(run.weights[str(config.images)], config.training.solver)
    tester = restored(config.solver, run.weights.get(f"{config.images} start", {}))
    images = setting.load().validation.images[: setting.profile.clock_validated]
    return float(encode(model, images, tester)["loss"].double().mean())


def unbeaten(compared: pd.DataFrame) -> list[str]:
    """The encoders than which no other is both as fast and as low on validation images, in the mean over seeds.

    From fast to slow. Test losses have no say.
    """
    means = compared.groupby("trainer", sort=False)[["seconds", "validation"]].mean().reset_index()
    return list(envelope(means).trainer)


def table_trainers(setting: Setting, compared: pd.DataFrame) -> Table:
    """Each encoder's milliseconds an iteration, its speed, and the losses that it leads to."""
    first, best = next(iter(plans.trainers())), unbeaten(compared)
    rows = [
        {"encoder": f"{name}*" if name in best else name,
         "ms an iteration": f"{1000 * BATCH * group.seconds.mean() / group.images.iloc[0]:.1f}",
         f"times as fast as {first}": f"{group.speedup.mean():.1f}",
         "validation loss": str(interval(group.validation)), "test loss": str(interval(group.loss))}
        for name, group in compared.groupby("trainer", sort=False)
    ]  # fmt: skip
    trials, profile = FAST_TEST.solver.max_trials, setting.profile  # type: ignore[attr-defined]
    notes = (
        f"Cross-entropy, mean ± 95 % interval, seeds {seeds_said(setting)}; the first {profile.clock_validated:,} "
        f"validation and {profile.beyond_tested:,} test images, by the encoder of the training, a warm one with up to "
        f"{trials} trials. An iteration has {BATCH} images. Processor seconds of one thread, other trainings beside "
        "it. *: no other is both as fast and as low on validation images. Nothing is chosen by this table, and test "
        "losses have no say in its marks: the encoder of this page is fixed in the code."
    )
    title = f"Learning {compared.images.iloc[0]:,} images of {setting.load().title} by each encoder"
    return Table("table_08_trainers", compared[COLUMNS], pd.DataFrame(rows), title, notes)


def say_trainers(compared: pd.DataFrame) -> Text:
    """Which encoders no other beats on validation images, whether ours is one, and which lead to higher losses."""
    best, validation = unbeaten(compared), compared.groupby("trainer", sort=False).validation.mean()
    above = validation / validation[plans.ACCELERATED] - 1
    worse = "; ".join(f"{name} ({more:+.0%})" for name, more in above.items() if more > MUCH) or "none"
    ours = "is one of them" if plans.ACCELERATED in best else "is **not** one of them"
    shown = listed([f"*{name}*" for name in best])
    return Text(
        f"**By validation images.** No other encoder beats these in both time and loss: {shown}. "
        f"The one of this page, *{plans.ACCELERATED}*, {ours}. "
        f"More than {100 * MUCH:g} % above its validation loss lie: {worse}. "
        f"*{plans.PATIENT}* in its place changes it by {above[plans.PATIENT]:+.1%}, "
        f"for {_times_as_long(compared):.1f} times the seconds."
    )


def _times_as_long(compared: pd.DataFrame) -> float:
    """The seconds of the patient encoder over those of the one of this page."""
    seconds = compared.groupby("trainer").seconds.mean()
    return float(seconds[plans.PATIENT] / seconds[plans.ACCELERATED])
