"""Notebook 03's lesson on friction, on walks whose settling is known by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gfe_companion.studies import nesterov_friction as study


def momentum(kept, mu, s, steps):
    z_old, z, points = 0.0, 0.0, [0.0]
    for k in range(1, steps + 1):
        z_old, z = z, z + kept(k) * (z - z_old) - s * mu * (z - 1)
        points.append(z)
    return points


KEPT = {
    "0.2": lambda k: 1 - 0.2 * study.STEP**0.5,
    "2": lambda k: 1 - 2 * study.STEP**0.5,
    "3/t": lambda k: (k - 1) / (k + 2),
}


@pytest.fixture(scope="module")
def walks():
    yield study.walks_of(momentum, KEPT)
    plt.close("all")


def walk(friction, mu, until):
    """One that jumps to the minimum at the time ``until``."""
    t = np.arange(0, 20.0, 0.5)
    return pd.DataFrame({"curvature": mu, "friction": friction, "t": t, "z": np.where(t < until, 0.0, 1.0)})


def test_walks_follow_the_flows(walks):
    """Critical friction has a closed form, z = 1 - (1 + t) exp(-t) for mu = 1; and 3/t has Bessel's."""
    from gfe_companion.studies.nesterov import bessel

    steep = walks[(walks.curvature == 1) & (walks.t < 10)]
    critical = steep[steep.friction == "2"]
    assert np.abs(critical.z - (1 - (1 + critical.t) * np.exp(-critical.t))).max() < 0.1
    falling = steep[(steep.friction == "3/t") & (steep.t > 0)]
    assert np.abs(falling.z - bessel(falling.t.to_numpy())).max() < 0.1


def test_settling_is_told_in_multiples_of_the_best_on_each_bowl():
    ends = {("0.2", 1.0): 10, ("2", 1.0): 5, ("3/t", 1.0): 7.5, ("0.2", 0.01): 4, ("2", 0.01): 12, ("3/t", 0.01): 6}
    made = pd.concat([walk(*key, until + 0.5) for key, until in ends.items()])
    found = study.settled(made)
    assert found.loc["0.2"].tolist() == [2, 1] and found.loc["2"].tolist() == [1, 3]
    assert found.loc["3/t"].tolist() == [1.5, 1.5]
    assert study.serves_both(made)
    slow = pd.concat([made[made.friction != "3/t"], walk("3/t", 1.0, 10.5), walk("3/t", 0.01, 10.5)])
    assert not study.serves_both(slow)


def test_three_over_t_does_alike_on_both_bowls_and_the_title_says_so(walks):
    found = study.settled(walks)
    assert found.loc["3/t", 1.0] == pytest.approx(found.loc["3/t", 0.01], rel=0.05)
    assert found.loc["2", 0.01] > 5 and found.loc["0.2", 1.0] > 5
    picture = study.fig_friction(walks)
    assert "serves both" in picture.figure.get_suptitle()
    assert f"friction 2 {found.loc['2', 1.0]:.1f} and {found.loc['2', 0.01]:.1f}" in picture.alt
    assert picture.data.t.max() <= study.DRAWN
    swapped = walks.assign(friction=walks.friction.replace({"3/t": "2", "2": "3/t"}))
    assert "serves both" not in study.fig_friction(swapped).figure.get_suptitle()
    assert f"| 2 | {found.loc['2', 1.0]:.1f} | {found.loc['2', 0.01]:.1f} |" in study.say_friction(walks)


def test_the_readers_numbers_stand_beside_three_over_t():
    said = study.say_kept(lambda k: (k - 1) / (k + 2))
    assert "| 10 | 0.7500 | 5.0000 | 6.0000 |" in said
    assert "| 10 | 0.5000 | 10.0000 | 6.0000 |" in study.say_kept(lambda k: 0.5)
