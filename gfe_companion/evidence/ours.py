"""The rules of our own claims, on the accelerated GFE against the autoencoder (beyond the paper): notebook 08.

One function for each finding of ``ours.toml``, its docstring the rule, in the words of the paper's claims. Each reads
the CSV files behind the figures, so that anyone can judge again from what is published.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from gfe_companion.evidence.claims import BATCH, EPOCH, UNDECIDED, YES, Finding, Read, Unmeasured, all_of, holds
from gfe_companion.evidence.clock import lead, rise
from gfe_companion.evidence.intervals import Interval, interval

AE, FAST = "ae", "gfe_fast"
SCHEDULES = {"constant": "constant rate", "cosine": "decaying rate"}
SETTLED = 5.0  # seconds after which whole trainings are compared


def start_of(ae: pd.DataFrame) -> float:
    """From which second on curves are compared with that of ``ae``: five in a training of twelve epochs, else zero."""
    return SETTLED if ae.images.max() >= 12 * EPOCH * BATCH else 0.0


def _by_schedule(read: Read, measure: Callable[[pd.DataFrame, pd.DataFrame], float]) -> dict[str, Interval]:
    """``measure`` of the curves of AE and accelerated GFE, an interval over seeds for each learning rate."""
    values: dict[str, list[float]] = {}
    for (schedule, _), part in read("fig8_clock").groupby(["schedule", "seed"], sort=False):
        ae, fast = (part[part.method == method].sort_values("images") for method in (AE, FAST))
        if len(ae) and len(fast) and not math.isnan(value := measure(ae, fast)):
            values.setdefault(schedule, []).append(value)
    return _intervals(values)


def _intervals(values: dict[str, list[float]]) -> dict[str, Interval]:
    if missing := [said for schedule, said in SCHEDULES.items() if schedule not in values]:
        raise Unmeasured(
            f"At a {' and at a '.join(missing)} AE and accelerated GFE were not measured over a common time."
        )
    return {said: interval(values[schedule]) for schedule, said in SCHEDULES.items()}


def _said(rows: dict[str, Interval], spec: str) -> str:
    return ", ".join(f"{schedule} {row:{spec}}" for schedule, row in rows.items())


def ours_below_ae_on_the_clock(read: Read) -> Finding:
    """For each learning rate the smallest lead of a seed is above zero. A lead is that of the accelerated GFE's test
    loss on the AE's, relative, at a measured time of either, up to the AE's last point. Times begin at 5 s where the AE
    was trained for twelve epochs, else where both curves do.
    """
    rows = _by_schedule(read, lambda ae, fast: float(lead(fast, ae, start_of(ae)).min()))
    return Finding(
        all_of(holds(row) for row in rows.values()),
        f"smallest lead: {_said(rows, '.1%')}",
        "The AE has the paper's settings, untuned, and encodes test images by its own encoder. Both have the same "
        "learning rates; the clock counts training alone.",
    )


def ours_halves_the_time(read: Read) -> Finding:
    """For each learning rate the seconds in which the AE first comes down to its last test loss, over those in which
    the accelerated GFE does, are above 1; at most half the time means above 2. A seed that does not come down to it has
    0.
    """
    frame = read("table_08_verdict")
    ratio = frame.ae / frame.gfe  # zero where gfe is infinite
    rows = _intervals({str(name): list(part) for name, part in ratio.groupby(frame.schedule)})
    return Finding(
        all_of(holds(row, limit) for row in rows.values() for limit in (1, 2)),
        f"seconds to the AE's last loss, AE / GFE: {_said(rows, '.1f')}",
        "Its iterations are dearer than the AE's, but it needs fewer of them."
        if min(row.low for row in rows.values()) > 1
        else "At this size it does not surely save time.",
    )


def ours_is_stable(read: Read) -> Finding:
    """For each learning rate the largest rise of a seed's test loss above its lowest so far, at the points of the
    curve, is below 10 %. Undecided if a training took less than an epoch, 50,000 images.
    """
    rows = _by_schedule(read, lambda ae, fast: rise(fast.loss))
    trained = read("fig8_clock").query("method == @FAST")
    seen = trained.groupby(["schedule", "seed"]).images.max().min()
    found = all_of(holds(row, -math.inf, 0.1) for row in rows.values())
    return Finding(
        UNDECIDED if found == YES and seen < EPOCH * BATCH else found,
        f"largest rise: {_said(rows, '.1%')}",
        f"The shortest of these trainings took {seen:,} images.",
    )
