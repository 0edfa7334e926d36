"""Notebook 02, what Eq. (6) leaves out: the integral of Eq. (4), along flows and in the trainings of Figure 3, left."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import torch

from gfe_companion.evidence.adjoint import advantages, mean_advantage
from gfe_companion.evidence.claims import BATCH
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import borrowed
from gfe_companion.studies.adjoint_vs_approximate import SOLVERS, signed
from gfe_companion.studies.adjoint_vs_autograd import relative_error
from gfe_companion.studies.drawing import WIDTH, plain_ticks
from gfe_companion.studies.plans import figure3_left
from gfe_companion.studies.results import Picture, Text, listed
from gfe_core.adjoint import AdjointGradient, ApproximateGradient, TooCoarse
from gfe_core.fixed_grid import FixedGrid, constant
from gfe_core.models import Decoder
from gfe_core.objective import Objective

TAUS = (0.1, 1, 10, 100, 1000, 10_000)  # final times for which the integral is measured


def stages(setting: Setting) -> dict[int, Decoder]:
    """An untrained decoder, and those of the first and the third row of Table 1, by the number of images seen."""
    fresh = Decoder(generator=torch.Generator().manual_seed(setting.seeds[0]))
    return {0: fresh} | dict(list(borrowed.decoders(setting).items())[:3:2])


def neglected(setting: Setting) -> pd.DataFrame:
    """The share of the whole gradient that Eq. (6) leaves out, for flows of ever longer tau at each of :func:`stages`.

    In float64 with alpha = 1; the number of slices is doubled until the adjoint accepts them. Columns: images, tau,
    slices, gradient (the mean norm of grad_z l at tau), loss, share.
    """
    batch, rows = setting.load().train.images[:4].double(), []
    for stage, decoder in stages(setting).items():
        objective, slices = Objective(decoder.double(), batch), setting.profile.drawn_slices // 4
        for tau in over(TAUS, f"flows under the decoder after {stage:,} images"):
            whole = None
            while whole is None:
                encoding = FixedGrid(tau, slices, base=100.0, alpha=constant).encode(objective, record=True)
                try:
                    whole = AdjointGradient()(objective, encoding)
                except TooCoarse:
                    slices *= 2
            remaining = objective.value_and_grad(encoding.z)[1].norm(dim=1).mean().item()
            share = relative_error(ApproximateGradient()(objective, encoding), whole)
            rows.append((stage, tau, slices, remaining, encoding.loss.mean().item(), share))
    return pd.DataFrame(rows, columns=["images", "tau", "slices", "gradient", "loss", "share"])


def fig_integral(setting: Setting, left_out: pd.DataFrame) -> Picture:
    """The share that is left out against the final time, and against the gradient in z that remains there."""
    title, longest = setting.load().title, left_out[left_out.tau == left_out.tau.max()]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.8), sharey=True)
    for place, (stage, part) in enumerate(left_out.groupby("images")):
        look = {"color": plt.get_cmap("viridis")(0.4 * place), "marker": "osD"[place]}
        panels[0].loglog(part.tau, part.share, label=f"{stage:,} images", **look)
        panels[1].loglog(part.gradient, part.share, **look)
    panels[0].set(xlabel="final time $\\tau$", ylabel="dropped / whole gradient")
    panels[1].set(xlabel="remaining gradient $|\\nabla_z l|$")
    for axis in (panels[0].xaxis, panels[0].yaxis, panels[1].xaxis):
        plain_ticks(axis)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, title="decoder trained on", title_fontsize=8)
    found = "What Eq. (6) drops is largest on the way, and falls towards the minimiser"
    heading = found if past_peak(left_out) == left_out.images.nunique() else "What Eq. (6) drops"
    figure.suptitle(f"{heading}\n{title}, 4 images", fontsize="medium")
    alt = (
        "The relative size of the neglected integral against the final time and against the remaining gradient, "
        f"at {len(longest)} stages of training, on {title}. "
        f"At the longest time it is {listed([f'{share:.1%}' for share in longest.share])}."
    )
    return Picture("fig_02_integral", figure, alt, left_out)


def neglected_in_training(setting: Setting) -> dict[str, float]:
    """The same share for one batch at the last weights that the trainings of Figure 3, left, kept; by solver."""
    plan, batch, shares = figure3_left(setting), setting.load().train.images[:BATCH], {}
    for solver in SOLVERS:
        config = plan[(plan.solver == solver) & (plan.method == "approximate")].config.iloc[0]
        kept = run_grid([config], setting)[0].weights
        objective = Objective(borrowed.with_weights(kept[max(kept, key=int)]), batch)
        encoding = config.solver.encode(objective, record=True)
        whole = AdjointGradient()(objective, encoding)
        shares[solver] = relative_error(ApproximateGradient()(objective, encoding), whole)
    return shares


def say_integral(setting: Setting, left_out: pd.DataFrame) -> Text:
    """Where the neglected share peaks, what it is for the longest flow, and what it is in training."""
    peaks = left_out.loc[left_out.groupby("images").share.idxmax()]
    longest, training = left_out[left_out.tau == left_out.tau.max()], neglected_in_training(setting)
    peak = listed([f"{row.share:.0%} ($\\tau$ = {row.tau:,g}, {row.images:,} images)" for row in peaks.itertuples()])
    return Text(
        "*Reading it:* each curve is one decoder. In the left panel time runs to the right. "
        "In the right panel it runs to the left, since the gradient gets smaller with time. "
        f"The share that is dropped peaks at {peak}, "
        f"and at $\\tau$ = {TAUS[-1]:,} it is {listed([f'{share:.1%}' for share in longest.share])}. "
        "In the trainings of Figure 3 (left), at the last weights kept, "
        f"it is **{training['fixed grid']:.0%}** on the fixed grid and **{training['AMD']:.0%}** along AMD's steps. "
        "A gradient that is off by such a share can still be a good direction. "
        "Figure 3 shows what it does to learning."
    )


def past_peak(left_out: pd.DataFrame) -> int:
    """At how many stages the share at the longest time is below nine tenths of its largest."""
    by_stage = left_out.sort_values("tau").groupby("images").share
    return int((by_stage.last() < 0.9 * by_stage.max()).sum())


def say_seen(curves: pd.DataFrame, left_out: pd.DataFrame) -> Text:
    """What the page has shown, in numbers."""
    gains = {solver: signed(mean_advantage(part)) for solver, part in advantages(curves).groupby("solver")}
    return Text(
        "The advantage of the full adjoint, by which its validation loss lies lower, "
        f"is **{gains['fixed grid']}** on a fixed grid and **{gains['AMD']}** along AMD's steps, "
        "on average over the iterations that both trainings reached. "
        f"The neglected term has passed its peak before $\\tau$ = {TAUS[-1]:,} at {past_peak(left_out)} "
        f"of {left_out.images.nunique()} stages."
    )
