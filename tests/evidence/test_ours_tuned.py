"""Our own claims on tuned methods: each rule on each side of its limit, and where two curves cross."""

import math

import pandas as pd
import pytest

from gfe_companion.evidence import ours_tuned as ours
from gfe_companion.evidence.claims import NO, UNDECIDED, YES, Unmeasured
from gfe_companion.evidence.clock import crossing

NOISE = (-1e-3, 0.0, 1e-3)


def tuned(gfe=(0.1, 0.09), own=(0.2, 0.12), optimum=(0.15, 0.1), seeds=3):
    """The file fig8_tuned: chosen losses at 5 and 80 s, and for each a lower one that was not chosen."""
    rows = [
        (method, encoding, tuning, budget, seed, budget, loss + NOISE[seed] * tuning, tuning == 1.0)
        for method, encoding, losses in (
            ("gfe_fast", "optimum", gfe),
            ("ae", "own", own),
            ("ae", "optimum", optimum),
            ("gfe_rehearsed", "optimum", gfe),
        )
        for budget, given in zip((5.0, 80.0), losses, strict=True)
        for tuning, loss in ((1.0, given), (2.0, 0.01))
        for seed in range(seeds)
    ]
    columns = ["method", "encoding", "tuning", "budget", "seed", "seconds", "loss", "chosen"]
    return pd.DataFrame(rows, columns=columns)


def judged(rule, frame):
    return rule(lambda name: frame).verdict


def test_two_curves_cross_where_their_lead_is_zero():
    ours, other = (pd.DataFrame({"seconds": [1.0, 100.0], "loss": losses}) for losses in ([0.1, 0.1], [0.2, 0.05]))
    assert crossing(ours, other) == pytest.approx(100 ** (1 / 1.5))
    assert crossing(other, ours) == 1.0
    assert crossing(ours, other + [0.0, 0.1]) == math.inf


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        (ours.ours_below_tuned_ae, "own"),
        (ours.ours_below_encoded_ae, "optimum"),
        (ours.ours_rehearsed_below_encoded_ae, "optimum"),
    ],
)
def test_tuned_is_judged_against_tuned_at_every_time(rule, other):
    assert judged(rule, tuned()) == YES
    assert judged(rule, tuned(seeds=1)) == UNDECIDED
    assert "every time from 5 s to 80 s" in rule(lambda name: tuned()).sentence
    crossed = tuned(**{other: (0.2, 0.06)})
    assert judged(rule, crossed) == NO
    assert "until 42 s" in rule(lambda name: crossed).sentence, "0.1 below at 5 s, 0.03 above at 80 s: at 16^(10/13)"
    assert "not even at 5 s" in rule(lambda name: tuned(gfe=(0.3, 0.3))).sentence
    with pytest.raises(Unmeasured):
        judged(rule, tuned().query("encoding != @other or method != 'ae'"))
    with pytest.raises(Unmeasured):
        judged(rule, tuned().assign(seconds=lambda f: f.seconds + 1000 * (f.method != "ae")))
