"""The rules of the claims on flows and their solvers (Sec. 3, Figures 1 and 3): notebooks 01 to 04.

One function for each claim of ``paper.toml``, its docstring the rule. Each reads the CSV files behind the figures, so
that anyone can judge again from what is published.
"""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.adjoint import advantages, last_advantage, mean_advantage, times_dearer
from gfe_companion.evidence.claims import (
    BATCH,
    EPOCH,
    NO,
    UNDECIDED,
    YES,
    Finding,
    Rate,
    Read,
    Unmeasured,
    all_of,
    fact,
    for_an_epoch,
    happens,
    having,
    holds,
    paired,
    rarer,
)
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.paper import paper

AMD, GRIDS = "gfe_amd_uncapped", {"gfe": "GFE", "gfe_nesterov": "2nd order"}
DOPRI5_STABLE = 3.3  # dopri5 is stable for steps up to about 3.3 / mu on the negative real axis


def amd_reduces_each_step(read: Read) -> Finding:
    """Not over seeds, but over the steps of one encoding: the loss falls at every step that AMD accepted."""
    steps = read("fig_01_path").loss.diff().dropna()
    rises = int((steps >= 0).sum())
    return Finding(
        fact(rises == 0),
        f"{rises} of {len(steps)} steps did not lower the loss",
        "The tests hold AMD to it on random decoders too.",
    )


def flow_sharpens_with_training(read: Read) -> Finding:
    """Not over seeds, but over the curves of the figure: under both flows each later curve ends at a lower loss."""
    ends = read("fig1").sort_values("t").groupby(["method", "iteration"]).loss.last()
    flows = {name: ends[method] for method, name in GRIDS.items()}
    return Finding(
        all_of(fact(flow.is_monotonic_decreasing and flow.is_unique) for flow in flows.values()),
        "; ".join(f"{name} {', '.join(f'{loss:.3f}' for loss in flow)}" for name, flow in flows.items()),
        f"Mean losses at the end of the flow, at iterations {', '.join(map(str, flows['GFE'].index))}.",
    )


def _advantage_of_the_adjoint(read: Read) -> tuple[Interval, Interval, int, str]:
    """On a fixed grid: the adjoint's advantage, in the mean and at the last iteration that both trainings reached; that
    iteration, and all in words.

    Raises :class:`Unmeasured` where no training was measured with both gradients.
    """
    found = advantages(read("fig3_left").query("solver == 'fixed grid'"))
    if found.empty:
        raise Unmeasured("The profile did not run adjoint and approximate side by side.")
    gain, end, last = mean_advantage(found), last_advantage(found), int(found.iterations.max())
    said = f"The mean over the iterations that both trainings reached, {last:,} at most; at the last {end:.1%}."
    return gain, end, last, said


def full_adjoint_slightly_better(read: Read) -> Finding:
    """On a fixed grid the mean relative gain in validation loss is above zero; slightly means below 5 %. Both are
    denied only after an epoch.
    """
    gain, _, last, said = _advantage_of_the_adjoint(read)
    parts = [holds(gain), holds(gain, high=0.05)]
    return Finding(all_of(for_an_epoch(part, last) for part in parts), f"relative gain {gain:.2%}", said)


def adjoint_hardly_helps(read: Read) -> Finding:
    """On a fixed grid the relative difference of the validation losses lies within 5 % of zero, in the mean and at the
    last iteration that both trainings reached, since it may grow. Denied only after an epoch, and affirmed only after
    the fewest images at which the paper compares methods, those of Table 1's first row: at first any two trainings are
    alike.
    """
    gain, end, last, said = _advantage_of_the_adjoint(read)
    verdict = all_of(for_an_epoch(holds(found, -0.05, 0.05), last) for found in (gain, end))
    alike = verdict == YES and last * BATCH < min(paper()["table1"]["images"])
    return Finding(UNDECIDED if alike else verdict, f"relative gain {gain:.2%}", said)


def adjoint_costs_five_times(read: Read) -> Finding:
    """On a fixed grid the full adjoint takes more seconds over seeds, and more decoder passes (an exact count, not over
    seeds), than the approximation; five times means within a fifth of 5.
    """
    frame = read("fig3_left").rename(columns={"gradient": "method"}).query("solver == 'fixed grid'")
    wide = paired(frame, ["seed", "iterations"], "seconds", ["adjoint", "approximate"])
    seconds = interval((wide.adjoint / wide.approximate).groupby("seed").last())
    ratio = float(times_dearer(read("table_02_cost")).passes["fixed grid"])
    low, high = (share * paper()["adjoint"]["cost"] for share in (0.8, 1.2))
    return Finding(
        all_of([holds(seconds, 1), holds(seconds, low, high), fact(ratio > 1), fact(low < ratio < high)]),
        f"{seconds:.1f} times the seconds, {ratio:.1f} times the decoder passes",
        "One vector-Jacobian product a slice serves both lambda and theta, and RK4 spends eight passes on the flow.",
    )


def second_order_faster_at_first(read: Read) -> Finding:
    """Over the first 100 iterations the loss of GFE minus that of the 2nd order, paired by seed, is above zero.
    Undecided where a flow was not followed for so long.
    """
    frame = read("fig3_right")
    wide = paired(frame.query("iterations <= 100"), ["seed", "iterations"], "validation_loss", GRIDS)
    gain = interval((wide.gfe - wide.gfe_nesterov).groupby("seed").mean())
    short = frame[frame.method.isin(GRIDS)].groupby(["method", "seed"]).iterations.max().min() < 100
    return Finding(
        UNDECIDED if short else holds(gain),
        f"GFE − 2nd order = {gain:.5f}",
        "The mean validation loss of the first 100 iterations.",
    )


def second_order_slightly_dearer(read: Read) -> Finding:
    """The seconds of the 2nd order over those of GFE, for as many iterations, are above 1; slightly: below 1.5."""
    wide = paired(read("fig3_right").dropna(subset="validation_loss"), ["seed", "iterations"], "seconds", GRIDS)
    ratio = interval((wide.gfe_nesterov / wide.gfe).groupby("seed").last())
    return Finding(
        all_of([holds(ratio, 1), holds(ratio, 1, 1.5)]),
        f"seconds, 2nd order / GFE: {ratio:.2f}",
        "Both take as many decoder passes; the coupled system adds arithmetic on latents only.",
    )


def _jumps(read: Read) -> tuple[dict[str, Rate], str]:
    """The rate of jumps of each method, on the finest grid, all seeds together; and all of it in words."""
    frame = read("fig_04_stability")
    coarse = frame.slices.between(1, frame.slices.max() - 1)
    counted, quarter = (
        part.groupby("method")[["jumps", "iterations"]].sum() for part in (frame[~coarse], frame[coarse])
    )
    if missing := {AMD, *GRIDS} - set(counted.index):
        raise Unmeasured(f"The profile did not run {' and '.join(sorted(missing))}.")
    rates = {row.Index: Rate.of(row.jumps, row.iterations) for row in counted.itertuples()}
    said = [
        f"{name} {counted.jumps[method]} in {counted.iterations[method]:,} iterations "
        f"(at most {1000 * rates[method].high:.1f} in 1,000)"
        for method, name in (GRIDS | {AMD: "AMD"}).items()
    ]
    beside = [
        f"{name} {quarter.jumps[method]} in {quarter.iterations[method]:,}"
        for method, name in GRIDS.items()
        if method in quarter.index
    ]
    on_a_quarter = f"; on N / 4 slices {', '.join(beside)}" if beside else ""
    return rates, f"jumps, N = {frame.slices.max()}: {', '.join(said)}{on_a_quarter}"


def fixed_grids_unstable(read: Read) -> Finding:
    """Not over seeds, but over the iterations of all seeds: under both fixed grids of N slices, the finest that were
    watched, the validation loss rises by more than 10 % within ten iterations. The rate that would matter is one such
    jump an epoch, 3,125 iterations: where none was seen, the claim is denied only if the upper 95 % bound of the rate
    (Poisson) is below that.
    """
    rates, said = _jumps(read)
    found = [happens(rates[method]) for method in GRIDS]
    return Finding(all_of(found), said, f"One an epoch would be {1000 / EPOCH:.2f} in 1,000 iterations.")


def amd_more_stable(read: Read) -> Finding:
    """Not over seeds, but over the iterations of all seeds: the rate of such jumps under AMD is below that under each
    fixed grid of N slices, their 95 % bounds (Poisson) apart. Denied where AMD's is higher, or where neither jumps once
    an epoch.
    """
    rates, said = _jumps(read)
    found = all_of(rarer(rates[AMD], rates[method]) for method in GRIDS)
    return Finding(found, said, "Within one encoding AMD's loss cannot rise; this is about the training.")


def amd_converges_better(read: Read) -> Finding:
    """At the last iteration to which all seeds of GFE-amd are drawn, the loss of each fixed grid minus GFE-amd's,
    paired by seed, is above zero. A grid whose trainings all broke off before it is worse. Denied only after an epoch.
    """
    frame = read("fig3_right")
    drawn = frame[frame.method == AMD].groupby("iterations").seed.nunique()
    last = frame[frame.iterations == drawn.index[drawn == drawn.max()].max()]
    there = [method for method in GRIDS if method in set(last.method)]
    wide = {method: paired(last, ["seed"], "validation_loss", [method, AMD]) for method in there}
    rows = {method: interval(part[method] - part[AMD]) for method, part in wide.items()}
    return Finding(
        all_of(
            for_an_epoch(holds(rows[method]), last.iterations.max()) if method in rows else fact(True)
            for method in GRIDS
        ),
        "; ".join(f"{GRIDS[method]} − AMD = {row}" for method, row in rows.items()),
        f"After {last.iterations.max():,} iterations, by uncapped AMD.",
    )


def stiffened(stages: pd.DataFrame) -> tuple[Interval, Interval, int]:
    """Over seeds, of medians over images: how many times shorter dopri5's late step is under the last decoder than
    under the untrained one, how many times its bound of stability it is there, and that decoder's iterations.

    ``stages``: the numbers behind fig_04_stiffness.
    """
    by_stage = stages.groupby(["seed", "images"]).median(numeric_only=True).dropna()
    first, last = by_stage.groupby("seed").first(), by_stage.groupby("seed").last()
    shorter, bound = (
        interval(first.late_median / last.late_median),
        interval(last.late_median * last.end / DOPRI5_STABLE),
    )
    return shorter, bound, by_stage.index.get_level_values("images").max() // BATCH


def stiff(read: Read) -> Finding:
    """The last decoder's flow is stiff: dopri5's late step lies within a factor of two of its bound of stability; and
    that step is shorter than under the untrained decoder. Extremely small means tenfold. Denied only after an epoch.
    """
    shorter, bound, iterations = stiffened(read("fig_04_stiffness"))
    parts = [holds(bound, 0.5, 2), holds(shorter, 1), holds(shorter, 10)]
    return Finding(
        all_of(for_an_epoch(part, iterations) for part in parts),
        f"step {shorter:.1f} times shorter, {bound:.2f} times the bound of stability",
        f"From the untrained decoder to {iterations:,} iterations of {BATCH} images.",
    )


def adaptive_solvers_take_exorbitant_time(read: Read) -> Finding:
    """Under the last decoder dopri5 needs more gradients an image than literal AMD, paired by seed. Exorbitant means
    ten times as many; that is denied only after an epoch. Where dopri5 was stopped before tau, its gradients are at
    least so many, and deny nothing.
    """
    costs = having(read("table_04_dopri5"), "stopped")
    wide = paired(costs, ["images", "seed"], "gradients", ["dopri5", "gfe_amd"])
    images = wide.index.get_level_values("images").max()
    ratio = interval(wide.loc[images].dopri5 / wide.loc[images].gfe_amd)
    stopped = costs[costs.images == images].stopped.max() > 0
    parts = [holds(ratio, 1), for_an_epoch(holds(ratio, 10), images // BATCH)]
    return Finding(
        all_of(UNDECIDED if stopped and part == NO else part for part in parts),
        f"gradients an image, dopri5 / literal AMD: {'at least ' if stopped else ''}{ratio:.1f}",
        f"After {images // BATCH:,} iterations of {BATCH} images; an epoch has {EPOCH:,}.",
    )
