"""One style for every figure, and what several figures draw."""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from gfe_companion.methods import Look

WIDTH = 6.4  # inches; a text column on screen and on paper
SHORT = re.compile(r"\([^()]{1,24}\)|\d %")  # what a line never breaks in: an interval, a percentage
HOLDS = "\N{NO-BREAK SPACE}"


def style() -> None:
    """Set the style of all figures; called once at the top of a notebook.

    It starts from Matplotlib's own defaults, so that nobody's settings show in a figure.
    """
    import seaborn as sns  # slow to import, and not for every worker

    matplotlib.rcdefaults()
    sns.set_theme("paper", "whitegrid", "colorblind", font_scale=1.1)
    plt.rcParams |= {
        "font.sans-serif": ["DejaVu Sans"],  # which Matplotlib brings along; others may be on this machine or not
        "figure.figsize": (WIDTH, 4.0),
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,
        "savefig.dpi": 150,
        "lines.markersize": 5,
        "legend.frameon": True,
        "axes.titlesize": "medium",
        "pdf.fonttype": 42,
    }


def draw_mean(axes: Axes, curve: pd.DataFrame, look: Look, **changed: object) -> None:
    """A curve of :func:`over_seeds`; ``changed`` overrides what ``look`` says.

    Its interval is shaded where there are three seeds or more; two seeds are thin lines.
    """
    drawn: dict[str, Any] = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}
    drawn |= {"label": look.label} | changed
    axes.plot(curve.x, curve["mean"], **drawn)
    low, high, two = curve["mean"] - curve.reach, curve["mean"] + curve.reach, curve.seeds == 2
    axes.fill_between(curve.x, low, high, where=~two, color=drawn["color"], alpha=0.2, linewidth=0)
    for seed in (low, high) if two.any() else ():
        axes.plot(curve.x, seed.where(two), color=drawn["color"], linewidth=0.6, alpha=0.7)


def spread(*seeds: int) -> str:
    """What :func:`draw_mean` draws of means over so many ``seeds`` each, in words."""
    if max(seeds, default=1) == 1:
        return "one seed"
    said = " to ".join(map(str, sorted({min(seeds), max(seeds)})))
    kind = "range" if max(seeds) == 2 else "95 % interval" + ", of two seeds their range" * (2 in seeds)
    return f"mean and {kind}; {said} seeds"


def wrapped(title: str, inches: float = WIDTH, size: float | str = "medium") -> str:
    """``title`` in lines that are at most ``inches`` wide at the font's ``size``, so that it stays in its picture.

    Short brackets and percentages stay on one line.
    """
    font = FontProperties(size=size)
    held = SHORT.sub(lambda some: some[0].replace(" ", HOLDS), title)
    for characters in range(len(title), 0, -1):
        lines = [line.replace(HOLDS, " ") for line in textwrap.wrap(held, characters)]
        if all(TextPath((0, 0), line, prop=font).get_extents().width <= 72 * inches for line in lines):
            return "\n".join(lines)
    return title


def plain(value: float, _: object = None) -> str:
    """The number at a tick as people write it, such as 0.003 and 30,000, and from a million on as a power of ten."""
    if not value or 1e-5 < abs(value) < 1e6:
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    digits, power = f"{value:.2e}".split("e")
    digits = digits.rstrip("0").rstrip(".")
    return f"$10^{{{int(power)}}}$" if digits == "1" else f"${digits} \\times 10^{{{int(power)}}}$"


def percent(share: float, _: object = None) -> str:
    """A share as people write it, at a tick and elsewhere: 0.1 %."""
    return f"{100 * share:g} %"


def plain_ticks(axis: Axis) -> None:
    """Ticks with plain numbers at 1, 10, ... on a logarithmic ``axis``; where it spans little, at other round numbers.

    To be called when all is drawn.
    """
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = (1,) if decades > 3 else (1, 3) if decades > 1.3 else (1, 2, 3, 5, 7)
    axis.set_major_locator(LogLocator(subs=subs) if decades > 0.7 else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(plain)
