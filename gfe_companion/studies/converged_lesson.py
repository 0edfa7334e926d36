"""Notebook 06, its lessons: what an epoch costs, what its second half brings, and what an encoding misses."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from torch import Tensor

from gfe_companion.evidence.intervals import interval
from gfe_companion.methods import METHODS
from gfe_companion.runs.encode import model_with
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies.converged_models import AE, GFE, seeds_of
from gfe_companion.studies.drawing import WIDTH, percent, wrapped
from gfe_companion.studies.results import Picture, Text
from gfe_core.models import AutoEncoder, Decoder

SMALLEST = 1e-5  # an excess below this is drawn here
SHORT = {name: METHODS[name].look.short for name in (GFE, AE)}


def say_epochs(gfe: float, ae: float) -> Text:
    """The passes through a network that one epoch of encoding takes, and twelve of an autoencoder."""
    more = f"{gfe / ae:.1f} times as many" if gfe >= ae else f"{gfe / ae:.0%} of these"
    return Text(
        f"Twelve epochs of the autoencoder are {ae / 1e6:,.1f} million passes of an image through one of its networks. "
        f"One epoch of uncapped AMD takes up to {gfe / 1e6:,.1f} million: **{more}**."
    )


def second_half(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """What the second half of each training takes off its validation loss, relative to that at half time.

    Of Table 2's ``runs`` those on the data set that the page shows. Columns: method, seed, images (seen in all), half,
    end (losses), gain. At half time the loss is read between its neighbours, on the logarithm of the images.
    """
    plan = runs[(runs.dataset == setting.dataset) & runs.method.isin([GFE, AE])]
    rows = []
    for row, run in zip(plan.itertuples(), run_grid([config.training for config in plan.config], setting), strict=True):
        curve = run.history.dropna(subset="validation_loss").sort_values("images")
        half, end = np.interp(np.log([row.images / 2, row.images]), np.log(curve.images), curve.validation_loss)
        rows.append((row.method, row.seed, row.images, half, end, 1 - end / half))
    return pd.DataFrame(rows, columns=["method", "seed", "images", "half", "end", "gain"])


def say_second_half(setting: Setting, runs: pd.DataFrame) -> Text:
    """:func:`second_half` in words."""
    found = second_half(setting, runs)
    said = [
        f"{SHORT[str(method)]} **{interval(part.gain):.1%}** (its last {part.images.iloc[0] // 2:,} images)"
        for method, part in found.groupby("method", sort=False)
    ]
    return Text(
        f"The second half of each training ({setting.load().title}) takes off this much of the validation loss: "
        f"{', '.join(said)}. The more it is, the less a table of the end says of what the methods come to."
    )


def networks(setting: Setting, runs: pd.DataFrame) -> tuple[Decoder, AutoEncoder]:
    """Table 2's networks of the first seed: the decoder of uncapped GFE-amd, and the autoencoder."""
    first = runs[(runs.dataset == setting.dataset) & (runs.seed == seeds_of(setting)[0])].set_index("method").config
    (gfe,), (ae,) = (run_grid([first[method].training], setting) for method in (GFE, AE))
    decoder = model_with(gfe.weights[str(first[GFE].images)], first[GFE].training.solver)
    autoencoder = model_with(ae.weights[str(first[AE].images)], None)
    assert isinstance(decoder, Decoder) and isinstance(autoencoder, AutoEncoder)
    return decoder, autoencoder


def excesses(by_amd: Mapping[int, Tensor], by_encoder: Tensor) -> pd.DataFrame:
    """The reader's excesses (B,), by trials of AMD and by the encoder.

    Columns: method, trials (0: one pass), image, excess.
    """
    measured = [(GFE, trials, values) for trials, values in by_amd.items()] + [(AE, 0, by_encoder)]
    rows = [
        (method, trials, image, value)
        for method, trials, values in measured
        for image, value in enumerate(values.tolist())
    ]
    return pd.DataFrame(rows, columns=["method", "trials", "image", "excess"])


def lasting(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method with as many trials as it may have, and the share of the loss that is the encoding's."""
    last = found.trials == found.groupby("method").trials.transform("max")
    return found[last].assign(share=found.excess / (1 + found.excess))


def fig_lesson(setting: Setting, found: pd.DataFrame) -> Picture:
    """The excess against the trials of AMD, a thin line an image, and that of the autoencoder's encoder."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    part, look, of_ae = found[found.method == GFE], METHODS[GFE].look, METHODS[AE].look
    for _, one in part.groupby("image"):
        axes.plot(one.trials, one.excess.clip(lower=SMALLEST), color=look.color, linewidth=0.7, alpha=0.5)
    mean, at = part.groupby("trials").excess.mean().clip(lower=SMALLEST), lasting(found).groupby("method").excess.mean()
    axes.plot(mean.index, mean, color=look.color, marker=look.marker, label="uncapped AMD, on GFE's decoder")
    label = "the AE's encoder, on the AE's decoder"
    axes.axhline(max(at[AE], SMALLEST), color=of_ae.color, linestyle=of_ae.linestyle, label=label)
    axes.set(xscale="log", yscale="log", xlabel="trials of AMD", ylabel="loss above the lowest")
    axes.set_xticks(mean.index, [f"{trials:,}" for trials in mean.index])
    axes.yaxis.set_major_formatter(percent)
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    said = f"Above the lowest loss: AMD {at[GFE]:.1%} ({mean.index.max()} trials), the AE's encoder {at[AE]:.1%}"
    count = found.image.nunique()
    figure.suptitle(f"{wrapped(said)}\n({setting.load().title}, {count} test images)", fontsize="medium")
    spoken = ", ".join(f"{trials}: {value:.1%}" for trials, value in mean.items())
    alt = f"How far the loss of {count} test images lies above the lowest, by trials of AMD. {said}. Means: {spoken}."
    return Picture("fig_06_lesson", figure, alt, found)


def say_lesson(found: pd.DataFrame) -> Text:
    """What share of each network's loss is the encoding's, and what is left to the decoder."""
    last = lasting(found).groupby("method")
    at, mean, most = last.excess.mean(), last.share.mean(), last.share.max()
    return Text(
        f"The mean excess is {at[GFE]:.1%} by AMD, and {at[AE]:.1%} by the AE's encoder. As a share of the whole loss, "
        f"the encoding misses {mean[GFE]:.1%} of that of {SHORT[GFE]} (at most {most[GFE]:.1%}, on one "
        f"of these images), and {mean[AE]:.1%} of that of the {SHORT[AE]} (at most {most[AE]:.1%}). "
        "The rest is what each decoder cannot draw."
    )
