"""Notebook 02: what the full adjoint costs, and what it gains in training (Figure 3, left)."""

from __future__ import annotations

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gfe_companion.evidence.adjoint import advantages, last_advantage, mean_advantage, times_dearer
from gfe_companion.evidence.claims import BATCH, UNDECIDED, holds
from gfe_companion.evidence.intervals import Interval, interval, over_seeds
from gfe_companion.evidence.paper import paper
from gfe_companion.methods import UNCAPPED, Look
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import borrowed
from gfe_companion.studies.drawing import WIDTH, draw_mean, spread
from gfe_companion.studies.plans import ADJOINT_TAU, figure3_left
from gfe_companion.studies.results import Picture, Table, Text, markdown
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.encoding import Solver
from gfe_core.fixed_grid import FixedGrid
from gfe_core.implicit import ImplicitGradient
from gfe_core.objective import Objective
from gfe_core.training import Gradient

SOLVERS = ("fixed grid", "AMD")  # whose paths the adjoint follows back
IMPLICIT = ImplicitGradient(gauss_newton=True, damping=1e-6)  # damped, so that no decoder is too flat for it
LOOKS = {  # of the gradients in Figure 3, in colours that no method has
    "approximate": Look("approximate", "approximate, Eq. (6)", "black", "o"),
    "adjoint": Look("full adjoint", "full adjoint, Eq. (2)-(4)", "#7b3294", "^", "--"),
}


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 02 rests on."""
    return [borrowed.training(setting), *figure3_left(setting).config]


def costs(setting: Setting) -> pd.DataFrame:
    """What one batch costs with each gradient, for each image, on a fixed grid and with AMD.

    Columns: solver, gradient, N (slices or steps), passes to encode, passes for the gradient, path in kB, seconds.
    """
    decoders, rows = borrowed.decoders(setting), []
    decoder, batch = decoders[min(decoders)], setting.load().train.images[:BATCH]
    solvers: tuple[Solver, ...] = (FixedGrid(ADJOINT_TAU, setting.profile.drawn_slices // 2), UNCAPPED)
    gradients: tuple[Gradient, ...] = (ApproximateGradient(), IMPLICIT, AdjointGradient())
    for name, solver in zip(SOLVERS, solvers, strict=True):
        for gradient in over(gradients, f"gradients, {name}"):
            seconds = []
            for _ in range(4):  # the first warms up
                objective, started = Objective(decoder, batch), time.process_time()
                encoding = solver.encode(objective, record=gradient.needs_path)
                gradient(objective, encoding)
                seconds.append(time.process_time() - started)
            path, slices = encoding.path, encoding.steps.double().mean().item()
            held = (path.z.nbytes + path.t.nbytes + path.loss.nbytes) / BATCH / 1e3 if path else 0.0
            passes = encoding.evaluations / BATCH, (objective.evaluations - encoding.evaluations) / BATCH
            rows.append((name, type(gradient).__name__, slices, *passes, held, float(np.median(seconds[1:]))))
    columns = ["solver", "gradient", "N", "passes to encode", "passes for the gradient", "path in kB", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def table_cost(setting: Setting, cost: pd.DataFrame) -> Table:
    """What :func:`costs` measured."""
    return Table(
        "table_02_cost",
        cost,
        cost.map(lambda x: f"{x:.0f}" if isinstance(x, float) else x).assign(seconds=cost.seconds.round(2)),
        f"The cost of one batch of {BATCH} images of {setting.load().title}, for each image",
        f"The decoder is the one after {min(setting.profile.table1_images)} training images. "
        "Passes are counted by the objective, in images; seconds are one thread's, the median of three. "
        "The path is all that the adjoint keeps: no graph spans more than one slice. "
        "The implicit gradient solves with the Gauss-Newton matrix, of one pass more than there are latent dimensions. "
        "*N*: slices of the grid, and the mean number of AMD's accepted steps.",
    )


def say_cost(cost: pd.DataFrame) -> Text:
    """What the full adjoint costs in all, beside what the paper says."""
    parts = [
        f"**{row.passes:.1f} times** the passes and **{row.seconds:.1f} times** the seconds {where}"
        for row, where in zip(times_dearer(cost).itertuples(), ("on a fixed grid", "along AMD's steps"), strict=True)
    ]
    both = ", and ".join(parts)
    return Text(
        f"*Reading it:* in all, the adjoint takes {both}. The paper speaks of "
        f"$O({paper()['adjoint']['cost']}N)$ passes against $O(N)$. "
        "RK4 spends eight passes a slice on the flow, so that the adjoint's four weigh less there; "
        "and a pass back through a backward pass takes longer than a forward one."
    )


def curves_of_fig3_left(setting: Setting) -> pd.DataFrame:
    """The trainings of Figure 3, left, as curves; ``failure`` says where the adjoint refused the grid.

    Columns: solver, gradient, seed, iterations, seconds, training_loss, validation_loss, failure.
    """
    plan = figure3_left(setting)
    curves = pd.concat([
        run.history.assign(solver=row.solver, gradient=row.method, seed=row.seed)
        for row, run in zip(plan.itertuples(), run_grid(plan.config, setting), strict=True)
    ])  # fmt: skip
    curves = curves.assign(iterations=curves.images // BATCH, failure=curves.get("failure"))
    columns = ["solver", "gradient", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return curves[columns]


def fig3_left(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Figure 3, left: validation losses of both gradients, on a fixed grid and along AMD's steps."""
    seeds, title = curves.seed.nunique(), setting.load().title
    summary = over_seeds(curves, ["solver", "gradient", "iterations"], "validation_loss", "iterations")
    summary = summary[summary.seeds == seeds]  # where every seed is still training
    iterations = sorted(summary.iterations.unique())
    titles = (f"fixed grid, $N = {setting.profile.adjoint_slices}$, $\\tau = {ADJOINT_TAU:g}$", "uncapped AMD")
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.7), sharey=True)
    for axes, solver, above in zip(panels, SOLVERS, titles, strict=True):
        for gradient, look in LOOKS.items():
            curve = summary[(summary.solver == solver) & (summary.gradient == gradient)]
            draw_mean(axes, curve, look, markersize=4)
        _mark_refusals(axes, curves[curves.solver == solver])
        axes.set(xlabel=f"iterations of {BATCH} images", title=above)
        axes.set_xticks(iterations[:: 1 + len(iterations) // 7])
    panels[0].set_ylabel("validation cross-entropy")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.suptitle(f"{finding_of_fig3_left(curves)}\n{title} ({spread(seeds)})", fontsize="medium")
    alt = (
        "Validation loss against iterations for the approximate gradient and the full adjoint, "
        f"on a fixed grid and on AMD's path, on {title}. "
        f"Trainings that ended early: {curves.failure.notna().sum()}."
    )
    return Picture("fig3_left", figure, alt, curves)


def finding_of_fig3_left(curves: pd.DataFrame) -> str:
    """The title: which gradient has the lower loss on the grid, if the interval of the advantage leaves out zero."""
    gain = mean_advantage(advantages(curves[curves.solver == SOLVERS[0]]))
    if holds(gain) != UNDECIDED:
        side = "lower" if gain.mean > 0 else "higher"
        return f"On a fixed grid the full adjoint's loss lies {abs(gain.mean):.1%} {side} on average"
    return "The approximate gradient and the full adjoint in training"


def _mark_refusals(axes: Axes, curves: pd.DataFrame) -> None:
    """A cross where a training ended because the adjoint refused the grid, at the last loss measured."""
    for number, row in enumerate(curves[curves.failure.notna()].itertuples()):
        same = curves[(curves.gradient == row.gradient) & (curves.seed == row.seed)]
        measured = same.validation_loss.dropna()
        height = measured.iloc[-1] if len(measured) else np.nan
        label = None if number else "refused: grid too coarse"
        axes.plot(row.iterations, height, "x", color=LOOKS[row.gradient].color, label=label, clip_on=False)


def signed(gain: Interval) -> str:
    """A gain with its sign and, over several seeds, its interval: "+1.2% ± 0.4%"."""
    return f"{gain:+.1%}"


def say_advantages(curves: pd.DataFrame) -> Text:
    """The adjoint's advantage as a table, and where it was refused."""
    rows = []
    for solver, part in advantages(curves).groupby("solver"):
        mean, first = mean_advantage(part), part.iterations.min()
        ends = {
            f"at iteration {first}": interval(part[part.iterations == first].advantage),
            "at the last one that all seeds share": last_advantage(part),
        }
        row = {"solver": solver, "advantage of the adjoint, mean": signed(mean)}
        rows.append(row | {when: signed(share) for when, share in ends.items()} | {"seeds": mean.count})
    refused = [
        f"{row.solver}, seed {row.seed}, after {row.iterations} iterations"
        for row in curves[curves.failure.notna()].itertuples()
    ]
    said = f"\n\nThe adjoint was refused on: {'; '.join(refused)}." if refused else ""
    return Text(markdown(pd.DataFrame(rows)) + said)
