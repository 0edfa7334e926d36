"""Notebook 07, what latents must be compared with: untrained networks, and random projections of the pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.ticker import PercentFormatter
from torch import Generator, Tensor

from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.methods import METHODS, UNCAPPED
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture, Text, listed
from gfe_core.models import PIXELS, AutoEncoder, Decoder
from gfe_core.objective import Objective

GFE, AE = "gfe_amd_uncapped", "ae"
PROJECTED = (1, 2, 3, 5, 10, 20)  # how many random numbers of an image are kept; the last is the networks' own
RANDOM = "random numbers"
Right = Callable[[Tensor, Tensor], float]  # latents (N, d) and labels (N,) -> the share that is named right
Dimensions = Callable[[Tensor], float]  # latents (N, d) -> how many directions they use


def latents(setting: Setting) -> dict[tuple[str, str, int], Tensor]:
    """The latents (N, d) of the same test images, by data ("few", "full", "none" or a number d), method and seed.

    Those of trained networks are read from their runs. "none" has those of the networks that the trainings started
    from, encoded alike. A number has what so many random directions tell of the pixels.
    """
    plan, count = plans.latents(setting), setting.profile.map_images
    runs = run_grid([config.evaluation for config in plan.config], setting)
    found = {
        (row.data, row.method, row.seed): run.weights["z"][:count]
        for row, run in zip(plan.itertuples(), runs, strict=True)
    }
    images = setting.load().test.images[:count]
    for seed in over(sorted(set(plan.seed)), "untrained networks"):
        found["none", AE, seed] = _encoded(AutoEncoder(Generator().manual_seed(seed)).encoder, images)
        decoder = Decoder(generator=Generator().manual_seed(seed))
        found["none", GFE, seed] = UNCAPPED.encode(Objective(decoder, images)).z
        generator = Generator().manual_seed(seed)
        for d in PROJECTED:
            found[str(d), RANDOM, seed] = images @ torch.randn(PIXELS, d, generator=generator)
    return found


@torch.no_grad()
def _encoded(encoder: torch.nn.Module, images: Tensor) -> Tensor:
    return encoder(images)


def compared(setting: Setting, right: Right, dimensions: Dimensions) -> pd.DataFrame:
    """The reader's two measures of all :func:`latents`: columns data, method, seed, right, dimensions."""
    labels = setting.load().test.labels[: setting.profile.map_images]
    found = over(latents(setting).items(), "latents measured")
    rows = [(*key, float(right(z, labels)), float(dimensions(z))) for key, z in found]
    return pd.DataFrame(rows, columns=["data", "method", "seed", "right", "dimensions"])


def gap(measured: pd.DataFrame, method: str) -> Interval:
    """By how much more images a ``method`` names right after few images than untrained, paired by seed."""
    wide = measured.pivot(index="seed", columns=["data", "method"], values="right")
    return interval(wide["few", method] - wide["none", method])


def against_untrained(difference: Interval) -> str:
    """The rule: "better" or "worse than untrained" where the interval of the ``difference`` leaves out zero."""
    if difference.count < 2:
        return "one seed gives no interval"
    if difference.low <= 0 <= difference.high:
        return "not told apart from untrained"
    return "better than untrained" if difference.mean > 0 else "worse than untrained"


def means(measured: pd.DataFrame) -> pd.DataFrame:
    """The mean of both measures over seeds: index data and method."""
    return measured.groupby(["data", "method"])[["right", "dimensions"]].mean()


def stages(setting: Setting) -> dict[str, tuple[str, str]]:
    """How each stage of training is called, and how it is filled in the figure."""
    return {
        "none": ("untrained", "white"),
        "few": (f"{setting.profile.few_images:,} images", "silver"),
        "full": ("trained", "black"),
    }


def fig_baselines(setting: Setting, measured: pd.DataFrame) -> Picture:
    """What each network's latents tell of the classes, against how many directions they use."""
    found, title = means(measured), setting.load().title
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    chance = found.loc[[(str(d), RANDOM) for d in PROJECTED]]
    axes.plot(chance.dimensions, chance.right, ":", color="gray", marker=".", label="random projections of the pixels")
    for method in (GFE, AE):
        look = METHODS[method].look
        walk = found.loc[[(data, method) for data in stages(setting)]]
        axes.plot(walk.dimensions, walk.right, look.linestyle, color=look.color, marker=look.marker, label=look.short)
        for point, (_, fill) in zip(walk.itertuples(), stages(setting).values(), strict=True):
            shown: dict[str, Any] = {
                "markersize": 8,
                "color": look.color,
                "markerfacecolor": fill,
                "markeredgewidth": 1.5,
            }
            axes.plot(point.dimensions, point.right, look.marker, **shown)
    for name, fill in stages(setting).values():
        axes.plot([], [], "o", color="black", markerfacecolor=fill, label=name)
    axes.set(xlabel="directions that the latents use (effective number)", ylabel="named right by ten neighbours")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    worse = against_untrained(gap(measured, AE)) == "worse than untrained"
    few = f"After {setting.profile.few_images:,} images"
    finding = f"{few} the AE's latents tell less of the classes than an untrained encoder's"
    heading = finding if worse else "What latents tell of the classes"
    seeds = measured.seed.nunique()
    over = f"{title}, {'one seed' if seeds == 1 else f'mean of {seeds} seeds'}"
    figure.suptitle(f"{wrapped(heading)}\n{wrapped(over)}", fontsize="medium")
    spoken = [
        f"{METHODS[method].look.short}, {name}: {found.loc[(data, method)].right:.0%} "
        f"with {found.loc[(data, method)].dimensions:.1f}"
        for method in (GFE, AE)
        for data, (name, _) in stages(setting).items()
    ]
    alt = (
        f"The share of test images of {title} that their ten nearest latents name right, against the effective number "
        f"of directions that the latents use. {'; '.join(spoken)}. Random projections of the pixels rise from "
        f"{chance.right.iloc[0]:.0%} to {chance.right.iloc[-1]:.0%}."
    )
    return Picture("fig_07_baselines", figure, alt, measured)


def say_baselines(setting: Setting, measured: pd.DataFrame) -> Text:
    """How both methods after few images compare with what they started from, and with random numbers."""
    found = means(measured)
    sentences, the = [], {AE: "the AE", GFE: "GFE"}
    for method in (AE, GFE):
        before, after = (found.loc[(data, method)] for data in ("none", "few"))
        difference = gap(measured, method)
        sentences.append(
            f"After {setting.profile.few_images:,} images the latents of {the[method]} name {after.right:.0%} of "
            f"the images right, and before any training {before.right:.0%}: **{against_untrained(difference)}** "
            f"(difference {difference:+.2f}). "
            f"They use {after.dimensions:.1f} directions, and before any training {before.dimensions:.1f}."
        )
    return Text("*Reading it:* " + " ".join(sentences) + f" {_as_random(found)}")


def _as_random(found: pd.DataFrame) -> str:
    """How many random numbers of an image tell as much of its class as the AE's latents after few images."""
    ae = found.loc[("few", AE)].right
    enough = [d for d in PROJECTED if found.loc[(str(d), RANDOM)].right >= ae]
    if not enough:
        return f"No {PROJECTED[-1]} random numbers of an image tell as much of its class as the AE's latents do there."
    tried = listed([str(d) for d in PROJECTED])
    return (
        f"Of {tried} random numbers of an image, {enough[0]} are the fewest that tell at least as much of its class as "
        "the AE's twenty do there."
    )
