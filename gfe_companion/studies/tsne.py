"""Notebook 07: Figures 6 and 7, t-SNE maps of the latents, and how far latents separate the classes, in numbers."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from gfe_companion.evidence.claims import YES, holds
from gfe_companion.evidence.claims.learning import neighbours
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.methods import METHODS
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.latents import FOLDS, NEIGHBOURS, structure
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.converged_models import several
from gfe_companion.studies.drawing import WIDTH, spread, wrapped
from gfe_companion.studies.results import Picture, Table, Text

GFE, AE = "gfe_amd_uncapped", "ae"
STAGES = ("few", "full")
OF_LATENTS = ["neighbours", "probe", "silhouette"]  # the other one is of the map
APART = 0.08  # of a map's width and height, between the numbers of two classes
NAMES = {
    "neighbours": f"{NEIGHBOURS} neighbours",
    "probe": "linear probe",
    "silhouette": "silhouette",
    "trustworthiness": "trustworthiness of the map",
}


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 07 rests on."""
    return list(plans.latents(setting).config)


def points_of_latents(setting: Setting) -> pd.DataFrame:
    """Every encoded test image of every network: columns data, method, seed, images, and those of ``structure``."""
    plan = plans.latents(setting)
    runs = run_grid(plan.config, setting)
    frames = [
        run.history.assign(data=row.data, method=row.method, seed=row.seed, images=row.images)
        for row, run in zip(plan.itertuples(), runs, strict=True)
    ]  # fmt: skip
    return pd.concat(frames)


def measures_of(points: pd.DataFrame) -> pd.DataFrame:
    """Each network's measures, means over its test images: columns data, method, seed, images, and :data:`NAMES`."""
    return points.groupby(["data", "method", "seed", "images"], sort=False)[list(NAMES)].mean().reset_index()


def class_structure(setting: Setting) -> pd.Series:
    """:data:`OF_LATENTS` of the pixels of the test images that the maps show."""
    test, count = setting.load().test, setting.profile.map_images
    images, labels = test.images[:count], test.labels[:count]
    return structure(images.numpy(), labels.numpy())[OF_LATENTS].mean()


def stage_in_words(setting: Setting, data: str) -> str:
    """What "few" and "full" mean."""
    return "trained" if data == "full" else f"after {setting.profile.few_images:,} images"


def _count(setting: Setting) -> int:
    return min(setting.profile.map_images, len(setting.load().test.images))


def fig6(setting: Setting, points: pd.DataFrame) -> Picture:
    """Figure 6: maps of the latents of both methods, trained."""
    return _maps(setting, points, "fig6", "full")


def fig7(setting: Setting, points: pd.DataFrame) -> Picture:
    """Figure 7: maps of the latents of both methods after few training images."""
    return _maps(setting, points, "fig7", "few")


def _maps(setting: Setting, points: pd.DataFrame, name: str, data: str) -> Picture:
    part = points[(points.data == data) & (points.seed == setting.seeds[0])]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    right = part.groupby("method").neighbours.mean()
    colors, when, title = plt.get_cmap("tab10"), stage_in_words(setting, data), setting.load().title
    for axes, method in zip(panels, (GFE, AE), strict=True):
        own_map = part[part.method == method]
        places, size = number_places(own_map), min(9.0, 10_000 / len(own_map))  # fewer points may be larger
        for label, own in own_map.groupby("label"):
            color = colors(int(label) % colors.N)
            axes.scatter(own.x, own.y, s=size, color=color, rasterized=True, linewidth=0)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": color}
            axes.text(*places[int(label)], str(label), ha="center", va="center", fontsize=9, weight="bold", bbox=box)
        heading = f"{METHODS[method].look.short}, {when}"
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{heading}\n{right[method]:.0%} named right by {NEIGHBOURS} neighbours", fontsize=9)
    figure.suptitle(wrapped(f"t-SNE of the latents of {_count(setting):,} test images, {title}"), fontsize="medium")
    alt = (
        f"t-SNE maps of latents of {title}, coloured and labelled by class, {when}, seed {setting.seeds[0]}. "
        f"The {NEIGHBOURS} nearest neighbours name the class right for "
        + ", ".join(f"{METHODS[method].look.short} {right[method]:.1%}" for method in (GFE, AE))
        + "."
    )
    return Picture(name, figure, alt, part[["method", "label", "x", "y"]].round(2))


def number_places(points: pd.DataFrame) -> dict[int, tuple[float, float]]:
    """Where the number of each class stands on a map (columns x, y, label), clear of the numbers before it.

    At the median of its class, or at the point of the class nearest to that which is free.
    """
    span = points[["x", "y"]].max() - points[["x", "y"]].min()
    placed: dict[int, tuple[float, float]] = {}
    for label, own in points.groupby("label"):
        middle = own[["x", "y"]].median()
        away = (((own[["x", "y"]] - middle) / span) ** 2).sum(axis=1)
        near = [tuple(middle), *own.loc[away.sort_values().index, ["x", "y"]].itertuples(index=False, name=None)]
        free = (place for place in near if all(_apart(place, other, span) >= APART for other in placed.values()))
        placed[int(label)] = next(free, near[0])
    return placed


def _apart(one: tuple[float, float], other: tuple[float, float], span: pd.Series) -> float:
    """How far two places are from one another, as shares of the map."""
    return math.hypot((one[0] - other[0]) / span.x, (one[1] - other[1]) / span.y)


def over_seeds(means: pd.DataFrame) -> dict[tuple[str, str, str], Interval]:
    """Each measure over seeds, by data, method and measure."""
    groups = means.groupby(["data", "method"])
    return {(*key, measure): interval(part[measure]) for key, part in groups for measure in NAMES}


def table_latents(setting: Setting, means: pd.DataFrame, pixels: pd.Series) -> Table:
    """The measures of all networks over seeds, and those of the ``pixels`` themselves."""
    over = over_seeds(means)
    rows = [
        {"latents": f"{METHODS[method].look.short}, {stage_in_words(setting, data)}"}
        | {title: str(over[data, method, measure]) for measure, title in NAMES.items()}
        for data in reversed(STAGES)
        for method in (GFE, AE)
    ]
    raw = {title: f"{pixels[measure]:.4f}" if measure in pixels else "\u2013" for measure, title in NAMES.items()}
    rows.append({"latents": "the pixels themselves"} | raw)
    return Table(
        "table_07_latents", means, pd.DataFrame(rows),
        f"What latents say of classes, {setting.load().title}, first {_count(setting):,} test images",
        f"{several(setting)}. Accuracies are by {FOLDS}-fold cross-validation in latent space.",
    )  # fmt: skip


def fig_measures(setting: Setting, means: pd.DataFrame, pixels: pd.Series) -> Picture:
    """Each measure after few images and trained, for both methods, and what the ``pixels`` themselves give."""
    over = over_seeds(means)
    figure, panels = plt.subplots(1, len(NAMES), figsize=(WIDTH, 3.3))
    for axes, (measure, name) in zip(panels, NAMES.items(), strict=True):
        for shift, method in ((-0.08, GFE), (0.08, AE)):
            look, values = METHODS[method].look, [over[data, method, measure] for data in STAGES]
            drawn: dict[str, Any] = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}
            middle, half = [value.mean for value in values], [value.reach for value in values]
            axes.errorbar([shift, 1 + shift], middle, half, capsize=3, label=look.short, **drawn)
        if measure in pixels:
            axes.axhline(pixels[measure], color="gray", linestyle=":", label="pixels")
        axes.set_title(wrapped(name, 0.7 * WIDTH / len(NAMES), 8), fontsize=8)
        axes.set_xticks([0, 1], [f"{setting.profile.few_images:,}\nimages", "trained"], fontsize=8)
        axes.set_xlim(-0.4, 1.4)
        axes.tick_params(axis="y", labelsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    title, count = setting.load().title, means.seed.nunique()
    found = f"After {setting.profile.few_images:,} images GFE's latents name more images right than the AE's"
    heading = wrapped(found if ahead_after_few(means) else "Structure of the latents by class")
    figure.suptitle(f"{heading}\n{wrapped(f'{title} ({spread(count)})')}", fontsize="medium")
    spoken = [
        f"{name}: "
        + ", ".join(
            f"{METHODS[method].look.short} {over['few', method, key].mean:.2f} to {over['full', method, key].mean:.2f}"
            for method in (GFE, AE)
        )
        for key, name in NAMES.items()
    ]
    alt = (
        "Four measures of how latents separate the classes, "
        f"{stage_in_words(setting, 'few')} and trained. {'; '.join(spoken)}."
    )
    return Picture("fig_07_measures", figure, alt, means)


def ahead_after_few(means: pd.DataFrame) -> bool:
    """Whether GFE's neighbours name more images right than the AE's after few images, paired by seed, beyond doubt."""
    wide = neighbours(means)
    return holds(interval(wide["few", GFE] - wide["few", AE])) == YES


def gained(means: pd.DataFrame) -> dict[str, Interval]:
    """By how much the accuracy of the nearest neighbours grows from few images to trained, paired by seed."""
    wide = neighbours(means)
    return {method: interval(wide["full", method] - wide["few", method]) for method in (GFE, AE)}


def say_gained(setting: Setting, means: pd.DataFrame) -> Text:
    """:func:`gained` in words."""
    growth = gained(means)
    return Text(
        f"From {setting.profile.few_images:,} images to the end of training, "
        f"the accuracy of {NEIGHBOURS} neighbours grows by **{growth[GFE]:.3f}** for GFE "
        f"and by **{growth[AE]:.3f}** for the AE, paired by seed."
    )
