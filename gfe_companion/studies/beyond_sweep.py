"""Notebook 08: the sweep of settings for both methods, on the first seed and on validation images alone."""

from __future__ import annotations

import pandas as pd

from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_tuned_plans as plans
from gfe_companion.studies.beyond_tuned import KEY, LABELS, LOOKS, losses_of, runs_of
from gfe_companion.studies.results import Table, Text


def runs_of_sweep(setting: Setting) -> pd.DataFrame:
    """The sweep, finished: columns method, encoding, tuning, budget, seed, images, seconds, validation, given.

    ``given``: whether it is one of the settings that all seeds and budgets get.
    """
    losses = losses_of(runs_of(plans.swept(setting), setting)).drop(columns="loss")
    return losses.assign(given=losses.tuning.isin(map(str, plans.FINAL)))


def table_sweep(setting: Setting, sweep: pd.DataFrame) -> Table:
    """The validation loss of every setting, by each method and encoding that are drawn; best settings first."""
    shown = {key: part for key, part in sweep.groupby(KEY, sort=False) if key in LOOKS}
    columns = {LABELS[key]: part.set_index("tuning").validation for key, part in shown.items()}
    frame = pd.DataFrame(columns)
    frame = frame.loc[frame.rank().sum(axis=1).sort_values(kind="stable").index]
    given = set(sweep[sweep.given].tuning)
    rows = frame.map("{:.4f}".format).reset_index(names="setting")
    rows["setting"] = [f"{name}*" if name in given else name for name in rows.setting]
    profile = setting.profile
    notes = (
        f"Trainings of about {profile.clock_sweep:g} s of one thread each, seed {setting.seeds[0]}, "
        f"{profile.clock_validated:,} validation images. *: fixed beforehand, what all seeds and budgets get; those "
        f"above {plans.SHORT:g} s without the smaller batch. The sweep chooses nothing: it says how far these settings "
        "lie above each method's best, and the verdicts take that off the AE's losses. Rehearsed GFE has the same "
        "settings, and no sweep of its own."
    )
    title = f"The sweep: validation cross-entropy of each setting, {setting.load().title}"
    return Table("table_08_sweep", sweep, rows, title, notes)


def say_sweep(sweep: pd.DataFrame) -> Text:
    """What the sweep finds best for each method, and how far the settings that all seeds get lie above it."""
    said = []
    for key, part in sweep.groupby(KEY, sort=False):
        if key in LOOKS:
            best = part.loc[part.validation.idxmin()]
            given = part[part.given].validation.min()
            away = given / best.validation - 1
            said.append(
                f"- {LABELS[key]}: best with {best.tuning}; the better setting with a star is {away:.1%} above."
            )
    return Text("\n".join(said))
