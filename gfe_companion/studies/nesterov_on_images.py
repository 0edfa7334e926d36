"""Notebook 03, on images: the first- and the second-order flow at equal decoder passes, and for many final times."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from gfe_companion.methods import FLOW_TAU, METHODS, NESTEROV_TAU
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.studies import borrowed
from gfe_companion.studies.drawing import WIDTH, plain_ticks
from gfe_companion.studies.results import Picture, Text, markdown
from gfe_core.fixed_grid import FixedGrid
from gfe_core.models import Decoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective

BATCH = 16  # test images that both flows encode
FACTORS = (0.03, 0.1, 0.3, 1, 3, 10)  # distances allowed, relative to the notebook's choice of tau


def flows(slices: int, factor: float = 1.0) -> dict[str, FixedGrid | Nesterov]:
    """Both flows on as many slices, given the time for ``factor`` times the distance of the notebook's choice.

    Under a constant gradient the distance grows with tau for the first-order flow, and with tau^2 for the second-order
    flow.
    """
    return {
        "gfe": FixedGrid(factor * FLOW_TAU, slices),
        "gfe_nesterov": Nesterov(factor**0.5 * NESTEROV_TAU, slices),
    }


def stages(setting: Setting) -> dict[int, Decoder]:
    """The decoders at the first and the last row of Table 1, by the number of images seen."""
    decoders = borrowed.decoders(setting)
    return {images: decoders[images] for images in (min(decoders), max(decoders))}


def curves_of_passes(setting: Setting) -> pd.DataFrame:
    """The loss of each image along both flows: columns images (seen), method, image, slice, passes (an image), loss."""
    batch, slices, rows = setting.load().test.images[:BATCH], setting.profile.drawn_slices // 2, []
    for stage, decoder in stages(setting).items():
        for method, solver in over(flows(slices).items(), f"flows under the decoder after {stage:,} images"):
            encoding = solver.encode(Objective(decoder, batch), record=True)
            assert encoding.path is not None
            saved = 8 * slices + 1 - encoding.evaluations // BATCH  # the second-order flow's first slice is solved
            for n, loss in enumerate(encoding.path.loss):
                passes = max(8 * n - saved, 0)
                rows += [(stage, method, image, n, passes, value) for image, value in enumerate(loss.tolist())]
    return pd.DataFrame(rows, columns=["images", "method", "image", "slice", "passes", "loss"])


def fig_passes(setting: Setting, curves: pd.DataFrame) -> Picture:
    """The mean loss against decoder passes for both flows, under an early and a later decoder."""
    title = setting.load().title
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    for axes, (stage, part) in zip(panels, curves.groupby("images"), strict=False):
        for method, along in part.groupby("method"):
            look = METHODS[method].look
            mean, one = along.groupby("passes").loss.mean(), along[along.image == 0]
            axes.plot(
                mean.index[1:], mean.iloc[1:], color=look.color, marker=look.marker, markevery=12, label=look.short
            )
            axes.plot(one.passes[1:], one.loss[1:], color=look.color, linestyle=":", linewidth=1)
        axes.set(xlabel="decoder passes for each image", title=f"decoder of {stage:,} images", xscale="log")
        plain_ticks(axes.xaxis)
    panels[0].set_ylabel("cross-entropy")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    shares = ahead(curves)
    crossed = (shares.early < 0.5).all() and (shares.late > 0.5).all()
    found = (
        "The second-order flow is behind in the first half and ends ahead"
        if crossed
        else "Two flows at equal decoder passes"
    )
    figure.suptitle(f"{found}\n{title}: mean of {BATCH} test images (dotted: the first one)", fontsize="medium")
    ends = curves[curves.slice == curves.slice.max()].pivot_table(index="images", columns="method", values="loss")
    at_end = [f"{row.Index:,} images {row.gfe:.4f} and {row.gfe_nesterov:.4f}" for row in ends.itertuples()]
    alt = (
        f"Loss against decoder passes for the first- and the second-order flow, on {title}, for two decoders. "
        f"At the end: {'; '.join(at_end)}."
    )
    return Picture("fig_03_passes", figure, alt, curves)


def ahead(curves: pd.DataFrame) -> pd.DataFrame:
    """How often the second-order flow is the lower one; index images (seen).

    Columns: early, the share of all images and slices in the first half of the flow, and late, of the images at its
    end.
    """
    wide = curves.pivot_table(index=["images", "image", "slice"], columns="method", values="loss")
    share = (wide.gfe_nesterov < wide.gfe).groupby(["images", "slice"]).mean().unstack("images")
    half = (len(share) - 1) // 2
    return pd.DataFrame({"early": share.iloc[1 : half + 1].mean(), "late": share.iloc[-1]})


def rising(curves: pd.DataFrame) -> pd.DataFrame:
    """The share of the images whose loss rises somewhere on the way; index images (seen), columns method."""
    by_image = curves.sort_values("slice").groupby(["images", "method", "image"]).loss
    return by_image.apply(lambda loss: (loss.diff() > 1e-6).any()).groupby(["images", "method"]).mean().unstack()


def say_passes(curves: pd.DataFrame) -> Text:
    """How often the second-order flow is the lower one, and how often a loss rises under either flow, as a table."""
    rises = rising(curves)
    rows = [
        {
            "decoder": f"{row.Index:,} images",
            "lower, first half": f"{row.early:.0%}",
            "lower, at the end": f"{row.late:.0%}",
            "rises, first order": f"{rises.gfe[row.Index]:.0%}",
            "rises, second order": f"{rises.gfe_nesterov[row.Index]:.0%}",
        }
        for row in ahead(curves).itertuples()
    ]
    return Text(
        "How often the second-order flow is the lower one: the share of all images and slices in the first half of "
        "the flow, and of the images at its end. And the share of the images whose loss rises somewhere on the way:"
        f"\n\n{markdown(pd.DataFrame(rows))}\n\n"
        "*Reading it:* the second-order flow starts from rest. That holds it back at first, unless the first slices "
        "are too long for the first-order flow. Under the first-order flow a rise of the loss means that a slice was "
        "too long; the second-order flow may also just swing."
    )


def losses_by_tau(setting: Setting) -> pd.DataFrame:
    """The mean loss at the end for many final times, on half as many slices.

    Columns: images (seen), method, factor (the distance allowed, relative to the notebook's choice), tau, loss.
    """
    batch, slices, rows = setting.load().test.images[:BATCH], setting.profile.drawn_slices // 4, []
    for stage, decoder in stages(setting).items():
        for factor in over(FACTORS, f"final times under the decoder after {stage:,} images"):
            for method, solver in flows(slices, factor).items():
                loss = solver.encode(Objective(decoder, batch)).loss.mean().item()
                rows.append((stage, method, factor, solver.tau, loss))
    return pd.DataFrame(rows, columns=["images", "method", "factor", "tau", "loss"])


def at_best_tau(sweep: pd.DataFrame) -> pd.DataFrame:
    """The lowest mean loss of each flow over all final times; index images (seen), columns method."""
    return sweep.groupby(["images", "method"]).loss.min().unstack()


def fig_tau(setting: Setting, sweep: pd.DataFrame) -> Picture:
    """The loss at the end against the time given, for both flows."""
    title = setting.load().title
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.6))
    for axes, (stage, part) in zip(panels, sweep.groupby("images"), strict=False):
        for method, curve in part.groupby("method"):
            look = METHODS[method].look
            axes.plot(curve.factor, curve.loss, color=look.color, marker=look.marker, label=look.short)
        axes.axvline(1, color="gray", linestyle=":")
        axes.set(xscale="log", xlabel="distance allowed, relative to ours", title=f"decoder of {stage:,} images")
        plain_ticks(axes.xaxis)
    panels[0].set_ylabel("cross-entropy at the end")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    slices, lowest = setting.profile.drawn_slices // 4, at_best_tau(sweep)
    lower = (lowest.gfe_nesterov < lowest.gfe).all()
    found = (
        "At the best times tried the second-order flow ends lower" if lower else "Two flows given more and less time"
    )
    figure.suptitle(f"{found}\n{title}: {BATCH} test images, {slices} slices", fontsize="medium")
    best = [f"{row.Index:,} images {row.gfe:.4f} and {row.gfe_nesterov:.4f}" for row in lowest.itertuples()]
    alt = (
        "The loss at the end against the time given, relative to the notebook's choice, "
        f"for the first- and the second-order flow and two decoders, on {title}. Best losses: {'; '.join(best)}."
    )
    return Picture("fig_03_tau", figure, alt, sweep)


def say_seen(curves: pd.DataFrame, sweep: pd.DataFrame) -> Text:
    """What the page has shown, in numbers."""
    shares, best, passes = ahead(curves), at_best_tau(sweep), curves.groupby("method").passes.max()
    return Text(
        "At equal decoder passes the second-order flow is ahead in the first half "
        f"for {(shares.early > 0.5).sum()} of {len(shares)} decoders and at the end for {(shares.late > 0.5).sum()}; "
        f"with each flow at the best $\\tau$ that was tried it ends lower for {(best.gfe_nesterov < best.gfe).sum()}. "
        "The coupled equation costs no further decoder pass: an image takes "
        f"{passes.gfe_nesterov} instead of {passes.gfe} for {curves.slice.max()} slices, "
        "of which the first is solved in closed form."
    )
