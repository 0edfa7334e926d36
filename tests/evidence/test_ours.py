"""Our own claims on the accelerated GFE: each rule on each side of its limit, and what is read off a curve."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gfe_companion.evidence import ours
from gfe_companion.evidence.claims import BATCH, EPOCH, NO, PARTLY, UNDECIDED, YES, Unmeasured
from gfe_companion.evidence.clock import lead
from gfe_companion.evidence.scorecard import verdicts
from tests.evidence.frames import Place

WHOLE = 12 * EPOCH * BATCH  # training images of an autoencoder
NOISE = (-1e-3, 0.0, 1e-3)


def clock(gfe=(0.25, 0.15, 0.1), ae=(0.3, 0.2, 0.15), seconds=(2.0, 20.0, 200.0), seeds=3, images=WHOLE):
    """The file fig8_clock: losses of both methods at ``seconds``, under both schedules."""
    rows = [
        (schedule, method, seed, images * (place + 1) // 3, at, loss + NOISE[seed])
        for schedule in ours.SCHEDULES
        for method, losses in (("ae", ae), ("gfe_fast", gfe))
        for seed in range(seeds)
        for place, (at, loss) in enumerate(zip(seconds, losses, strict=True))
    ]
    return pd.DataFrame(rows, columns=["schedule", "method", "seed", "images", "seconds", "loss"])


def times(ratio, seeds=3):
    """The file table_08_verdict, in which GFE takes ``ratio`` of the autoencoder's time."""
    rows = [(seed, 100.0, 100.0 * ratio * (1 + NOISE[seed]), name) for name in ours.SCHEDULES for seed in range(seeds)]
    return pd.DataFrame(rows, columns=["seed", "ae", "gfe", "schedule"])


def judged(rule, frame):
    return rule(lambda name: frame).verdict


def test_below_on_the_clock_is_asked_at_every_time():
    rule = ours.ours_below_ae_on_the_clock
    assert judged(rule, clock()) == YES
    assert judged(rule, clock(seeds=1)) == UNDECIDED
    assert judged(rule, clock(gfe=(0.25, 0.15, 0.16))) == NO, "above it once is not below it everywhere"
    one = clock()
    one.loc[(one.schedule == "cosine") & (one.method == "gfe_fast"), "loss"] += 0.1
    assert judged(rule, one) == PARTLY


def test_whole_trainings_are_compared_from_five_seconds_on():
    early = {"gfe": (0.35, 0.15, 0.1), "seconds": (0.1, 5.0, 200.0)}
    assert judged(ours.ours_below_ae_on_the_clock, clock(**early)) == YES
    assert judged(ours.ours_below_ae_on_the_clock, clock(**early, images=WHOLE - 16)) == NO


@pytest.mark.parametrize(("ratio", "verdict"), [(0.3, YES), (0.8, PARTLY), (1.5, NO), (0.5, UNDECIDED), (math.inf, NO)])
def test_half_the_time(ratio, verdict):
    assert judged(ours.ours_halves_the_time, times(ratio)) == verdict
    assert judged(ours.ours_halves_the_time, times(ratio, seeds=1)) == UNDECIDED


@pytest.mark.parametrize(("end", "verdict"), [(0.16, YES), (0.2, NO)])
def test_a_rise_of_a_tenth_is_unstable(end, verdict):
    assert judged(ours.ours_is_stable, clock(gfe=(0.25, 0.15, end))) == verdict


def test_stability_is_watched_for_an_epoch():
    assert judged(ours.ours_is_stable, clock(images=EPOCH * BATCH)) == YES
    assert judged(ours.ours_is_stable, clock(images=EPOCH * BATCH - 16)) == UNDECIDED
    assert judged(ours.ours_is_stable, clock(gfe=(0.2, 0.1, 0.3), images=960)) == NO, "it was seen to rise"


def test_what_was_not_compared_is_not_measured():
    late = clock()
    late.loc[(late.method == "gfe_fast") & (late.schedule == "cosine"), "seconds"] += 1000
    with pytest.raises(Unmeasured, match="At a decaying rate"):
        judged(ours.ours_below_ae_on_the_clock, late)
    alone = clock()
    with pytest.raises(Unmeasured, match="At a constant rate and at a decaying rate"):
        judged(ours.ours_is_stable, alone[alone.method == "ae"])


def test_every_finding_is_judged_and_shown_as_ours(tmp_path):
    clock().to_csv(tmp_path / "fig8_clock.csv", index=False)
    times(0.3).to_csv(tmp_path / "table_08_verdict.csv", index=False)
    found = tomllib.loads(Path(ours.__file__).with_name("ours.toml").read_text(encoding="utf-8"))
    names = [finding["name"] for finding in found["finding"] if hasattr(ours, finding["name"])]
    lines = verdicts(Place(tmp_path), *names).splitlines()
    assert len(lines) == 3 and all(f"(ours): **{YES}**." in line for line in lines)
    assert "smallest lead: constant rate 19.2% ± 0.2%" in lines[0]


def test_a_lead_is_measured_where_both_curves_are_and_ours_goes_on_at_its_last_loss():
    a = pd.DataFrame({"seconds": [2.0, 20.0], "loss": [0.2, 0.1]})
    b = pd.DataFrame({"seconds": [1.0, 10.0, 100.0], "loss": [0.4, 0.3, 0.2]})
    found = lead(a, b)
    assert found.index.tolist() == [2.0, 10.0, 20.0, 100.0]
    between = 0.2 - 0.1 * math.log(5) / math.log(10)
    assert found[10.0] == pytest.approx(1 - between / 0.3)
    assert found[100.0] == pytest.approx(0.5)
    assert lead(a, b, start=15.0).index.tolist() == [15.0, 20.0, 100.0]
    assert lead(a.assign(seconds=[200.0, 300.0]), b).empty
    assert np.isfinite(found).all()
