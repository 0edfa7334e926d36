"""Notebook 05, its lesson: an autoencoder on few images that are drawn again and again, asked in two ways."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd

from gfe_companion.evidence.clock import rise
from gfe_companion.methods import GREEN, GREY, ORANGE, SKY, Look
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies.drawing import WIDTH, plain, wrapped
from gfe_companion.studies.results import Picture, Text

LOOKS = {
    "learnt": Look("learnt", "images to learn from, own encoder", GREY, "x", ":"),
    "own": Look("own", "held out, own encoder", ORANGE, "s", "--"),
    "optimum": Look("optimum", "held out, the same decoder at the optimum", SKY, "D", "-"),
    "many": Look("many", "held out, own encoder, drawn from all images", GREEN, "^", "-."),
}


def losses(few: Iterable[tuple[float, ...]], many: Iterable[tuple[float, ...]]) -> pd.DataFrame:
    """What the page measured: columns seen, learnt, own, optimum (of a training on few images), and many (on all)."""
    found = pd.DataFrame(few, columns=["seen", "learnt", "own", "optimum"])
    return found.merge(pd.DataFrame(many, columns=["seen", "many"]), on="seen")


def fig_lesson(setting: Setting, available: int, found: pd.DataFrame) -> Picture:
    """:func:`losses` against the images seen, of which each is one of ``available``."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    for name, look in LOOKS.items():
        style = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}
        axes.plot(found.seen, found[name], label=look.label, **style)  # type: ignore[arg-type]
    axes.set(xscale="log", xlabel="images seen", ylabel="cross-entropy")
    axes.set_xticks(found.seen, [plain(seen) for seen in found.seen], fontsize=8)
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    own, optimum = rise(found.own), rise(found.optimum)
    said = f"The held-out loss rises again by {own:.0%} by its own encoder, by {optimum:.0%} at the optimum"
    figure.suptitle(f"{wrapped(said)}\n({setting.load().title}, an AE on {available:,} images)", fontsize="medium")
    last = found.iloc[-1]
    ends = "; ".join(f"{look.label} {last[name]:.3f}" for name, look in LOOKS.items())
    alt = f"Losses of an AE that draws from {available:,} images, against images seen. {said}. At the end: {ends}."
    return Picture("fig_05_lesson", figure, alt, found)


def say_lesson(available: int, found: pd.DataFrame) -> Text:
    """How often each image was seen, where either loss of held-out images is lowest, and where all of them end."""
    seen, last = int(found.seen.iloc[-1]), found.iloc[-1]
    lowest = {name: found.loc[found[name].idxmin()] for name in ("own", "optimum")}
    return Text(
        f"After {seen:,} images seen, each of the {available:,} has come {seen / available:,.0f} times. By its own "
        f"encoder the loss of held-out images is lowest after {lowest['own'].seen:,.0f} images seen, at "
        f"{lowest['own'].own:.3f}, and ends at **{last.own:.3f}**, while that of the images to learn from ends at "
        f"{last.learnt:.3f}. The same decoder at the optimum is lowest after {lowest['optimum'].seen:,.0f}, at "
        f"{lowest['optimum'].optimum:.3f}, and ends at **{last.optimum:.3f}**. Drawn from all images, as many images "
        f"seen lead the autoencoder's own encoder to {last.many:.3f}."
    )
