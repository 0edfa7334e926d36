"""Notebook 06: what lies between our GFE-amd and the printed number, and what AMD gains on the AE's own decoder."""

from __future__ import annotations

import math

import pandas as pd

from gfe_companion.evidence.intervals import interval
from gfe_companion.evidence.scorecard import printed
from gfe_companion.methods import UNCAPPED, UNHURRIED
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.adjoint_vs_approximate import signed
from gfe_companion.studies.converged_models import AE, AE_THEN_AMD, GFE, losses, seeds_of, several
from gfe_companion.studies.results import Table, Text

PARTS = {
    "gfe_above_paper": "GFE-amd above the paper's",
    "ae_above_paper": "AE above the paper's",
    "trials_at_test": "trials at test",
    "left": "left to the decoder",
}


def excess(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """What each seed is off by, relative: columns dataset, seed, and those of :data:`PARTS`.

    Off the printed numbers are GFE-amd and the AE, NaN where the paper prints none; ``trials_at_test`` is what ten
    times the trials take off the loss of the same decoders, and ``left`` what remains.
    """
    plan = pd.concat([plans.unhurried(setting, str(name)) for name in runs.dataset.unique()])
    rows = []
    for row, again in zip(plan.itertuples(), run_grid(plan.config, setting), strict=True):
        own = runs[(runs.dataset == row.dataset) & (runs.seed == row.seed)].set_index("method")
        numbers = {method: printed(setting, "table2", row.dataset, method) for method in (GFE, AE)}
        off = [above(own.test_loss[method], number) for method, number in numbers.items()]
        hurried = own.run[GFE].history.loss[: len(again.history)].mean()
        rows.append((row.dataset, row.seed, *off, 1 - again.history.loss.mean() / hurried))
    found = pd.DataFrame(rows, columns=["dataset", "seed", *list(PARTS)[:-1]])
    return found.assign(left=found.gfe_above_paper - found.ae_above_paper - found.trials_at_test)


def above(loss: float, number: float | None) -> float:
    """How far ``loss`` lies above a printed ``number``, relative; NaN where none is printed."""
    return math.nan if number is None else loss / number - 1


def table_excess(setting: Setting, found: pd.DataFrame) -> Table:
    """:func:`excess` over seeds."""
    rows = [
        {"data set": setting.load(str(name)).title} | {title: _percent(part[key]) for key, title in PARTS.items()}
        for name, part in found.groupby("dataset", sort=False)
    ]
    return Table(
        "table_06_excess", found, pd.DataFrame(rows), "What lies between our GFE-amd and the printed number",
        f"{several(setting)}. Trials at test: what {UNHURRIED.max_trials:,} trials in place of {UNCAPPED.max_trials} "
        f"take off, on the first {setting.profile.unhurried_images:,} test images. "
        "The last column is the first less the other two.",
    )  # fmt: skip


def _percent(values: pd.Series) -> str:
    """Over seeds; a dash where there is no value."""
    return signed(interval(values)) if values.notna().any() else "\u2013"


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """What AMD gains over the AE's own encoder on the same decoder and images, for each seed.

    Columns: dataset, seed, gain (in loss), images_improved (the share of them).
    """
    rows = []
    for (name, seed), part in runs.groupby(["dataset", "seed"], sort=False):
        run = part.set_index("method").run
        encoded = run[AE_THEN_AMD].history.loss
        own = run[AE].history.loss[: len(encoded)]
        rows.append((name, seed, own.mean() - encoded.mean(), (encoded < own).mean()))
    return pd.DataFrame(rows, columns=["dataset", "seed", "gain", "images_improved"])


def table_gain(setting: Setting, runs: pd.DataFrame, gained: pd.DataFrame) -> Table:
    """:func:`gains` over seeds, also relative to the AE's loss."""
    ours, rows = losses(runs), []
    for name, part in gained.groupby("dataset", sort=False):
        gain = interval(part.gain)
        rows.append({
            "data set": setting.load(str(name)).title,
            "gain": str(gain),
            "of the AE's loss": f"{gain.mean / ours[str(name), AE].mean:.1%}",
            "images improved": f"{part.images_improved.mean():.1%}",
        })  # fmt: skip
    return Table(
        "table_06_gain", gained, pd.DataFrame(rows),
        "Encoding by AMD in place of the autoencoder's own encoder: gain in test cross-entropy",
        f"{several(setting)}, the same decoder and images in each pair.",
    )  # fmt: skip


def say_answers(setting: Setting, runs: pd.DataFrame) -> Text:
    """The answers to both exercises: the encoder's share on unseen digits, and the image that gains most from AMD."""
    mean = {method: losses(runs)["segmented_mnist", method].mean for method in (AE, GFE, AE_THEN_AMD)}
    encoder, gap = mean[AE] - mean[AE_THEN_AMD], mean[AE] - mean[GFE]
    said = (
        f"a share of {encoder / gap:.0%}; above 100 % means that the AE's decoder is the better one"
        if gap > 0
        else "at this size GFE-amd is not ahead"
    )
    first = runs[(runs.dataset == "mnist") & (runs.seed == seeds_of(setting)[0])].set_index("method").run
    gained = (first[AE].history.loss - first[AE_THEN_AMD].history.loss).dropna()
    best = int(gained.idxmax())
    label = int(setting.load("mnist").test.labels[best])
    return Text(
        f"1. Its encoder costs {encoder:.4f}, and the gap to GFE-amd is {gap:.4f}: {said}.\n"
        f"2. Number {best:,}, a {label}, by {gained[best]:.3f}."
    )
