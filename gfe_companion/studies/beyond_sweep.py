"""Notebook 08: the sweep of settings for all methods, on the first seed and on validation images alone."""

from __future__ import annotations

import pandas as pd

from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_tuned_plans as plans
from gfe_companion.studies.beyond_tuned import KEY, LABELS, LOOKS, losses_of, runs_of
from gfe_companion.studies.results import Table, Text


def runs_of_sweep(setting: Setting) -> pd.DataFrame:
    """The sweep, finished: columns method, encoding, tuning, budget, seed, images, seconds, validation, given.

    ``given``: whether it is one of the settings that all seeds get at this budget.
    """
    losses = losses_of(runs_of(plans.swept(setting), setting)).drop(columns="loss")
    given = {
        budget: {str(tuning) for tuning in plans.affordable(plans.FINAL, budget)} for budget in losses.budget.unique()
    }
    return losses.assign(given=[row.tuning in given[row.budget] for row in losses.itertuples()])


def table_sweep(setting: Setting, sweep: pd.DataFrame) -> Table:
    """The validation loss of every setting, by each method and encoding that are drawn; best settings first."""
    drawn = sweep[[key in LOOKS for key in zip(*(sweep[name] for name in KEY), strict=True)]]
    parts = [_of_budget(budget, part) for budget, part in drawn.groupby("budget")]
    shown = pd.concat(parts, ignore_index=True)[max((part.columns for part in parts), key=len)]
    profile = setting.profile
    notes = (
        "Trainings of about so many seconds of one thread each, on one seed, "
        f"{setting.seeds[0]}; {profile.clock_validated:,} validation images. *: fixed in the code, what all seeds get "
        f"at such a budget; those above {plans.SHORT:g} s do without the smaller batch. The sweep chooses nothing: it "
        "says how far these settings lie above each method's best, and the verdicts take that off the AE's losses, "
        "each at its own budget or between two that were swept. GFE is swept at one budget, and nothing is taken off "
        "its losses. "
        f"At the ends of the budgets, and for rehearsed GFE, only {plans.FINAL[0].optimiser} with a "
        f"{plans.SCHEDULES[plans.FINAL[0].schedule]} is swept."
    )
    title = f"The sweep: validation cross-entropy of each setting, {setting.load().title}"
    return Table("table_08_sweep", sweep, shown.fillna("-"), title, notes)


def _of_budget(budget: float, part: pd.DataFrame) -> pd.DataFrame:
    """The rows of one budget: a setting each, in the order of its mean rank among those that a method has tried."""
    keyed = {LABELS[key]: each.set_index("tuning").validation for key, each in part.groupby(KEY, sort=False)}
    frame = pd.DataFrame(keyed)
    frame = frame.loc[frame.rank().mean(axis=1).sort_values(kind="stable").index]
    given = set(part[part.given].tuning)
    rows = frame.map(lambda loss: "-" if pd.isna(loss) else f"{loss:.4f}").reset_index(names="setting")
    rows["setting"] = [f"{name}*" if name in given else name for name in rows.setting]
    rows.insert(0, "seconds (about)", f"{budget:g}")
    return rows


def say_sweep(sweep: pd.DataFrame) -> Text:
    """What the sweep finds best for each method and budget, and how far what all seeds get there lies above it."""
    said = []
    for (budget, *key), part in sweep.groupby(["budget", *KEY], sort=False):
        if tuple(key) in LOOKS:
            best = part.loc[part.validation.idxmin()]
            away = part[part.given].validation.min() / best.validation - 1
            said.append(
                f"- {LABELS[tuple(key)]}, about {budget:g} s: best with {best.tuning}; the better setting with a star "
                f"is {away:.1%} above."
            )
    return Text("\n".join(said))
