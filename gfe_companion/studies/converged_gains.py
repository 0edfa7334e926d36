"""Notebook 06: what lies between our GFE-amd and the printed number, and what AMD gains on the AE's own decoder."""

from __future__ import annotations

import math

import pandas as pd

from gfe_companion.evidence.intervals import interval
from gfe_companion.evidence.scorecard import printed
from gfe_companion.methods import UNCAPPED
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.adjoint_vs_approximate import signed
from gfe_companion.studies.converged_models import AE, AE_THEN_AMD, FAST, GFE, losses, several
from gfe_companion.studies.results import Table, Text
from gfe_companion.studies.same_images import on_same_images

PARTS = {
    "gfe": "GFE-amd, uncapped",
    "encoder_at_test": "taken off by the optimum",
    "gfe_at_optimum": "GFE-amd, uncapped, at the optimum",
    "ae_at_optimum": "AE's decoder at the optimum",
    "fast": "GFE, accelerated",
    "ae": "AE above the paper's AE",
}


def excess(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """How far each seed's losses lie above the printed ones, relative: columns dataset, seed, those of :data:`PARTS`.

    NaN where the paper prints none. All but ``ae`` are compared with the printed GFE-amd. ``encoder_at_test`` is what
    the optimum takes off the loss of GFE-amd's own decoder, measured on the first images; it and the like of the AE's
    decoder are carried over to all test images.
    """
    plan = pd.concat([plans.optima(setting, str(name)) for name in runs.dataset.unique()])
    found = run_grid(plan.config, setting)
    keys = zip(plan.dataset, plan.method, plan.seed, strict=True)
    lowest = {key: run.history for key, run in zip(keys, found, strict=True)}
    rows = []
    for (name, seed), own in runs.groupby(["dataset", "seed"], sort=False):
        own = own.set_index("method")
        number, of_ae = (printed(setting, "table2", name, method) for method in (GFE, AE))
        taken = {m: _taken(own.run[m].history.loss, lowest[name, m, seed].loss) for m in (GFE, AE_THEN_AMD)}
        at = {method: own.test_loss[method] * (1 - share) for method, share in taken.items()}
        losses = {"gfe": own.test_loss[GFE], "gfe_at_optimum": at[GFE], "ae_at_optimum": at[AE_THEN_AMD]}
        row = {part: above(loss, number) for part, loss in (losses | {"fast": own.test_loss[FAST]}).items()}
        row |= {"encoder_at_test": taken[GFE], "ae": above(own.test_loss[AE], of_ae)}
        rows.append({"dataset": name, "seed": seed} | row)
    return pd.DataFrame(rows)[["dataset", "seed", *PARTS]]


def _taken(own: pd.Series, lowest: pd.Series) -> float:
    """What the ``lowest`` losses of the first images take off their ``own``, relative."""
    return float(1 - lowest.mean() / own[: len(lowest)].mean())


def above(loss: float, number: float | None) -> float:
    """How far ``loss`` lies above a printed ``number``, relative; NaN where none is printed."""
    return math.nan if number is None else loss / number - 1


def table_excess(setting: Setting, found: pd.DataFrame) -> Table:
    """:func:`excess` over seeds."""
    rows = [
        {"data set": setting.load(str(name)).title} | {title: _percent(part[key]) for key, title in PARTS.items()}
        for name, part in found.groupby("dataset", sort=False)
    ]
    epoch = "" if setting.profile.epoch_share == 1 else f" An epoch here is {setting.profile.epoch_share:.2%} of one."
    return Table(
        "table_06_excess", found, pd.DataFrame(rows), "How far test losses lie above the paper's GFE-amd",
        f"{several(setting)}. The second column is a share of our own loss: GFE-amd's test images encoded by up to "
        f"{UNCAPPED.max_trials} trials of AMD, against the lowest loss that quasi-Newton encoders find from zero and "
        f"from there, on the first {setting.profile.excess_images:,} test images. The accelerated GFE has had as many "
        f"training images as uncapped GFE-amd.{epoch}",
    )  # fmt: skip


def say_excess(setting: Setting, found: pd.DataFrame) -> Text:
    """What the encoder of the test explains, and what the encoder of the training does, on each data set."""
    mean = found.groupby("dataset", sort=False).mean(numeric_only=True).dropna()
    if mean.empty:
        return Text("The paper prints no number for these data sets.")
    said = [
        f"{setting.load(str(row.Index)).title}: encoding at the optimum moves uncapped GFE-amd from {row.gfe:+.1%} to "
        f"{row.gfe_at_optimum:+.1%}, and training by the accelerated encoder leads to {row.fast:+.1%}"
        for row in mean.itertuples()
    ]
    return Text(f"*Reading it:* {'; '.join(said)}, all relative to the printed number.")


def _percent(values: pd.Series) -> str:
    """Over seeds; a dash where there is no value."""
    return signed(interval(values)) if values.notna().any() else "\u2013"


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """What AMD gains over the AE's own encoder on the same decoder and images, for each seed.

    Columns: dataset, seed, gain (in loss), images_improved (the share of them).
    """
    rows = []
    for (name, seed), part in runs.groupby(["dataset", "seed"], sort=False):
        part = part.set_index("method")
        encoded = part.run[AE_THEN_AMD].history.loss
        own = on_same_images(part.run[AE].history.loss, part.config[AE_THEN_AMD], len(encoded))
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
        "Encoding by uncapped AMD in place of the autoencoder's own encoder: gain in test cross-entropy",
        f"{several(setting)}, the same decoder and images in each pair.",
    )  # fmt: skip
