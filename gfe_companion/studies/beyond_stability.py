"""Notebook 08, on stability: what keeps a long training by a hurried encoder from going astray."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import FAST, METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.beyond_clock import seeds_said
from gfe_companion.studies.beyond_optimum import beside_optimum
from gfe_companion.studies.drawing import WIDTH, plain, plain_ticks
from gfe_companion.studies.results import Picture, Table, Text

COLUMNS = ["remedy", "seed", "images", "own", "optimum", "from_zero", "agree", "norm"]
MARKS = {
    "own": ("own encoder", "o", METHODS["gfe_fast"].look.color),
    "optimum": ("optimum", "|", "black"),
    "from_zero": ("BFGS from zero", "x", METHODS["quasi_newton"].look.color),
}
SHORT = 1000.0  # a mean |z| below this is short
MARGIN = 10.0  # times the weakest penalty that holds is the chosen one
NO_REMEDY = "none"


def runs_of_stability(setting: Setting) -> pd.DataFrame:
    """The trainings under each remedy that did not collapse, finished: config, run and :data:`COLUMNS`.

    ``from_zero`` is what BFGS from zero ends at, ``norm`` the mean norm of the latents by the method's own encoder.
    """
    found = beside_optimum(plans.stability(setting), setting)
    from_zero, norm = ([run.history[name].mean() for run in found.run] for name in ("bfgs", "own_norm"))
    return found.assign(from_zero=from_zero, norm=norm)


def collapsed(setting: Setting, stability: pd.DataFrame) -> dict[str, int]:
    """How many seeds' trainings ended early, by remedy."""
    seeds, there = len(plans.seeds_of(setting)), stability.remedy.value_counts()
    return {name: seeds - int(there.get(name, 0)) for name in plans.remedies(setting)}


def fig8_stability(setting: Setting, stability: pd.DataFrame) -> Picture:
    """Each remedy's losses by three encoders, and the norm of its latents; a mark for each seed."""
    ended, seeds = collapsed(setting, stability), len(plans.seeds_of(setting))
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 4.0), sharey=True, width_ratios=[3, 2])
    places = stability.remedy.map(list(ended).index)
    for column, (label, marker, color) in MARKS.items():
        panels[0].plot(stability[column], places, marker, color=color, linestyle="none", label=label, mew=1.5)
    panels[1].plot(stability.norm, places, "o", color=METHODS["gfe_fast"].look.color)
    labels = [f"{name}\n({count} of {seeds} collapsed)" if count else name for name, count in ended.items()]
    panels[0].set_yticks(range(len(ended)), labels, fontsize=8)
    panels[0].set_ylim(len(ended) - 0.4, -0.6)
    for axes, said in zip(panels, ("test cross-entropy", "mean |z|"), strict=True):
        axes.set(xscale="log", xlabel=said)
    _clip(panels[0], stability[list(MARKS)].to_numpy())
    plain_ticks(panels[0].xaxis)
    marks = decades(*panels[1].get_xlim())
    panels[1].set_xticks(marks, [plain(mark) for mark in marks])
    panels[1].minorticks_off()
    until = f"{setting.profile.stability_images:,}"
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    heading = f"{setting.load().title}, after {until} training images; a mark for each seed"
    figure.suptitle(heading, fontsize="medium")
    rows = "; ".join(_said(name, stability[stability.remedy == name]) for name in ended)
    alt = f"Losses and latent norms after {until} images. {rows}."
    return Picture("fig8_stability", figure, alt, stability[COLUMNS])


def _clip(axes: Axes, losses: np.ndarray) -> None:
    """Where a few losses lie far above the others, end the axis before them, and name them at its edge."""
    edge = 1.5 * np.nanmedian(losses)
    if not (beyond := losses > edge).any():
        return
    axes.set_xlim(right=edge)
    for row in np.unique(beyond.nonzero()[0]):
        worst = np.nanmax(losses[row])
        place = np.asarray(axes.lines[0].get_ydata())[row]
        axes.annotate(f"to {worst:.2g} →", (edge, place), (-3, 4), textcoords="offset points", ha="right", va="bottom",
                      fontsize=7)  # fmt: skip


def decades(low: float, high: float) -> list[float]:
    """At most four powers of ten between ``low`` and ``high``, and three times these where there are few."""
    steps = (1,) if high > 1e3 * low else (1, 3)
    marks = [step * 10.0**power for power in range(-1, 12) for step in steps if low <= step * 10.0**power <= high]
    return marks[:: 1 + len(marks) // 4]


def _said(name: str, group: pd.DataFrame) -> str:
    if group.empty:
        return f"{name}: all collapsed"
    mean = group[["own", "from_zero", "norm"]].mean()
    return f"{name}: own {mean.own:.4f}, from zero {mean.from_zero:.4f}, |z| {mean.norm:.1f}"


def table_stability(setting: Setting, stability: pd.DataFrame) -> Table:
    """Each remedy's collapses, losses and norms, over the seeds that did not collapse."""
    rows = []
    for name, count in collapsed(setting, stability).items():
        group, row = stability[stability.remedy == name], {"remedy": name}
        row["collapsed"] = f"{count} of {len(plans.seeds_of(setting))}"
        if len(group):
            row |= {
                "own encoder": str(interval(group.own)),
                "optimum": str(interval(group.optimum)),
                "from zero, above it": f"{group.from_zero.mean() / group.optimum.mean() - 1:.1%}",
                "starts agree on": f"{group.agree.mean():.0%}",
                "mean norm of z": f"{group.norm.mean():.3g}",
            }
        rows.append(row)
    trials = FAST.solver.max_trials  # type: ignore[attr-defined]
    notes = (
        f"Mean ± 95 % interval over the seeds that did not collapse, of {seeds_said(setting)}; the first "
        f"{setting.profile.optimum_images} test images. “None”: {trials} warm trials, constant rate."
    )
    title = f"Remedies after {setting.profile.stability_images:,} training images"
    return Table("table_08_stability", stability[COLUMNS], pd.DataFrame(rows).fillna("-"), title, notes)


def holds(setting: Setting, stability: pd.DataFrame) -> dict[str, bool]:
    """Whether all trainings under each remedy held: none collapsed, and none has long latents. No loss takes part."""
    lost, norms = collapsed(setting, stability), stability.groupby("remedy").norm.max()
    return {name: not count and bool(norms[name] < SHORT) for name, count in lost.items()}


def say_chosen(setting: Setting, stability: pd.DataFrame) -> Text:
    """The rule by which the penalty is chosen, and what it says here."""
    held, profile = holds(setting, stability), setting.profile
    weights = {name: getattr(solver, "penalty", 0.0) for name, (solver, *_) in plans.remedies(setting).items()}
    penalties = sorted((weight, name) for name, weight in weights.items() if name.startswith("penalty") and held[name])
    longer = f"{profile.beyond_images / profile.stability_images:.0f}"
    rule = (
        "**The rule.** A penalty takes no time and leaves the training as it is otherwise, so that it is preferred; "
        "what it costs in loss stands in the table. The chosen one "
        f"is {MARGIN:g} times the weakest that holds: no training under it collapsed, and the mean |z| stayed "
        f"below {SHORT:,.0f}. The factor is a margin, since trainings of this page are up to {longer} times as long as "
        "these. No loss takes part in the choice."
    )
    if not penalties:
        return Text(f"{rule} Here no penalty holds, and {plain(FAST.penalty)} is used without its support.")
    chosen = MARGIN * penalties[0][0]
    agrees = abs(chosen / FAST.penalty - 1) < 1e-6
    said = (
        f"{rule} Here {penalties[0][1].split()[-1]} is the weakest that holds, so that the rule chooses {plain(chosen)}"
    )
    said += (
        ", which is what this page uses." if agrees else f". This page uses {plain(FAST.penalty)}, which is not that."
    )
    if held[NO_REMEDY]:
        said += " Without any remedy the trainings held, too: in this profile they are too short to tell."
    return Text(said)
