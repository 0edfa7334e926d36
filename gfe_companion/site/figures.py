"""One style for every figure, and one way to save figures and tables with the numbers behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython.display import Image, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gfe_companion.runs.profiles import Setting

WIDTH = 6.4  # inches; a text column on screen and on paper


class Look(NamedTuple):
    """How a method is drawn everywhere: colours from a colour-blind-safe palette, told apart by markers in grey too."""

    short: str  # for tables
    label: str  # for legends
    color: str
    marker: str
    linestyle: str


_PALETTE = sns.color_palette("colorblind").as_hex()
METHODS = {
    "gfe": Look("GFE", "GFE, fixed grid", _PALETTE[7], "v", "-"),
    "gfe_nesterov": Look("2nd order GFE", "2nd order GFE, fixed grid", _PALETTE[3], "X", "-"),
    "ae": Look("AE", "AE", _PALETTE[1], "s", "--"),
    "gfe_amd": Look("GFE-amd", "GFE-amd, literal ($s_{max}=10$)", _PALETTE[2], "^", "-."),
    "gfe_amd_uncapped": Look(
        "GFE-amd, uncapped", "GFE-amd, uncapped ($s_{max}=1000$, 100 trial steps)", _PALETTE[0], "o", "-"
    ),
    "gfe_fast": Look("GFE, accelerated", "GFE, accelerated (warm quasi-Newton)", _PALETTE[4], "P", "-"),
    "auto_decoder": Look("auto-decoder", "auto-decoder (stored latents)", _PALETTE[5], "*", ":"),
    "ae_then_amd": Look("AE, then AMD", "AE decoder, encoded by uncapped AMD", _PALETTE[4], "D", ":"),
}


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
    """A curve of :func:`intervals.over_seeds`, its interval shaded; ``changed`` overrides what ``look`` says."""
    drawn = {"color": look.color, "marker": look.marker, "linestyle": look.linestyle, "label": look.label} | changed
    axes.plot(curve.x, curve["mean"], **drawn)
    axes.fill_between(curve.x, curve.low, curve.high, color=drawn["color"], alpha=0.2, linewidth=0)


def save(figure: Figure, data: pd.DataFrame | None, name: str, setting: Setting, alt: str) -> None:
    """Write ``name``.png, .pdf and, from ``data``, .csv into the profile's figures, and show the figure.

    ``alt`` says in words what the picture shows. Files are written aside and renamed, so none is ever half there.
    """
    folder = setting.figures
    _whole(folder / f"{name}.png", lambda path: figure.savefig(path, format="png"))
    figure.set_layout_engine("none")  # the layout is found: a second time would cost as much as drawing
    _whole(folder / f"{name}.pdf", lambda path: figure.savefig(path, format="pdf", metadata={"CreationDate": None}))
    if data is not None:
        _whole(folder / f"{name}.csv", lambda path: data.to_csv(path, index=False))
    plt.close(figure)
    display(Image((folder / f"{name}.png").read_bytes(), alt=alt), metadata=_made(folder, name))


def save_table(data: pd.DataFrame, shown: pd.DataFrame, name: str, setting: Setting, title: str, notes: str) -> None:
    """Write ``data`` (long form) as ``name``.csv and ``shown`` (for people) as ``name``.md, and show the latter."""
    text = f"**{title}**\n\n{markdown(shown)}\n\n{notes}\n"
    _whole(setting.figures / f"{name}.csv", lambda path: data.to_csv(path, index=False))
    _whole(setting.figures / f"{name}.md", lambda path: path.write_text(text, encoding="utf-8"))
    display(Markdown(text), metadata=_made(setting.figures, name))


def _made(folder: Path, name: str) -> dict:
    """What ties an output of a notebook to its files: their name, and the checksum of the numbers behind it."""
    numbers = folder / f"{name}.csv"
    checksum = hashlib.sha256(numbers.read_bytes()).hexdigest() if numbers.exists() else None
    return {"made": {"name": name, "csv_sha256": checksum}}


def markdown(frame: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table, its index left out."""
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)
