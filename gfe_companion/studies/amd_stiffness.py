"""Notebook 04, on stiffness: how curved the loss becomes, what dopri5 pays for it, and what a fixed grid would need."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
from torch import Tensor, nn

from gfe_companion.evidence.claims.flows import DOPRI5_STABLE, stiffened
from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.methods import FLOW_TAU, LITERAL, METHODS, UNCAPPED
from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.stiffness import ATOL, RTOL
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import borrowed, plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, plain, plain_ticks, spread
from gfe_companion.studies.encoding_as_gradient_flow import recorded
from gfe_companion.studies.results import Picture, Table, Text
from gfe_core.fixed_grid import FixedGrid
from gfe_core.objective import Objective

RK4_BOUND = 2.79  # the classical Runge-Kutta method is stable where its step times the curvature stays below this
BATCH = 16  # training images on which fixed grids are tried


def runs_of_stiffness(setting: Setting) -> pd.DataFrame:
    """The trainings whose flows were measured: columns seed, config, run."""
    plan = plans.stiffness(setting)
    return plan.assign(run=run_grid(plan.config, setting))


def stages_of(runs: pd.DataFrame) -> pd.DataFrame:
    """What :func:`~gfe_companion.runs.stiffness.stiffness` measured, one row an image, stage and seed.

    Its columns, then ``images``, seen in training (0: the fresh decoder), and ``seed``.
    """
    return pd.concat([row.run.history.assign(seed=row.seed) for row in runs.itertuples()])


def growth(stages: pd.DataFrame) -> pd.DataFrame:
    """Medians over images, then means over seeds, by stage."""
    return stages.groupby(["images", "seed"]).median(numeric_only=True).groupby("images").mean()


def fig_stiffness(setting: Setting, stages: pd.DataFrame) -> Picture:
    """The largest curvature, dopri5's gradients and its late step against the training images seen."""
    by_seed = stages.groupby(["images", "seed"]).median(numeric_only=True).reset_index()
    seen, seeds = sorted(by_seed.images.unique()), by_seed.seed.nunique()
    by_seed["place"] = by_seed.images.map(seen.index)
    by_seed["start"] = by_seed.start.where(by_seed.start > 0)  # the axis is logarithmic; the text tells of the others
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 3.5))
    for column, axes, drawn in (
        ("start", panels[0], {"marker": "s", "linestyle": "--", "label": "$\\mu$ at $z = 0$"}),
        ("end", panels[0], {"label": "$\\mu$ at $z_\\tau$"}),
        ("evaluations", panels[1], {"label": None}),
        ("late_median", panels[2], {"label": None}),
    ):
        draw_mean(axes, over_seeds(by_seed, ["images"], column, "place"), METHODS["gfe_amd_uncapped"].look, **drawn)
    bound = DOPRI5_STABLE / by_seed.groupby("place").end.mean()
    panels[2].plot(bound, color="gray", linestyle=":", label=f"dopri5 is stable below ${DOPRI5_STABLE}/\\mu(z_\\tau)$")
    for axes, what in zip(panels, ("largest curvature $\\mu$", "dopri5: gradients", "dopri5: late step"), strict=True):
        axes.set(title=what, yscale="log", xlabel="training images")
        axes.set_xticks(range(len(seen)), [f"{stage:,}" for stage in seen], rotation=60, fontsize=7)
        plain_ticks(axes.yaxis)
    handles = [handle for axes in panels for handle in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    title, grown = setting.load().title, growth(stages)
    fold = grown.end.iloc[-1] / grown.end.iloc[0]
    finding = f"Under the last decoder $\\mu$ is {fold:,.0f} times that under the fresh one"
    figure.suptitle(f"{finding}\n{title}: medians over images; {spread(seeds)}", fontsize="medium")
    alt = (
        f"Curvature, dopri5's gradients and its late step against training images, on {title}. "
        f"From the fresh decoder to {grown.index[-1]:,} images "
        f"the curvature at the end grows from {grown.end.iloc[0]:.4f} to {grown.end.iloc[-1]:.4f}, "
        f"the gradients from {grown.evaluations.iloc[0]:.0f} to {grown.evaluations.iloc[-1]:.0f}."
    )
    return Picture("fig_04_stiffness", figure, alt, stages)


def say_stiffness(runs: pd.DataFrame, stages: pd.DataFrame) -> Text:
    """By how much the curvature and the work of dopri5 grow, and how near its late step is to its bound."""
    grown, config = growth(stages), runs.config.iloc[0]
    first, last = grown.iloc[0], grown.iloc[-1]
    shorter, bound, _ = stiffened(stages)
    stopped = int((stages.reached < config.tau).sum())
    least = "at least " if (stages[stages.images == grown.index[-1]].reached < config.tau).any() else ""
    hills = grown.index[grown.start < 0]
    hill = (
        f"From {hills[0]:,} images on, $\\mu$ at $z = 0$ is negative, which a logarithmic axis cannot show: "
        "the loss there is a hill that curves down in every direction.\n\n"
        if len(hills)
        else ""
    )
    return Text(
        f"*Reading it:* from the fresh decoder to {grown.index[-1]:,} images, "
        f"the curvature at $z_\\tau$ grows **{last.end / first.end:,.0f}-fold**. "
        f"The step that dopri5 takes late in the flow becomes **{shorter:.0f} times** shorter, "
        f"and it needs **{least}{last.evaluations / first.evaluations:.1f} times** the gradients "
        f"(tolerances {plain(RTOL)} and {plain(ATOL)} on $z$). "
        f"{stopped} of {len(stages)} encodings were stopped at {config.limit:,} gradients.\n\n{hill}"
        "The dotted line is about the step at which dopri5 loses stability: "
        "where the late step follows it, the flow is stiff. "
        f"Under the last decoder the late step is {bound:.2f} times that bound."
    )


def costs_of_flows(setting: Setting, runs: pd.DataFrame, stages: pd.DataFrame) -> pd.DataFrame:
    """Gradients an image that dopri5 and literal AMD take on the same images.

    Columns images, seed, method, gradients, stopped: means over the images, the last the share of them that dopri5 had
    not brought to tau when it had spent its limit. AMD counts every trial, accepted or not, as one gradient.
    """
    rows = []
    spent = stages.groupby(["images", "seed"]).evaluations.mean()
    for row in runs.itertuples():
        batch = setting.load().train.images[: row.config.count]
        weights = run_grid([row.config.training], setting)[0].weights
        for images in over(sorted(map(int, weights)), "stages of training"):
            objective = Objective(borrowed.with_weights(weights[str(images)]), batch)
            trials = LITERAL.encode(objective).evaluations / 2 / len(batch)
            cut = (stages[(stages.images == images) & (stages.seed == row.seed)].reached < row.config.tau).mean()
            rows += [(images, row.seed, "dopri5", spent[images, row.seed], cut)]
            rows += [(images, row.seed, "gfe_amd", trials, 0.0)]
    return pd.DataFrame(rows, columns=["images", "seed", "method", "gradients", "stopped"])


def table_dopri5(setting: Setting, costs: pd.DataFrame) -> Table:
    """What following the flow by dopri5 costs, beside literal AMD, at each stage of training."""
    shown = []
    for images, part in costs.pivot(index=["images", "seed"], columns="method", values="gradients").groupby("images"):
        stopped = costs[(costs.images == images) & (costs.method == "dopri5")].stopped.mean()
        least = "at least " if stopped else ""
        shown.append({
            "training images": f"{images:,}",
            "dopri5": f"{least}{interval(part.dopri5):,.0f}",
            "stopped": f"{stopped:.0%}",
            "literal AMD": f"{interval(part.gfe_amd):,.0f}",
            "ratio": f"{least}{interval(part.dopri5 / part.gfe_amd):.1f}",
        })  # fmt: skip
    return Table(
        "table_04_dopri5", costs, pd.DataFrame(shown),
        f"Gradients for each image, by dopri5 on the flow and by literal AMD, on {setting.load().title}",
        "Mean ± 95 % interval over seeds, on the same training images. "
        "A gradient is one forward and one backward pass; AMD's are its trials, accepted or not. *stopped*: encodings "
        "by dopri5 that had not reached $\\tau$ when their limit of gradients was spent, so that its count is a bound.",
    )  # fmt: skip


def slices_needed(mu: float) -> float:
    """The N at which RK4 is just stable on every slice of a :class:`FixedGrid`, where the curvature is ``mu``.

    That is h alpha mu = 2.79 where h alpha is largest; h is proportional to 1/N.
    """
    solver = FixedGrid(FLOW_TAU, 1000)
    largest = max((later - t) * solver.alpha(t, solver.tau) for t, later in pairwise(solver.times()))
    return solver.slices * largest * mu / RK4_BOUND


def on_fixed_grids(decoder: nn.Module, batch: Tensor, grids: tuple[int, ...]) -> dict[str, float]:
    """How the images of ``batch`` (B, P) fare on fixed grids of so many slices: the columns of :func:`table_grid`."""
    objective = Objective(decoder, batch)
    best = UNCAPPED.encode(objective)
    mu = curvature(decoder, batch, best.z)[:, -1]
    row = {"N needed, median": slices_needed(mu.median().item()), "N needed, worst": slices_needed(mu.max().item())}
    for slices in grids:
        encoding = FixedGrid(FLOW_TAU, slices).encode(objective, record=True)
        rises = (recorded(encoding).loss.diff(dim=0) > 1e-5).any(dim=0)
        row[f"loss rises, N={slices}"] = rises.double().mean().item()
        row[f"excess, N={slices}"] = (encoding.loss.mean() / best.loss.mean() - 1).item()
    return row


def fixed_grids(setting: Setting) -> pd.DataFrame:
    """:func:`on_fixed_grids` for decoders that learned by AMD or on the grid itself: columns trained by, images, those.

    The decoders are the first seed's, at each stage that was kept.
    """
    plan = plans.figure3_right(setting).query("method == 'gfe'")
    on_grid = run_grid(plan.config[plan.seed == setting.seeds[0]], setting)[0]
    by_amd = run_grid([borrowed.training(setting)], setting)[0]
    batch, rows = setting.load().train.images[:BATCH], []
    grids = tuple(setting.profile.drawn_slices // part for part in (8, 4, 2))
    for school, run in {"GFE-amd": by_amd, "GFE": on_grid}.items():
        kept = sorted(run.weights.items(), key=lambda item: int(item[0]))
        for images, weights in over(kept, f"decoders by {school}"):
            decoder = borrowed.with_weights(weights)
            rows.append({"trained by": school, "images": int(images)} | on_fixed_grids(decoder, batch, grids))
    return pd.DataFrame(rows)


def table_grid(setting: Setting, grid: pd.DataFrame) -> Table:
    """The slices that :func:`fixed_grids` would need, and what coarser ones do."""
    shown = grid.copy()
    for column in grid.columns[2:]:
        pattern = "{:.0f}" if "needed" in column else "{:+.1%}" if "excess" in column else "{:.0%}"
        shown[column] = grid[column].map(pattern.format)
    return Table(
        "table_04_grid", grid, shown,
        f"Fixed grids under decoders at several stages of training, on {setting.load().title}, {BATCH} training images",
        "*N needed*: slices for RK4 to be stable where uncapped AMD ends. "
        "*loss rises*: images whose loss rises from one slice to the next somewhere. "
        "*excess*: mean loss at the end above that of uncapped AMD.",
    )  # fmt: skip
