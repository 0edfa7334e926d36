"""Notebook 08: what the accelerated encoder was chosen from. The same decoder learns few images by each encoder."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.claims import BATCH
from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import FAST_TEST
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.beyond_clock import seeds_said
from gfe_companion.studies.results import Table, Text

MUCH = 0.02  # relative: from here on a loss counts as higher


def runs_of_trainers(setting: Setting) -> pd.DataFrame:
    """The trainings, finished: trainer, seed, images, config, run, loss, seconds, and speedup over the first."""
    compared = plans.tested(plans.compared(setting), setting)
    slow = compared[compared.trainer == next(iter(plans.trainers()))].set_index("seed").seconds
    return compared.assign(speedup=compared.seed.map(slow) / compared.seconds)


def table_trainers(setting: Setting, compared: pd.DataFrame) -> Table:
    """Each encoder's milliseconds an iteration, its speed, and the test loss that it leads to."""
    first = next(iter(plans.trainers()))
    rows = [
        {"encoder": name, "ms an iteration": f"{1000 * BATCH * group.seconds.mean() / group.images.iloc[0]:.1f}",
         f"times as fast as {first}": f"{group.speedup.mean():.1f}", "test loss": str(interval(group.loss))}
        for name, group in compared.groupby("trainer", sort=False)
    ]  # fmt: skip
    trials = FAST_TEST.solver.max_trials  # type: ignore[attr-defined]
    notes = (
        f"Mean ± 95 % interval, seeds {seeds_said(setting)}; the first {setting.profile.beyond_tested:,} test images, "
        f"by the encoder of the training, a warm one with up to {trials} trials. "
        "Processor seconds of one thread, other trainings beside it."
    )
    columns = ["trainer", "seed", "images", "seconds", "loss", "speedup"]
    title = f"Learning {compared.images.iloc[0]:,} images by each encoder"
    return Table("table_08_trainers", compared[columns], pd.DataFrame(rows), title, notes)


def say_trainers(compared: pd.DataFrame) -> Text:
    """Which encoders lead to a higher loss than the chosen one, and what more trials would change."""
    mean = compared.groupby("trainer", sort=False).loss.mean()
    above = mean / mean[plans.CHOSEN] - 1
    worse = "; ".join(f"{name} ({more:+.0%})" for name, more in above.items() if more > MUCH) or "none"
    return Text(
        f"**What did not help.** Test loss more than {100 * MUCH:g} % above that of the chosen *{plans.CHOSEN}*: "
        f"{worse}. *{plans.PATIENT}* in its place changes it by {above[plans.PATIENT]:+.1%}."
    )
