"""Notebook 03, where 3/t comes from: momentum is a flow with friction, and no constant friction suits every bowl."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Text, listed, markdown

STEP = 0.0025  # s, the step of the methods, h = sqrt(s) = 0.05
BOWLS = {1.0: "steep bowl", 0.01: "flat bowl"}  # curvatures mu
DRAWN, FOLLOWED = 80.0, 600.0  # times to which walks are drawn, and followed
NEAR = 0.1  # a walk has settled once it stays so near to the minimum at z = 1
FALLING = "3/t"
LOOKS = {"0.2": ("#d55e00", ":"), "2": ("#0173b2", "--"), FALLING: ("black", "-")}  # frictions: told apart in grey too
# what step k keeps of the last move, mu, s and the number of steps -> the points of the walk, the start first
Method = Callable[[Callable[[int], float], float, float, int], list[float]]


def walks_of(method: Method, kept: dict[str, Callable[[int], float]]) -> pd.DataFrame:
    """``method`` on both bowls under each friction of :data:`LOOKS`, from z = 0: columns curvature, friction, t, z.

    ``method`` takes what step k keeps of the last move, which ``kept`` has for each friction, the curvature mu, the
    step s and the number of steps.
    """
    steps = round(FOLLOWED / STEP**0.5)
    times = STEP**0.5 * np.arange(steps + 1)
    return pd.concat([
        pd.DataFrame({
            "curvature": mu, "friction": friction, "t": times, "z": method(kept[friction], mu, STEP, steps),
        })
        for mu in BOWLS
        for friction in LOOKS
    ])  # fmt: skip


def settled(walks: pd.DataFrame) -> pd.DataFrame:
    """The time after which each walk stays near the minimum, relative to the best on its bowl.

    Index friction, columns curvature. A walk that has not settled when it ends counts as that long.
    """
    far = walks[(walks.z - 1).abs() > NEAR]
    times = far.groupby(["friction", "curvature"]).t.max().unstack()
    return (times / times.min()).loc[list(LOOKS), list(BOWLS)]


def serves_both(walks: pd.DataFrame) -> bool:
    """Whether the falling friction's larger multiple of the best time is below that of every constant friction."""
    worst = settled(walks).max(axis=1)
    return bool((worst[FALLING] < worst.drop(FALLING)).all())


def fig_friction(walks: pd.DataFrame) -> Picture:
    """Where momentum leads on a steep and on a flat bowl, under two constant frictions and under 3/t."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.1), sharey=True)
    for axes, (mu, name) in zip(panels, BOWLS.items(), strict=True):
        for friction, (color, line) in LOOKS.items():
            walk = walks[(walks.curvature == mu) & (walks.friction == friction) & (walks.t <= DRAWN)][::10]
            axes.plot(walk.t, walk.z, line, color=color, label=f"friction {friction}")
        axes.axhline(1, color="gray", linewidth=0.8, zorder=0)
        axes.set(xlabel="time $t = k\\sqrt{s}$", title=f"{name}, $\\mu = {mu:g}$", ylim=(0, 2.0))
    panels[0].set_ylabel("$z$ (minimum at 1)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOKS), fontsize=8)
    finding = "Each constant friction suits one bowl; 3/t serves both"
    figure.suptitle(finding if serves_both(walks) else "Momentum under three frictions on two bowls", fontsize="medium")
    slower = settled(walks)
    alt = (
        "The position against time of the momentum method on a steep and on a flat bowl, under two constant frictions "
        "and under 3/t. Time to settle, in multiples of the best on that bowl: "
        + "; ".join(f"friction {name} {_both(slower.loc[name])}" for name in LOOKS)
        + "."
    )
    return Picture("fig_03_friction", figure, alt, walks[walks.t <= DRAWN][::10].round(5))


def _both(multiples: pd.Series) -> str:
    return " and ".join(f"{multiple:.1f}" for multiple in multiples)


def say_friction(walks: pd.DataFrame) -> Text:
    """How much longer each friction takes on each bowl than the best one there, as a table."""
    slower = settled(walks)
    worst = slower.max(axis=1)
    rows = [{"friction": name} | {bowl: f"{slower.loc[name, mu]:.1f}" for mu, bowl in BOWLS.items()} for name in LOOKS]
    return Text(
        f"The time after which $z$ stays within {NEAR:g} of the minimum, "
        "in multiples of the best time on that bowl:\n\n"
        f"{markdown(pd.DataFrame(rows))}\n\n"
        "*Reading it:* too little friction swings, too much creeps. $3/t$ is too much early and too little late. "
        f"At worst it takes **{worst.pop(FALLING):.1f} times** the best time, "
        f"and the constant frictions {listed([f'{times:.1f}' for times in worst])} times."
    )


def say_kept(nesterov: Callable[[int], float]) -> Text:
    """What ``nesterov`` keeps of the last move at step k, the friction that this is, and 3/t: a row a k."""
    h = STEP**0.5
    rows = [
        {
            "k": f"{k:,}",
            "kept of the last move": f"{nesterov(k):.4f}",
            "friction (1 - kept) / √s": f"{(1 - nesterov(k)) / h:.4f}",
            "3/t at t = k√s": f"{3 / (k * h):.4f}",
        }
        for k in (1, 10, 100, 1000, 10_000)
    ]
    return Text(markdown(pd.DataFrame(rows)) + f"\n\nThe step is s = {STEP:g}.")
