"""Intervals over seeds, against SciPy and by hand; the paper's numbers as the paper prints them."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.evidence.paper import paper_table


def test_an_interval_is_student_t_over_the_seeds():
    values = [0.21, 0.19, 0.23, 0.2]
    ours = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert ours.mean == pytest.approx(np.mean(values))
    assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_a_mean_and_no_interval():
    ours = interval([0.2])
    assert math.isnan(ours.half)
    assert ours.low == ours.high == 0.2
    assert str(ours) == "0.2000"
    with pytest.raises(ValueError, match="at least one"):
        interval([])


def test_what_is_missing_does_not_count():
    assert interval([0.2, math.nan, 0.4]) == interval([0.2, 0.4])
    none = interval([math.nan, math.nan])
    assert math.isnan(none.mean) and none.count == 0 and str(none) == f"{none:.2f}" == "missing"


def test_an_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1.0, 0.1, (2000, 3))
    covered = np.mean([(i := interval(row)).low < 1.0 < i.high for row in draws])
    assert 0.93 < covered < 0.97


def test_the_papers_tables_are_whole():
    table1 = paper_table("table1")
    assert list(table1.index) == [480, 960, 1920, 3840, 5760]
    assert table1.loc[1920].to_dict() == {"ae": 0.2488, "gfe_amd": 0.1558, "ae_then_amd": 0.2323}
    table2 = paper_table("table2")
    assert table2.loc["fashion_mnist"].to_dict() == {"ae": 0.2752, "gfe_amd": 0.2764}


def test_curves_over_seeds_have_a_mean_and_an_interval_at_each_point():
    frame = pd.DataFrame({
        "method": ["a", "a", "a", "b"], "images": [10, 10, 20, 10], "seconds": [1.0, 3.0, 5.0, 7.0],
        "loss": [0.2, 0.4, 0.1, 0.5],
    })  # fmt: skip
    frame.loc[4] = ["b", 20, 9.0, float("nan")]  # not measured: no point of the curve
    curve = over_seeds(frame, ["method", "images"], "loss", "seconds")
    assert list(zip(curve.method, curve.images, curve.seeds, strict=True)) == [("a", 10, 2), ("a", 20, 1), ("b", 10, 1)]
    first = curve.iloc[0]
    assert (first.x, first["mean"]) == (2.0, pytest.approx(0.3))
    assert (first.low, first.high) == pytest.approx(
        interval([0.2, 0.4])[0] + np.array([-1, 1]) * interval([0.2, 0.4])[1]
    )


def test_a_sign_is_asked_of_the_mean_alone():
    assert f"{interval([0.01, 0.03]):+.1%}" == "+2.0% ± 12.7%"
    assert f"{interval([-0.02]):+.1%}" == "-2.0%"


@pytest.mark.parametrize(
    ("values", "reach"),
    [([0.3], 0.0), ([0.2, 0.5], 0.15), ([0.2, 0.3, 0.7], interval([0.2, 0.3, 0.7]).half), ([math.nan], 0.0)],
)
def test_figures_draw_an_interval_from_three_seeds_on_and_of_two_the_seeds(values, reach):
    found = interval(values)
    assert found.reach == pytest.approx(reach)
    assert len(values) != 2 or found.half > 10 * reach  # what is judged is the interval all the same
