"""Notebook 05: the loss against the images that are available, each method at its own best point by validation."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from gfe_companion.evidence.available import GFE_BY, ae_minus_gfe, images_for_the_same
from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.methods import METHODS, SKY, Look
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import data_plans as plans
from gfe_companion.studies.data_plans import AE, GFE
from gfe_companion.studies.drawing import WIDTH, draw_mean, spread, wrapped
from gfe_companion.studies.results import Picture, Table, Text

COLUMNS = ["dataset", "method", "seed", "available", "images", "seconds", "encoder", "training", "validation", "test"]
PUBLISHED = [*COLUMNS, "last"]  # last: whether the training was still at its best when its budget ended
LOOKS = {
    (AE, "own"): METHODS[AE].look,
    (AE, "optimum"): Look("AE at the optimum", "the AE's decoder, encoded at the optimum", SKY, "D", ":"),
    (GFE, "own"): METHODS[GFE].look,
}
FROM_ZERO = (
    "At the optimum: as near to it as quasi-Newton comes from $z = 0$, which on a decoder that learned from others "
    "may be less near than the encoder that it learned by (notebook 06)."
)
DECODER = (GFE, "optimum"), f"{METHODS[GFE].look.short}, at the optimum"  # for the table alone: it lies close to GFE


def runs_of_available(setting: Setting) -> pd.DataFrame:
    """Every point of every training: :data:`COLUMNS`, chosen, and last (whether the training ended there).

    One row for each point and encoder. ``available`` and ``images`` are the images to learn from, and those seen.
    """
    plan = plans.available(setting)
    found = measured(plan, setting, ["dataset", "method", "seed"])
    first = found.groupby(["dataset", "method", "seed", "available"]).place.transform("min")
    return found[found.place == first].reset_index(drop=True)  # a small data set gives all it has more than once


def measured(plan: pd.DataFrame, setting: Setting, named: list[str]) -> pd.DataFrame:
    """The histories of the runs of ``plan``, each with its ``place`` there, ``last``, and its columns ``named``."""
    frames = []
    for place, (row, run) in enumerate(zip(plan.to_dict("records"), run_grid(plan.config, setting), strict=True)):
        points = run.history.dropna(subset="validation")
        told = {name: row[name] for name in named} | {"place": place, "last": points.images == points.images.max()}
        frames.append(points.assign(**told))
    return pd.concat(frames, ignore_index=True)


def best(runs: pd.DataFrame) -> pd.DataFrame:
    """Of :func:`measured` the points that validation has chosen."""
    return runs[runs.chosen].reset_index(drop=True)


def fig_available(setting: Setting, runs: pd.DataFrame) -> Picture:
    """The test loss against the images available, a panel for each data set."""
    chosen = best(runs)
    names = list(dict.fromkeys(chosen.dataset))
    figure, panels = plt.subplots(1, len(names), figsize=(WIDTH, 3.6), squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        part = chosen[chosen.dataset == name]
        for (method, encoder), look in LOOKS.items():
            series = part[(part.method == method) & (part.encoder == encoder)]
            means = over_seeds(series.assign(x=series.available), ["available"], "test", "x")
            draw_mean(axes, means, look)
            low, high = means["mean"] - means.reach, means["mean"] + means.reach
            axes.vlines(means.x, low, high, color=look.color, linewidth=1)  # seen where a point is alone
        axes.set(xscale="log", yscale="log", xlabel="images available")
        axes.set_title(wrapped(setting.load(name).title, 0.8 * WIDTH / len(names), 8), fontsize=8)
        _ticks(axes, sorted(set(chosen.available)), part.test)
    panels[0][0].set_ylabel("test cross-entropy")
    found = images_for_the_same(chosen[chosen.dataset == setting.dataset], setting.profile.available_reference)
    counts = chosen.groupby(["dataset", "available"]).seed.nunique()
    about = spread(*counts)
    figure.suptitle(f"{wrapped(found.said())}\n({setting.load().title}; {about})", fontsize="medium")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    alt = f"Test loss against images available. {found.said()}. {_spoken(setting, chosen)}"
    return Picture("fig_05_available", figure, alt, chosen[PUBLISHED])


def over_how_many(*seeds: int) -> str:
    """What a number with an interval is a mean of, in words, where it is one of ``seeds``."""
    said = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    return "one seed" if said == "1" else f"mean and 95 % interval over {said} seeds"


def _ticks(axes: Axes, images: list[int], losses: pd.Series) -> None:
    """Ticks at the numbers of images and at round losses, no more than fit."""
    axes.set_xticks(images, [f"{n / 1000:.2g}k" if n >= 1000 else f"{n}" for n in images], fontsize=8)
    low, high = 0.98 * losses.min(), 1.02 * losses.max()
    marks = [mark for mark in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= mark <= high]
    digits = 2 if all(abs(mark - round(mark, 2)) < 1e-9 for mark in marks) else 3
    axes.set_yticks(marks, [f"{mark:.{digits}f}" for mark in marks], fontsize=8)
    axes.minorticks_off()
    axes.yaxis.set_minor_formatter(NullFormatter())


def _spoken(setting: Setting, chosen: pd.DataFrame) -> str:
    parts = []
    for dataset, part in chosen.groupby("dataset", sort=False):
        few = part[part.available == part.available.min()]
        losses = ", ".join(
            f"{look.short} {few[(few.method == method) & (few.encoder == encoder)].test.mean():.3f}"
            for (method, encoder), look in LOOKS.items()
        )
        parts.append(f"{setting.load(dataset).title}, {few.available.iloc[0]:,} images: {losses}.")
    return " ".join(parts)


def cell(points: pd.DataFrame) -> str:
    """The test loss of chosen ``points`` over seeds, and where they were chosen: the median of the images seen.

    A plus follows where some training was still at its best when its budget ended.
    """
    if points.empty:
        return "-"
    return f"{interval(points.test)} at {points.images.median():,.0f}{'+' * bool(points['last'].any())}"


def table_available(setting: Setting, runs: pd.DataFrame) -> Table:
    """The test loss of each method at its own best point, by images available, and where that point lies."""
    chosen, rows = best(runs), []
    for (dataset, images), part in chosen.groupby(["dataset", "available"], sort=False):
        row = {"data set": setting.load(dataset).title, "images available": f"{images:,}"}
        for (method, encoder), short in [*((by, look.short) for by, look in LOOKS.items()), DECODER]:
            row[short] = cell(part[(part.method == method) & (part.encoder == encoder)])
        row[f"AE − {METHODS[GFE].look.short}"] = str(ae_minus_gfe(part))
        rows.append(row)
    profile = setting.profile
    counts = "; ".join(
        f"{setting.load(dataset).title} {', '.join(map(str, part.groupby('available').seed.nunique()))}"
        for dataset, part in chosen.groupby("dataset", sort=False)
    )
    notes = (
        "Mean ± 95 % interval over seeds, “at” the images seen, the median over seeds; a plus: some training was still "
        "at its best when its budget ended. Each training is tested where its validation loss was lowest, on the first "
        f"{profile.available_tested:,} test images, which are the same for every seed; a seed draws the images, the "
        "first weights and the batches. The subsets of a seed are nested. Up to "
        f"{profile.available_validation} images validate, never more than are available; they are not counted as "
        f"available. {FROM_ZERO} Seeds by row: {counts}."
    )
    title = "Images available, drawn with replacement until validation or the budget ends it: test cross-entropy"
    return Table("table_05_available", chosen[PUBLISHED], pd.DataFrame(rows), title, notes)


def say_available(setting: Setting, runs: pd.DataFrame) -> Text:
    """How many images the autoencoder needs for GFE's loss on few, and what of it encoding at the optimum repairs."""
    reference, sentences = setting.profile.available_reference, []
    for dataset, part in best(runs).groupby("dataset", sort=False):
        if reference not in set(part.available):
            continue
        found, repaired = images_for_the_same(part, reference), images_for_the_same(part, reference, (AE, "optimum"))
        ours = part[(part.method == GFE_BY[0]) & (part.encoder == GFE_BY[1]) & (part.available == reference)].test
        sentences.append(
            f"- {setting.load(dataset).title}: from {reference:,} images accelerated GFE comes to "
            f"{interval(ours)}. For that the AE needs **{found.needed()}**, and with its test images encoded at the "
            f"optimum {repaired.needed()}."
        )
    return Text("\n".join(sentences))
