"""Notebook 08, the race: how near the optimum each registered encoder comes with how many decoder passes an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from gfe_companion.methods import METHODS, Entrant, Look, baselines
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.race import NEAR, TARGETS
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.drawing import WIDTH, percent, plain_ticks
from gfe_companion.studies.results import Picture, Table, Text

NAMED = 6  # encoders that have a name in the figure; the table has all
REST = "0.75"  # the grey of the others


def race_of(setting: Setting) -> pd.DataFrame:
    """The race, run: columns encoder, ladder, solver, passes (an image), seconds, gap (above the optimum, relative)."""
    return run_grid([plans.race(setting)], setting)[0].history


def racing() -> dict[str, tuple[Entrant, Look]]:
    """Every entrant that the registry of methods has now, by its name in the race, and the look of its method."""
    return {method.race.name: (method.race, method.look) for method in METHODS.values() if method.race is not None}


def of_a_library(entrant: Entrant) -> bool:
    """Whether its ladders are made of the baselines: optimisers of torch and integrators of torchdiffeq."""
    return all(type(solver).__module__ == baselines.__name__ for ladder in entrant.ladders for solver in ladder)


def warm_ones(race: pd.DataFrame) -> list[str]:
    """Names of the encoders in ``race`` that start with what a training has learnt."""
    known = racing()
    return [name for name in race.encoder.unique() if known[name][0].warm]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """How each entrant is drawn: as its method everywhere.

    Where two would have one colour and marker, the later of them gets the next marker that is free.
    """
    known, taken, found = racing(), set(), {}
    others = [marker for marker in Line2D.filled_markers if marker != "."]  # a point is a small circle
    for name in names:
        look = known[name][1]
        free = (marker for marker in (look.marker, *others) if (look.color, marker) not in taken)
        found[name] = replace(look, marker=next(free, look.marker))
        taken.add((look.color, found[name].marker))
    return found


def front(group: pd.DataFrame) -> pd.DataFrame:
    """The fewest passes to each gap: only rungs that are nearer than all cheaper ones."""
    group = group.sort_values("passes")
    return group[group.gap < group.gap.cummin().shift(fill_value=np.inf)]


def fewest(race: pd.DataFrame, target: float) -> pd.DataFrame:
    """Fewest passes and seconds with which each encoder comes within ``target``; only those that do, by name."""
    return race[race.gap <= target].groupby("encoder", sort=False)[["passes", "seconds"]].min()


def named(race: pd.DataFrame) -> list[str]:
    """The encoders that the figure names: the paper's solver, and of the others those nearest to the optimum first.

    At most :data:`NAMED`; nearest first are those that need the fewest passes to the nearest target, then to the other.
    """
    near, far = (fewest(race, target).passes for target in sorted(TARGETS))
    order = sorted(
        race.encoder.unique(),
        key=lambda name: (near.get(name, np.inf), far.get(name, np.inf), race[race.encoder == name].gap.min()),
    )
    of_paper = METHODS["gfe_amd_uncapped"].race
    paper = [name for name in order if of_paper is not None and name == of_paper.name]
    return [*paper, *[name for name in order if name not in paper]][:NAMED]


def fig8_race(setting: Setting, race: pd.DataFrame) -> Picture:
    """The distance to the optimum against decoder passes, for any number of entrants, the :func:`named` with a name.

    Warm encoders are drawn thick, those of libraries with open markers.
    """
    known, drawn, chosen = racing(), looks(race.encoder.unique()), named(race)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9))
    for name in sorted(drawn, key=chosen.__contains__):  # those in grey lie below
        (entrant, _), look, best = known[name], drawn[name], front(race[race.encoder == name])
        gap = best.gap.clip(lower=NEAR)
        if name not in chosen:
            axes.plot(best.passes, gap, color=REST, linewidth=0.8)
            continue
        axes.plot(
            best.passes, gap, label=name, color=look.color, marker=look.marker,
            linestyle=look.linestyle, linewidth=2.2 if entrant.warm else 1,
            markerfacecolor="white" if of_a_library(entrant) else look.color,
        )  # fmt: skip
    if len(drawn) > len(chosen):
        axes.plot([], [], color=REST, linewidth=0.8, label="others, in the table")
    for target in TARGETS:
        axes.axhline(target, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="decoder passes an image")
    axes.set_ylabel("mean loss above the optimum")
    seen = plans.race(setting).optimum.evaluation.images
    on = f"{setting.profile.race_images:,} test images, decoder of {seen:,} images"
    axes.set_title(f"{setting.load().title}: {on}")
    plain_ticks(axes.xaxis)
    axes.yaxis.set_major_formatter(percent)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    near = min(TARGETS)
    passes = fewest(race, near).passes
    alt = f"How far above the optimum each encoder is after how many passes. To {percent(near)}: " + "; ".join(
        f"{name} {passes[name]:,.0f}" if name in passes else f"{name} not reached" for name in drawn
    )
    return Picture("fig8_race", figure, f"{alt}.", race)


def table_race(setting: Setting, race: pd.DataFrame) -> Table:
    """Passes and seconds with which each encoder comes within 1 % and 0.1 % of the optimum."""
    rows = {name: {"encoder": name} for name in race.encoder.unique()}
    for target in TARGETS:
        found = fewest(race, target)
        for name, row in rows.items():
            passes, seconds = (found.passes[name], found.seconds[name]) if name in found.index else (None, None)
            row[f"passes to {percent(target)}"] = "not reached" if passes is None else f"{passes:,.0f}"
            row[f"seconds to {percent(target)}"] = "-" if seconds is None else f"{seconds:.2f}"
    for name, gap in race.groupby("encoder").gap.min().items():
        rows[name]["nearest"] = f"{max(gap, 0):.2%}"
    said = " and ".join(map(percent, TARGETS))
    title = f"Decoder passes an image to within {said} of the optimum, {setting.profile.race_images:,} test images"
    notes = (
        "On the first seed's decoder, trained by the accelerated encoder; “warm” encoders start where that training "
        "pointed to. Every encoder stands at its settings that are best on these very images, ours and the libraries' "
        "alike. Each gets more and more passes, until a setting takes more than "
        f"{setting.profile.race_passes:,}. "
        "Seconds are those of all these images on one thread, measured once, beside other runs; "
        "`python -m gfe_companion bench` times them alone."
    )
    columns = ["encoder", "ladder", "passes", "seconds", "gap"]
    return Table("table_08_race", race[columns], pd.DataFrame(rows.values()), title, notes)


def say_pays(setting: Setting, times: pd.DataFrame, race: pd.DataFrame) -> Text:
    """Up to how many encodings the time saved in training pays for encoding, at the constant rate.

    ``times`` are those of :func:`~gfe_companion.studies.beyond_clock.times_of`.
    """
    constant, target = times[times.schedule == "constant"], max(TARGETS)
    near = fewest(race, target).reindex(warm_ones(race)).seconds.min() / setting.profile.race_images
    saved = (constant.ae - constant.gfe).mean()
    if not (np.isfinite(saved) and np.isfinite(near)):
        return Text(
            "In this profile GFE does not come down to the autoencoder's last loss, or no warm encoder comes within "
            f"{percent(target)} of the optimum."
        )
    cost = (
        f"Encoding to within {percent(target)} takes {1000 * near:.2f} ms an image, as measured once on "
        f"{setting.profile.race_images:,} images"
    )
    if saved <= 0:
        return Text(f"{cost}, and training saves no time in this profile: encoding pays for its lower loss alone.")
    return Text(
        f"{cost}, and training saves {saved:.0f} s in the mean over seeds. So GFE takes less time in all until about "
        f"**{saved / near:,.0f}** images are to be encoded. With more of them it takes longer, and only its lower loss "
        "speaks for it."
    )
