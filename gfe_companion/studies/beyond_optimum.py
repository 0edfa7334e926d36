"""Notebook 08, the yardstick: each method's last decoders, by their own encoder and at the optimum."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.beyond_clock import seeds_said
from gfe_companion.studies.results import Table, Text

LITTLE = 0.02  # relative: by less than this, the path does not matter


def beside_optimum(plan: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """A plan of :class:`~gfe_companion.runs.optimum.Optimum`, finished; mean losses of the same images beside it.

    Adds the columns run, own (by the method's own encoder), optimum, and agree (the share of images on which all
    starts do).
    """
    found = plans.reached(plan, setting)
    tests = run_grid([config.evaluation for config in found.config], setting)
    own = [run.history.loss[: config.count].mean() for run, config in zip(tests, found.config, strict=True)]
    optimum, agree = ([run.history[name].mean() for run in found.run] for name in ("loss", "agree"))
    return found.assign(own=own, optimum=optimum, agree=agree)


def runs_of_gaps(setting: Setting) -> pd.DataFrame:
    """The last decoder of every curve, finished: what is left by its own encoder and by the better one from zero.

    Columns: schedule, method, seed, images, config, run, own, optimum, agree, from_zero, gap, zero_gap.
    """
    gaps = beside_optimum(plans.gaps(setting), setting)
    from_zero = [run.history[["bfgs", "nesterov"]].min(axis=1).mean() for run in gaps.run]
    gaps = gaps.assign(from_zero=from_zero)
    return gaps.assign(gap=gaps.own / gaps.optimum - 1, zero_gap=gaps.from_zero / gaps.optimum - 1)


def table_optimum(setting: Setting, gaps: pd.DataFrame) -> Table:
    """Each method's last decoders: the loss by its own encoder, the lowest known, and what lies between."""
    rows = [
        {
            "learning rate": plans.SCHEDULES[str(schedule)],
            "decoder of": METHODS[method].look.short,
            "training images": f"{images:,}",
            "own encoder": str(interval(group.own)),
            "optimum": str(interval(group.optimum)),
            "left by its own encoder": f"{group.gap.mean():.2%}",
            "left by the better start from zero": f"{group.zero_gap.mean():.2%}",
            "starts agree on": f"{group.agree.mean():.0%}",
        }
        for (schedule, method, images), group in gaps.groupby(["schedule", "method", "images"], sort=False)
    ]
    title = "Each method's last decoders: its own encoder against the optimum"
    notes = (
        f"Cross-entropy, mean ± 95 % interval, seeds {seeds_said(setting)}, the first {setting.profile.optimum_images} "
        "test images."
    )
    columns = ["schedule", "method", "seed", "images", "own", "optimum", "gap", "from_zero", "zero_gap", "agree"]
    return Table("table_08_optimum", gaps[columns], pd.DataFrame(rows), title, notes)


def say_left(gaps: pd.DataFrame) -> Text:
    """How far above the optimum encoders end, and whether the path matters to the decoder of uncapped AMD."""
    level = gaps.groupby(["schedule", "method"])[["gap", "optimum"]].mean()
    ae, fast = level.loc["constant", "ae"], level.loc["constant", "gfe_fast"]
    path = gaps[gaps.method == "gfe_amd_uncapped"].sort_values("images").iloc[-1]
    learned = (
        ". So it is where decoder and path learn to fit each other."
        if path.zero_gap > LITTLE
        else ". On these images it matters little."
    )
    more = fast.optimum / ae.optimum - 1
    lacks = (
        "of what this autoencoder lacks the larger part is its encoder"
        if ae.gap > -more
        else "of what this autoencoder lacks the larger part is in its decoder"
    )
    return Text(
        f"At the constant rate the autoencoder's encoder ends **{ae.gap:.1%}** above the optimum of these images, and "
        f"the accelerated encoder {fast.gap:.2%}. At the optimum, the loss of the decoder trained by encoding lies "
        f"{abs(more):.1%} "
        f"{'above' if more > 0 else 'below'} that of the autoencoder's decoder: {lacks}.\n\n"
        "The paper observes that “the exact path of the gradient flow may be less important than the final point of "
        f"convergence”. For the decoder that uncapped AMD trained on {path.images:,} images (seed {path.seed}), the "
        f"better of two faster encoders from zero ends {path.zero_gap:.0%} above what the method's own slow path leads "
        f"to, and the starts agree on {path.agree:.0%} of the images{learned}"
    )
