"""Notebook 08, its lesson: what each part of an accelerated encoder brings on one batch of digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

import matplotlib.pyplot as plt
import pandas as pd
from torch import Tensor

from gfe_companion.methods import GREY, METHODS, UNCAPPED, Look
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies.drawing import WIDTH, percent
from gfe_companion.studies.results import Picture, Table
from gfe_core.objective import Objective

NEAR = 0.05  # an encoder has arrived where its mean loss is this much above the lowest, relative
WORTH = 0.02  # a trial is worth its passes while it lowers the mean loss by this much, relative
LADDER = (1, 2, 3, 5, 8, 12, 20, 30, 45, 60)  # trials of AMD
LOOKS = (  # AMD, and parts 1 to 3, of which the last is the accelerated encoder
    METHODS["gfe_amd_uncapped"].look, replace(METHODS["quasi_newton"].look, linestyle="--"),
    Look("", "", GREY, "D", "-."), METHODS["gfe_fast"].look,
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One way to encode a batch: its mean ``losses`` by the number of trials, and ``seconds``, what a trial takes."""

    losses: Mapping[int, float]
    seconds: float


def timed(encode: Callable[..., tuple[Tensor, list[Tensor]]], *given: object) -> tuple[Tensor, Way]:
    """Where ``encode`` ends, called with what is ``given``, and its way; it returns latents, and losses by trials."""
    begun = perf_counter()
    z, losses = encode(*given)
    seconds = (perf_counter() - begun) / max(1, len(losses) - 1)
    return z, Way({trials: loss.mean().item() for trials, loss in enumerate(losses)}, seconds)


def by_amd(objective: Objective) -> Way:
    """The way of uncapped AMD, after each number of trials in :data:`LADDER`."""
    losses = {0: objective.value(objective.start()).mean().item()}
    for trials in LADDER:
        begun = perf_counter()
        losses[trials] = replace(UNCAPPED, max_trials=trials).encode(objective).loss.mean().item()
    return Way(losses, (perf_counter() - begun) / trials)


def gaps(ways: Mapping[str, Way]) -> pd.DataFrame:
    """The mean loss of each way above the lowest that any way finds: columns way, trials, loss, gap, ms (a trial)."""
    lowest = min(loss for way in ways.values() for loss in way.losses.values())
    rows = [
        (name, trials, loss, loss / lowest - 1, 1000 * way.seconds)
        for name, way in ways.items()
        for trials, loss in way.losses.items()
    ]
    return pd.DataFrame(rows, columns=["way", "trials", "loss", "gap", "ms"])


def arrivals(found: pd.DataFrame) -> pd.Series:
    """After how many trials each way comes within :data:`NEAR` of the lowest loss; NaN where it does not."""
    first = found[found.gap <= NEAR].groupby("way").trials.min()
    return first.reindex(found.way.unique())


def enough(way: pd.DataFrame) -> int:
    """After how many trials of a way none that follows lowers the mean loss by :data:`WORTH` any more, relative."""
    gained = -way.loss.pct_change().to_numpy()[1:] / way.trials.diff().to_numpy()[1:]
    worth = (gained >= WORTH).nonzero()[0]
    return int(way.trials.iloc[worth[-1] + 1]) if len(worth) else 0


def each_helps(found: pd.DataFrame) -> bool:
    """Whether each way arrives after fewer trials than the way before it, or where that does not arrive at all."""
    trials = arrivals(found).fillna(float("inf")).to_numpy()
    return bool((trials[1:] < trials[:-1]).all())


def fig_built(setting: Setting, found: pd.DataFrame) -> Picture:
    """The distance to the lowest loss against the number of trials, a curve for each way."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    for (name, group), look in zip(found.groupby("way", sort=False), LOOKS, strict=False):
        group = group[group.gap > 1e-5]
        every = max(1, len(group) // 12)
        axes.plot(
            group.trials, group.gap, label=name, color=look.color, marker=look.marker, linestyle=look.linestyle,
            markevery=every,
        )  # fmt: skip
    axes.axhline(NEAR, color="black", linewidth=0.8, linestyle=":", label=f"{percent(NEAR)} above")
    axes.set(xscale="symlog", yscale="log", xlabel="trials", ylabel="mean loss above the lowest")
    top = int(found.trials.max())
    ticks = [0, *[k for k in (1, 2, 5, 10, 20, 50, 100, 200) if k <= top]]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.set_xlim(-0.1, top)
    axes.set_ylim(bottom=1e-4)
    axes.yaxis.set_major_formatter(percent)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    title = setting.load().title
    finding = "each part saves trials" if each_helps(found) else "what each part brings"
    figure.suptitle(f"{title}: {finding}", fontsize="medium")
    said = "; ".join(
        f"{name}: {'not reached' if pd.isna(trials) else f'{trials:.0f} trials'}"
        for name, trials in arrivals(found).items()
    )
    return Picture("fig_08_built", figure, f"Loss above the lowest against trials. To {NEAR:.0%}: {said}.", found)


def table_built(found: pd.DataFrame) -> Table:
    """Trials to :data:`NEAR`, the time of a trial, and how many trials are worth their passes."""
    rows = []
    trials = arrivals(found)
    for name, group in found.groupby("way", sort=False):
        arrives, ms = trials[name], group.ms.iloc[0]
        rows.append(
            {
                "encoder": name,
                f"trials to {NEAR:.0%}": "not reached" if pd.isna(arrives) else f"{arrives:.0f}",
                "ms a trial": f"{ms:.2f}",
                f"ms to {NEAR:.0%}": "-" if pd.isna(arrives) else f"{arrives * ms:.1f}",
                "trials worth it": enough(group),
            }
        )
    notes = (
        "The mean loss of one batch of validation images. A trial is one forward and one backward pass an image. It is "
        f"worth them where it lowers the mean loss by {WORTH:.0%}; the last column counts up to the last that does. "
        "Times are measured once, on the threads of this page."
    )
    title = "What each part of the accelerated encoder brings"
    return Table("table_08_built", found, pd.DataFrame(rows), title, notes)
