"""Notebook 05: what overfits on few images, and the strongest opponents, each as validation stops and chooses it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import LogLocator

from gfe_companion.evidence.intervals import interval
from gfe_companion.evidence.overfit import rises, rises_in_words
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import data_plans as plans
from gfe_companion.studies.data_available import FROM_ZERO, cell, measured, over_how_many
from gfe_companion.studies.data_plans import AE, GFE
from gfe_companion.studies.drawing import WIDTH, plain, wrapped
from gfe_companion.studies.results import Picture, Table, Text

COLUMNS = [
    "opponent",
    "title",
    "against",
    "seed",
    "learner",
    "images",
    "encoder",
    "training",
    "validation",
    "test",
    "last",
]
PANELS = {"own": "by its own encoder", "optimum": "encoded at the optimum"}
NAMED = {AE: METHODS[AE].look.short, GFE: "accelerated GFE"}  # in sentences
SPLITS = {"validation": "held out", "training": "to learn from"}


def watched(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """Of the study's ``runs`` on images available those whose training images were watched on the way."""
    return runs[(runs.dataset == setting.dataset) & (runs.available == setting.profile.available_reference)]


def fig_overfit(setting: Setting, runs: pd.DataFrame) -> Picture:
    """Losses of images to learn from and of others against the images seen, by own encoder and at the optimum.

    Seeds have other images, which are harder or easier: each is drawn, and no interval.
    """
    part = watched(setting, runs)
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.8), sharey=True)
    for axes, (encoder, title) in zip(panels, PANELS.items(), strict=True):
        for method in (AE, GFE):
            curve, look = part[(part.method == method) & (part.encoder == encoder)], METHODS[method].look
            for split, said in SPLITS.items():
                line, face = ("-", look.color) if split == "validation" else (":", "white")
                style = {"color": look.color, "linestyle": line}
                for _, one in curve.sort_values("images").groupby("seed"):
                    axes.plot(one.images, one[split], linewidth=0.7, alpha=0.5, **style)
                mean = curve.groupby("images")[split].mean()
                label = f"{look.short}: images {said}"
                axes.plot(mean.index, mean, marker=look.marker, markerfacecolor=face, label=label, **style)
        axes.set(xscale="log", title=title, xlabel="images seen")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter("")
    panels[0].set_ylabel("cross-entropy")
    found = rises_in_words(rises(part))
    images = f"{setting.load().title}, {part.available.iloc[0]:,} images available"
    about = f"{images}; mean, and thin each of {part.seed.nunique()} seeds" if part.seed.nunique() > 1 else images
    figure.suptitle(f"{wrapped(found)}\n({about})", fontsize="medium")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    columns = ["dataset", "method", "seed", "available", "images", "encoder", "training", "validation"]
    return Picture("fig_05_overfit", figure, f"{found}. {about}. {say_gaps(setting, runs)}", part[columns])


def say_gaps(setting: Setting, runs: pd.DataFrame) -> Text:
    """The gap between images to learn from and test images where each training was best, by each encoder."""
    chosen = watched(setting, runs[runs.chosen])
    parts = []
    for method in (AE, GFE):
        for encoder, said in PANELS.items():
            at = chosen[(chosen.method == method) & (chosen.encoder == encoder)]
            parts.append(
                f"{NAMED[method]} {said} {interval(at.training):.3f} and {interval(at.test):.3f}, "
                f"a gap of {interval(at.test - at.training):.3f}"
            )
    return Text(f"Loss of images to learn from and of test images, at the best point: {'; '.join(parts)}.")


def runs_of_opponents(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """The opponents beside AE and GFE on the same images and seeds: :data:`COLUMNS`, one row a seed and encoder.

    Of the settings of an opponent each seed has that of the lowest validation loss, for each encoder.
    """
    found = measured(plans.opposing(setting), setting, ["opponent", "learner", "seed"])
    there = watched(setting, runs)
    usual = there[there.seed.isin(found.seed)].assign(opponent=there.method, learner=there.method)
    both = pd.concat([usual, found], ignore_index=True)
    both = both[both.chosen].reset_index(drop=True)
    best = both.loc[both.groupby(["opponent", "seed", "encoder"], sort=False).validation.idxmin()]
    against = {name: opponent.against for name, opponent in plans.opponents().items()}
    best = best.assign(against=best.opponent.map(against).fillna(GFE), title=best.opponent.map(titles()))
    return best[COLUMNS].reset_index(drop=True)


def titles() -> dict[str, str]:
    """What tables call them: AE and GFE, then the opponents."""
    named = {name: METHODS[name].look.short for name in (AE, GFE)}
    return named | {name: opponent.title for name, opponent in plans.opponents().items()}


def difference(frame: pd.DataFrame, name: str, encoder: str) -> pd.Series:
    """Test losses of an opponent minus those of the GFE that it is compared with, by seed; by the same ``encoder``.

    Empty for what is GFE itself, and where the opponent has no such encoder.
    """
    ours = frame[(frame.opponent == name) & (frame.encoder == encoder)].set_index("seed")
    if ours.empty or (ours.against == name).all() or name == GFE:
        return pd.Series(dtype=float)
    other = frame[(frame.opponent == ours.against.iloc[0]) & (frame.encoder == encoder)].set_index("seed")
    return (ours.test - other.test).dropna()


def table_opponents(setting: Setting, frame: pd.DataFrame) -> Table:
    """Each opponent's test loss by its own encoder and at the optimum, and by how much either lies above GFE's."""
    rows = []
    for name, title in titles().items():
        row: dict[str, str] = {"learns as": title}
        for encoder, said in {"own": "own encoder", "optimum": "at the optimum"}.items():
            part, above = frame[(frame.opponent == name) & (frame.encoder == encoder)], difference(frame, name, encoder)
            row[said] = cell(part)
            row[f"above GFE, {said}"] = str(interval(above)) if len(above) else "-"
        rows.append(row)
    profile = setting.profile
    notes = (
        f"{over_how_many(frame.seed.nunique()).capitalize()}; “at” the images seen, their median over seeds; a plus: "
        "some training was still at its best when its budget ended. Budgets of images seen: "
        f"{profile.opponent_seen:,}, with shifts {profile.opponent_shifts:,}, GFE with shifts "
        f"{profile.opponent_gfe:,}. Settings tried of each: {profile.opponent_settings}. AE and "
        "GFE without shifts are those of the table of images available, one setting each. Setting and stopping point "
        "are chosen by validation, for each encoder apart. GFE is accelerated; shifts are up to two pixels, and what "
        f"learns with them is compared with GFE that does so too. {FROM_ZERO}"
    )
    title = f"Opponents on {profile.available_reference:,} images of {setting.load().title}: test cross-entropy"
    return Table("table_05_opponents", frame, pd.DataFrame(rows), title, notes)


def say_opponents(frame: pd.DataFrame) -> Text:
    """The opponent that comes nearest to GFE by its own encoder, and at the optimum."""
    sentences = []
    for encoder, said in {"own": "By its own encoder", "optimum": "Encoded at the optimum"}.items():
        above = {name: difference(frame, name, encoder) for name in titles()}
        means = {name: float(values.mean()) for name, values in above.items() if len(values)}
        nearest = min(means, key=lambda name: means[name])
        side = "above" if means[nearest] > 0 else "below"
        sentences.append(
            f"{said}, the nearest to accelerated GFE is **{titles()[nearest]}**, {abs(means[nearest]):.4f} {side} it"
            f"{' (both with shifts)' if nearest.endswith('shifts') else ''}."
        )
    return Text(" ".join(sentences))
