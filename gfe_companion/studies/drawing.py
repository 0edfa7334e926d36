"""One style for every figure, and what several figures draw."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from gfe_companion.methods import Look

WIDTH = 6.4  # inches; a text column on screen and on paper


def style() -> None:
    """Set the style of all figures; called once at the top of a notebook."""
    sns.set_theme("paper", "whitegrid", "colorblind", font_scale=1.1)
    plt.rcParams |= {
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
    """A curve of :func:`over_seeds`, its interval shaded; ``changed`` overrides what ``look`` says."""
    drawn: dict[str, Any] = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle}
    drawn |= {"label": look.label} | changed
    axes.plot(curve.x, curve["mean"], **drawn)
    axes.fill_between(curve.x, curve.low, curve.high, color=drawn["color"], alpha=0.2, linewidth=0)
