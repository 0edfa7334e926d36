"""Notebook 01: encodings of one image and of a hundred, and Figure 1: the flow as the decoder learns."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor

from gfe_companion.methods import FLOW_TAU, METHODS, NESTEROV_TAU
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import FLOW_KEPT
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import borrowed
from gfe_companion.studies.drawing import WIDTH, plain_ticks, wrapped
from gfe_companion.studies.plans import figure3_right
from gfe_companion.studies.results import Picture, Text
from gfe_core.encoding import Encoding, Path, Status
from gfe_core.fixed_grid import FixedGrid
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective

BATCH = 16  # training images whose flow Figure 1 follows
PICTURED = 5  # reconstructions on the way of one image, besides the first


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 01 rests on."""
    return [borrowed.training(setting), *figure1(setting).config]


def say_encoded(encoding: Encoding, seen: int) -> Text:
    """What the recorded ``encoding`` of one image took, under a decoder that learned from ``seen`` images."""
    path = recorded(encoding)
    return Text(
        f"The decoder was trained on {seen:,} images. AMD took **{int(encoding.steps)} steps** and "
        f"**{encoding.evaluations} decoder passes** (forward and backward), "
        f"from a loss of {path.loss[0, 0]:.3f} to {encoding.loss[0]:.3f}; "
        f"it ended with t = {encoding.t[0]:,.0f}, status {Status(int(encoding.status)).name}."
    )


def fig_path(setting: Setting, objective: Objective, encoding: Encoding) -> Picture:
    """Reconstructions along the recorded ``encoding`` of one image, and the loss along it."""
    path = recorded(encoding)
    rows = pictured(path.t[:, 0])
    with torch.no_grad():
        pictures = torch.sigmoid(objective.decoder(path.z[rows, 0]))
    figure = plt.figure(figsize=(WIDTH, 4.1))
    (strip,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1.9))
    captions = [f"$t$ = {path.t[n, 0]:,.0f}\n$l$ = {path.loss[n, 0]:.3f}" for n in rows]
    shown = [*zip(pictures, captions, strict=True), (objective.images[0], "the image")]
    for axes, (picture, caption) in zip(strip.subplots(1, len(shown)), shown, strict=True):
        axes.imshow(picture.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        axes.axis("off")
        axes.set_title(caption, fontsize=8)
    axes, dots = below.subplots(), rows[1:]
    axes.plot(path.t[1:, 0], path.loss[1:, 0], color=METHODS["gfe_amd_uncapped"].look.color)
    axes.plot(path.t[dots, 0], path.loss[dots, 0], "o", color="black", markersize=5, label="pictured above")
    axes.axhline(path.loss[0, 0], color="gray", linestyle=":", label="at $z(0) = 0$")
    axes.set(xscale="log", xlabel="time $t$ of the flow", ylabel="cross-entropy $l$")
    title = setting.load().title
    fell = f"its loss falls from {path.loss[0, 0]:.3f} to {encoding.loss[0]:.3f}"
    axes.set_title(wrapped(f"{title}, one test image, encoded by AMD: {fell}", 0.85 * WIDTH))
    plain_ticks(axes.xaxis)
    below.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    alt = (
        "A strip of reconstructions that sharpen from a blur into the test image, and the loss falling along the path "
        f"from {path.loss[0, 0]:.3f} to {encoding.loss[0]:.3f}, on {title}."
    )
    numbers = pd.DataFrame({"step": range(len(path.t)), "t": path.t[:, 0], "loss": path.loss[:, 0]})
    return Picture("fig_01_path", figure, alt, numbers)


def recorded(encoding: Encoding) -> Path:
    """The path of an ``encoding``; raises ``ValueError`` where it was not recorded."""
    if encoding.path is None:
        raise ValueError("the encoding has no path: call encode(objective, record=True).")
    return encoding.path


def pictured(times: Tensor) -> list[int]:
    """Rows of a path with ``times`` (steps + 1,): the start, and others that are evenly spaced in log t."""
    wanted = torch.logspace(times[1].log10(), times[-1].log10(), PICTURED)
    rows = torch.searchsorted(times.contiguous(), wanted).clamp(max=len(times) - 1)
    return sorted({0, *rows.tolist()})


def count_rises(path: Path) -> int:
    """How many steps of all images of a path raised the loss."""
    return int((path.loss.diff(dim=0) > 0).sum())


def way_gone(loss: Tensor, row: Tensor) -> Tensor:
    """The share of the whole fall of ``loss`` (steps + 1, B) that each image has behind it at its ``row`` (B,)."""
    return (loss[0] - loss[row, torch.arange(loss.shape[1])]) / (loss[0] - loss[-1])


def say_many(many: Encoding) -> Text:
    """Of many recorded encodings: how often a step raised the loss, how early it fell, how the encodings ended."""
    path = recorded(many)
    early = way_gone(path.loss, (many.steps / 10).ceil().long()).median().item()
    endings = zip(*(column.tolist() for column in many.status.unique(return_counts=True)), strict=True)
    return Text(
        f"Of {int(many.steps.sum()):,} steps, **{count_rises(path)}** raised the loss: that is AMD's guarantee "
        f"(Eq. 9). The median image has made **{early:.0%}** of its gain in loss after a tenth of its steps. "
        "They ended as "
        + ", ".join(f"{Status(value).name} ({count})" for value, count in endings)
        + "."
        + _of_the_budget(many)
    )


def _of_the_budget(many: Encoding) -> str:
    """A sentence on those encodings that did not converge because their budget of trials was spent."""
    spent, whole = int((many.status == Status.BUDGET_SPENT).sum()), len(many.status)
    if not spent:
        return ""
    who = "None of them has converged" if spent == whole else f"{spent} of {whole} have not converged"
    return (
        f" **{who}:** the budget of trials was spent first, so that $z_\\tau$ is where the walk was stopped, "
        "and not a minimiser $z^*$."
    )


def say_update(before: Tensor, after: Tensor) -> Text:
    """The mean loss of a batch at the same latents before and after one update of theta; both are (B,)."""
    return Text(f"Mean loss at $z_\\tau$: {before.mean():.4f} before the update, {after.mean():.4f} after it.")


def figure1(setting: Setting) -> pd.DataFrame:
    """The two trainings of Figure 1, with the first seed: columns method, seed, config (a :class:`Train`)."""
    plan = figure3_right(setting)
    return plan[plan.method.isin(drawn_flows(setting)) & (plan.seed == setting.seeds[0])]


def drawn_flows(setting: Setting) -> dict[str, FixedGrid | Nesterov]:
    """The flows as Figure 1 follows them: on finer slices than the trainings, shortest near t = 0."""
    slices = setting.profile.drawn_slices
    return {
        "gfe": FixedGrid(FLOW_TAU, slices, base=100.0),
        "gfe_nesterov": Nesterov(NESTEROV_TAU, slices, base=100.0),
    }


def curves_of_fig1(setting: Setting) -> pd.DataFrame:
    """The mean loss of the same batch along both flows at each stage kept: columns method, iteration, t, loss."""
    plan, flows, frames = figure1(setting), drawn_flows(setting), []
    batch = setting.load().train.images[:BATCH]
    for method, run in zip(plan.method, run_grid(plan.config, setting), strict=True):
        for images in (images for images in FLOW_KEPT if str(images) in run.weights):
            student = Objective(borrowed.with_weights(run.weights[str(images)]), batch)
            path = recorded(flows[method].encode(student, record=True))
            curve = {"method": method, "iteration": images // 16, "t": path.t[:, 0], "loss": path.loss.mean(dim=1)}
            frames.append(pd.DataFrame(curve))
    return pd.concat(frames)


def fig1(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Figure 1: the mean loss along both flows at three training iterations, darker being earlier."""
    flows, iterations = drawn_flows(setting), sorted(curves.iteration.unique())
    title = setting.load().title
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    for axes, (method, part) in zip(panels, curves.groupby("method"), strict=True):
        first, last = flows[method].times()[1], flows[method].tau
        start = first / 3  # where t = 0 is drawn beside the logarithmic axis
        for place, iteration in enumerate(iterations):
            curve, color = part[part.iteration == iteration], plt.get_cmap("viridis")(0.42 * place)
            line = ("-", "--", "-.")[place]
            axes.plot(curve.t[1:], curve.loss[1:], color=color, linestyle=line, label=f"iteration {iteration}")
            axes.plot(start, curve.loss.iloc[0], marker="o", markerfacecolor="white", color=color)
        powers = [10.0**k for k in range(-3, 6) if first < 10.0**k < 2 * last]
        axes.set_xscale("log")
        axes.set_xticks([start, *powers], labels=["0", *(f"{power:,.16g}" for power in powers)])
        axes.tick_params(which="minor", bottom=False)
        axes.set_xlabel("time $t$ of the flow (open marker: $t = 0$)")
        axes.set_title(f"{METHODS[method].look.short}, $\\tau$ = {last:,.0f}")
    panels[0].set_ylabel("mean cross-entropy of a batch")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    ends = curves.groupby(["method", "iteration"]).loss.last()
    lower = all(part.is_monotonic_decreasing for _, part in ends.groupby("method"))
    finding = "Each later decoder brings the same images to a lower loss" if lower else "Both flows, three decoders"
    heading = f"{title}: {BATCH} training images, {flows['gfe'].slices} slices"
    figure.suptitle(f"{finding}\n{heading}", fontsize="medium")
    alt = (
        f"Mean loss along the flow at {len(iterations)} training iterations, darker is earlier, "
        f"for GFE and second-order GFE, on {title}. It ends at "
        + "; ".join(f"{METHODS[m].look.short}, iteration {i}: {loss:.3f}" for (m, i), loss in ends.items())
        + "."
    )
    return Picture("fig1", figure, alt, curves)


def say_seen(many: Encoding, before: Tensor, after: Tensor) -> Text:
    """What the lessons of the page have shown, in three sentences with numbers."""
    path = recorded(many)
    left = (many.loss.mean() / path.loss[0].mean()).item()
    changed = "lowered" if after.mean() < before.mean() else "raised"
    return Text(
        "To encode an image is to follow $-\\nabla_z l$ from $z(0) = 0$, where the decoder draws the same picture for "
        "every image, and only the gradient knows which image it is. "
        f"AMD picks each step so that the loss falls: it rose at {count_rises(path)} of "
        f"{int(many.steps.sum()):,} steps of {len(many.loss)} images, and ended at {left:.0%} of where it began. "
        f"The decoder then learns at the latents that were found, where one update {changed} the loss."
    )


def say_elsewhere(encoding: Encoding, other: Encoding) -> Text:
    """Where the ``other`` encoding of the same image ends, which started elsewhere than at zero."""
    apart = (other.z - encoding.z).norm()
    return Text(
        f"From there the image is encoded with a loss of {other.loss[0]:.4f} instead of {encoding.loss[0]:.4f}, "
        f"at a distance of {apart:.1f} from the first $z_\\tau$, whose length is {encoding.z.norm():.1f}."
    )
