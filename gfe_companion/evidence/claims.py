"""The paper's claims, judged: one function for each claim of ``paper.toml``, its docstring the rule.

Each reads the CSV files behind the figures, so that anyone can judge again from what is published. ``read("table1")``
returns a file's frame. Everywhere, over seeds: *reproduced* needs the whole 95 % interval on the claimed side, *partly*
the mean alone (so one seed can give no more), *not reproduced* is the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.paper import paper

Read = Callable[[str], pd.DataFrame]
YES, PARTLY, NO = "reproduced", "partly", "not reproduced"
AMD, FIXED = "gfe_amd_uncapped", {"gfe": "GFE", "gfe_nesterov": "2nd order"}


class Finding(NamedTuple):
    """A verdict, what was measured in numbers, and one sentence that says what it means."""

    verdict: str
    measured: str
    sentence: str


def holds(advantage: Interval, low: float = 0.0, high: float = np.inf) -> str:
    """The verdict on an advantage that should lie between ``low`` and ``high``."""
    if advantage.count > 1 and low < advantage.low and advantage.high < high:
        return YES
    return PARTLY if low < advantage.mean < high else NO


def all_of(verdicts: list[str]) -> str:
    """The verdict on a claim of several parts: partly, unless all parts agree on yes or no."""
    return verdicts[0] if len(set(verdicts)) == 1 else PARTLY


def _pairs(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """``value`` by the columns ``by`` (rows) and method (columns)."""
    return frame.pivot_table(index=by, columns="method", values=value)


def _best(frame: pd.DataFrame) -> str:
    """GFE-amd as the paper has it where that was run, else uncapped."""
    return "gfe_amd" if "gfe_amd" in set(frame.method) else AMD


def few_images(read: Read) -> Finding:
    """In each row of Table 1 the loss of the AE minus that of GFE-amd, paired by seed, is above zero."""
    frame = read("table1")
    best, wide = _best(frame), _pairs(frame, ["images", "seed"], "test_loss")
    rows = {images: interval(part.ae - part[best]) for images, part in wide.groupby("images")}
    factors = [part.ae.mean() / part[best].mean() for _, part in wide.groupby("images")]
    kind = "literal AMD" if best == "gfe_amd" else "uncapped AMD"
    return Finding(
        all_of([holds(row) for row in rows.values()]),
        "; ".join(f"{images:,}: AE − GFE = {row}" for images, row in rows.items()),
        f"By {kind}, the AE's test loss is {min(factors):.2f} to {max(factors):.2f} times GFE's.",
    )


def improves_ae(read: Read) -> Finding:
    """In each row of Table 1, AMD's gain on the AE's decoder, on the same images, is above zero over seeds."""
    rows = {images: interval(part.gain) for images, part in read("table_05_gain").groupby("images")}
    return Finding(
        all_of([holds(row) for row in rows.values()]),
        "; ".join(f"{images:,}: {row}" for images, row in rows.items()),
        "The same decoder reconstructs better from a latent found by AMD than from its own encoder's.",
    )


def costs_more_time(read: Read) -> Finding:
    """The AE needs less compute time than GFE-amd needs for the loss GFE-amd ends at: the ratio is above one."""
    frame = read("fig4_right")
    best, ratios, cost = _best(frame), [], []
    for _, part in frame.groupby("seed"):
        ae, gfe = (part[part.method == method].sort_values("images") for method in ("ae", best))
        gfe = gfe[gfe.images <= max(paper()["table1"]["images"])]
        cost.append((gfe.seconds / gfe.images).iloc[-1] / (ae.seconds / ae.images).iloc[-1])
        falls = ae.validation_loss.cummin()
        if falls.iloc[-1] <= (target := gfe.validation_loss.iloc[-1]):
            ratios.append(gfe.seconds.iloc[-1] / np.interp(-target, -falls, ae.seconds))
    if not ratios:
        said = f"GFE's iteration costs {interval(cost):.0f} times the AE's"
        return Finding(PARTLY, said, "The AE was not followed far enough to reach GFE's loss.")
    ratio = interval(ratios)
    return Finding(
        holds(ratio, 1.0),
        f"time to equal loss, GFE / AE: {ratio:.1f}; an iteration: {interval(cost):.0f}",
        "The AE sees many more images, but its iterations are so much cheaper that it gets there first."
        if ratio.low > 1
        else "At this size the AE's cheaper iterations do not make up for the images that it needs.",
    )


def parity_when_converged(read: Read) -> Finding:
    """On MNIST and on FashionMNIST the ratio GFE-amd / AE, paired by seed, lies within 5 % of one."""
    wide = _pairs(read("table2"), ["dataset", "seed"], "test_loss")
    rows = {name: interval(part[AMD] / part.ae) for name, part in wide.groupby("dataset") if name != "segmented_mnist"}
    return Finding(
        all_of([holds(row, 0.95, 1.05) for row in rows.values()]),
        "GFE / AE: " + "; ".join(f"{name} {row:.3f}" for name, row in rows.items()),
        "One twelfth of the AE's images, by uncapped AMD.",
    )


def segmented_advantage(read: Read) -> Finding:
    """On SegmentedMNIST the loss of the AE minus that of GFE-amd, paired by seed, is above zero."""
    part = _pairs(read("table2").query("dataset == 'segmented_mnist'"), ["seed"], "test_loss")
    gap, encoder = interval(part.ae - part[AMD]), interval(part.ae - part.ae_then_amd)
    return Finding(
        holds(gap),
        f"AE − GFE = {gap}",
        f"On digits that no network saw, AMD on the AE's own decoder gains {encoder}: what fails there is the encoder.",
    )


def adjoint_hardly_helps(read: Read) -> Finding:
    """On a fixed grid the mean relative difference of the validation losses lies within 5 % of zero."""
    frame = read("fig3_left").rename(columns={"gradient": "method"}).query("solver == 'fixed grid'")
    wide = _pairs(frame, ["seed", "iterations"], "validation_loss").dropna()
    gain = interval((1 - wide.adjoint / wide.approximate).groupby("seed").mean())
    return Finding(
        holds(gain, -0.05, 0.05),
        f"relative gain {gain:.2%}",
        "The integral that is left out is not small, but training with it is hardly faster.",
    )


def adjoint_costs_five_times(read: Read) -> Finding:
    """On a fixed grid the seconds with the full adjoint over those without are within a fifth of 5; partly: dearer."""
    frame = read("table_02_cost").query("solver == 'fixed grid'").set_index("gradient")
    frame["passes"] = frame["passes to encode"] + frame["passes for the gradient"]
    times = ["passes", "seconds"]
    ratio = frame.loc["AdjointGradient", times] / frame.loc["ApproximateGradient", times]
    near = abs(ratio.seconds / paper()["adjoint"]["cost"] - 1) <= 0.2
    return Finding(
        YES if near else PARTLY if ratio.seconds > 1 else NO,
        f"{ratio.seconds:.1f} times the seconds, {ratio.passes:.1f} times the decoder passes",
        "One vector-Jacobian product a slice serves both lambda and theta, and RK4 spends eight passes on the flow.",
    )


def second_order_faster_at_first(read: Read) -> Finding:
    """Over the first 100 iterations the loss of GFE minus that of the 2nd order, paired by seed, is above zero."""
    wide = _pairs(read("fig3_right").query("iterations <= 100"), ["seed"], "validation_loss")
    gain = interval(wide.gfe - wide.gfe_nesterov)
    return Finding(holds(gain), f"GFE − 2nd order = {gain}", "The mean validation loss of the first 100 iterations.")


def second_order_slightly_dearer(read: Read) -> Finding:
    """The seconds of the 2nd order over those of GFE, for as many iterations, lie between 1 and 1.5."""
    frame = read("fig3_right").dropna(subset="validation_loss")
    wide = _pairs(frame, ["seed", "iterations"], "seconds").dropna()
    ratio = interval((wide.gfe_nesterov / wide.gfe).groupby("seed").last())
    return Finding(
        holds(ratio, 1.0, 1.5),
        f"seconds, 2nd order / GFE: {ratio:.2f}",
        "Both take as many decoder passes; the coupled system adds arithmetic on latents only.",
    )


def _jumps(read: Read) -> pd.Series:
    counted = read("fig_04_stability").groupby("method")[["jumps", "iterations"]].sum()
    return 1000 * counted.jumps / counted.iterations


def fixed_grids_unstable(read: Read) -> Finding:
    """Both fixed grids show rises of the validation loss above 10 % in ten iterations; partly: one of them does."""
    rate = _jumps(read)
    seen = [method for method in FIXED if rate[method] > 0]
    return Finding(
        {2: YES, 1: PARTLY, 0: NO}[len(seen)],
        "jumps in 1,000 iterations: " + ", ".join(f"{name} {rate[method]:.1f}" for method, name in FIXED.items()),
        "A training that breaks off counts as a jump." if seen else "None was seen on these grids in the time watched.",
    )


def amd_more_stable(read: Read) -> Finding:
    """AMD jumps less often than each fixed grid; partly: it never jumps, but a fixed grid does not either."""
    rate = _jumps(read)
    less = all(rate[AMD] < rate[method] for method in FIXED)
    return Finding(
        YES if less else PARTLY if rate[AMD] == 0 else NO,
        f"jumps in 1,000 iterations: {rate[AMD]:.1f}",
        "AMD's loss cannot rise within an encoding." if less else "There is no instability here to be better than.",
    )


def amd_converges_better(read: Read) -> Finding:
    """At the last iteration the loss of each fixed grid minus GFE-amd's, paired by seed, is above zero."""
    frame = read("fig3_right")
    wide = _pairs(frame[frame.iterations == frame.iterations.max()], ["seed"], "validation_loss")
    rows = {method: interval(wide[method] - wide[AMD]) for method in FIXED if method in wide}
    return Finding(
        all_of([holds(rows[method]) if method in rows else YES for method in FIXED]),
        "; ".join(f"{FIXED[method]} − AMD = {row}" for method, row in rows.items()),
        f"After {frame.iterations.max():,} iterations, by uncapped AMD.",
    )


def stiff(read: Read) -> Finding:
    """From an untrained decoder on, dopri5's late step falls and its gradients rise tenfold; partly: twofold."""
    stages = read("fig_04_stiffness").groupby(["seed", "images"])[["late_median", "evaluations"]].median()
    first, last = stages.groupby("seed").first(), stages.groupby("seed").last()
    step, work = interval(first.late_median / last.late_median), interval(last.evaluations / first.evaluations)
    least = min(step.mean, work.mean)
    return Finding(
        YES if least >= 10 else PARTLY if least >= 2 else NO,
        f"step {step:.1f} times shorter, gradients {work:.1f} times as many",
        f"From 0 to {stages.index.get_level_values('images').max():,} training images.",
    )


def _neighbours(read: Read) -> pd.DataFrame:
    return read("table_07_latents").pivot(index="seed", columns=["data", "method"], values="neighbours")


def similar_latents_when_trained(read: Read) -> Finding:
    """Accuracies of ten nearest neighbours in latent space, GFE minus AE, differ by less than 0.05."""
    wide = _neighbours(read)
    gap = interval(wide["full", AMD] - wide["full", "ae"])
    return Finding(holds(gap, -0.05, 0.05), f"GFE − AE = {gap}", "Accuracy of ten neighbours, both trained.")


def gfe_latents_keep_structure(read: Read) -> Finding:
    """GFE's accuracies of ten nearest neighbours, trained minus at 1 % of the data, differ by less than 0.05."""
    wide = _neighbours(read)
    gap = interval(wide["full", AMD] - wide["few", AMD])
    return Finding(holds(gap, -0.05, 0.05), f"trained − 1 % = {gap}", "Accuracy of ten neighbours of GFE's latents.")


def ae_latents_do_not_cluster(read: Read) -> Finding:
    """At 1 % the AE's ten nearest neighbours name less than half right, and fewer than GFE's; partly: only fewer."""
    wide = _neighbours(read)
    gap, right = interval(wide["few", AMD] - wide["few", "ae"]), interval(wide["few", "ae"])
    worse = holds(gap)
    return Finding(
        PARTLY if worse == YES and right.high >= 0.5 else worse,
        f"GFE − AE at 1 % = {gap}; the AE names {right:.0%} right",
        "A picture without clusters does not mean that neighbours are of mixed classes.",
    )
