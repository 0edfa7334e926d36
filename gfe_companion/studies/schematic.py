"""Figure 2: the two optimisations of gradient flow encoding, drawn by code."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture

ENCODE, UPDATE, INK = "#0173b2", "#d55e00", "#222222"  # Step 1, Step 2, and what both share


def fig2() -> Picture:
    """Latent, decoder, reconstruction and loss, with the loop in z (Step 1) and the update of theta (Step 2)."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0))
    axes.set(xlim=(0, 10), ylim=(0.6, 5.2))
    axes.axis("off")
    axes.grid(False)
    _box(axes, 1.15, 2.7, 1.5, "latent\n$z$", ENCODE)
    _box(axes, 3.85, 2.7, 1.9, "decoder\n$D_\\theta$", UPDATE)
    _box(axes, 6.55, 2.7, 1.7, "reconstruction\n$D_\\theta(z)$", INK, width=2.0)
    _box(axes, 9.0, 2.7, 1.5, "loss\n$l(y, D_\\theta(z))$", INK, width=1.9)
    axes.text(9.0, 4.62, "image $y$", ha="center", va="center", color=INK, fontsize=10)
    _arrow(axes, (9.0, 4.4), (9.0, 3.35), INK)
    for start, end in ((1.9, 2.9), (4.8, 5.55), (7.55, 8.05)):
        _arrow(axes, (start, 2.7), (end, 2.7), INK)

    _arrow(axes, (8.5, 3.35), (1.15, 3.35), ENCODE, bend=0.24)
    axes.text(
        4.3, 4.78, "Step 1, encode: $dz/dt = -\\alpha(t)\\,\\nabla_z\\, l$", ha="center", color=ENCODE, fontsize=10
    )
    axes.text(
        4.75, 3.72, "again and again until $z_\\tau$, with $\\theta$ fixed", ha="center", color=ENCODE, fontsize=8.5
    )

    _arrow(axes, (8.7, 2.05), (3.85, 2.05), UPDATE, bend=-0.26, linestyle=(0, (5, 2)))
    axes.text(
        6.3, 0.9, "Step 2, learn: one step along $-\\partial_\\theta\\, l$", ha="center", color=UPDATE, fontsize=10
    )
    axes.text(6.25, 1.62, "once, with $z = z_\\tau$ fixed", ha="center", color=UPDATE, fontsize=8.5)
    alt = (
        "Schematic: the latent z goes through the decoder to a reconstruction; the loss compares it with the image. "
        "Step 1 returns from the loss to the latent, again and again; Step 2 from the loss to the decoder, once."
    )
    return Picture("fig2", figure, alt)


def _box(axes: Axes, x: float, y: float, size: float, text: str, color: str, width: float | None = None) -> None:
    width = width or size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.6), width, 1.2, boxstyle="round,pad=0,rounding_size=0.15", facecolor="white",
            edgecolor=color, linewidth=1.8,
        )
    )  # fmt: skip
    axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=9)


def _arrow(axes: Axes, start: tuple, end: tuple, color: str, bend: float = 0.0, linestyle: object = "-") -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=13, color=color, linewidth=1.8, linestyle=linestyle,
        connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
    )  # fmt: skip
    axes.add_patch(arrow)
