"""What is watched later on: jumps, their rates, and the longest steps, from frames made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import amd_jumps, amd_later, amd_training, plans


def training(method, slices, seed, losses):
    rows = [(method, slices, seed, 10 * (n + 1), float(n), np.nan, loss, None) for n, loss in enumerate(losses)]
    columns = ["method", "slices", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return pd.DataFrame(rows, columns=columns)


def longest(method, slices, *shares, seed=0):
    rows = [
        (method, slices, seed, 10**stage, image, share * factor, 0.0, 0.0, 0.1, factor > 1)
        for stage, share in enumerate(shares)
        for image, factor in enumerate((0.1, 1.0, 3.0))
    ]
    columns = ["method", "slices", "seed", "iterations", "image", "share", "start", "t", "curvature", "rises"]
    return pd.DataFrame(rows, columns=columns)


CURVES = pd.concat([
    training("gfe", 8, 0, [1.0, 0.9, 0.8]),
    training("gfe", 2, 0, [1.0, 1.09, 1.25, 1.0]),
    training("gfe", 2, 1, [1.0, 0.9, np.nan]),
    training("gfe_amd_uncapped", 0, 0, [1.0, 0.5, 0.4]),
])  # fmt: skip
STEPS = pd.concat([
    longest("gfe", 8, 0.1, 0.2, 0.4),
    longest("gfe", 2, 0.4, 0.9, 1.6),
    longest("gfe", 2, 0.4, 1.5, math.inf, seed=1),
    longest("gfe_amd_uncapped", 0, 0.4, 0.9, 3.5),
])  # fmt: skip


def test_a_jump_is_a_rise_of_a_tenth_or_a_training_that_broke_off():
    jumps = amd_jumps.jumps_of(CURVES).set_index(["method", "slices", "seed"])
    assert jumps.jumps["gfe", 2].tolist() == [1, 1]
    assert jumps.iterations["gfe", 2].tolist() == [40, 30]
    assert jumps.jumps.sum() == 2
    assert jumps.largest_change["gfe", 2, 0] == pytest.approx(1.25 / 1.09 - 1)


def test_where_no_jump_was_seen_the_bound_is_that_of_a_poisson_rate():
    rows = [("gfe", 25, 0, 300, 0), ("gfe", 25, 1, 200, 0), ("gfe", 6, 0, 500, 5)]
    jumps = pd.DataFrame(rows, columns=["method", "slices", "seed", "iterations", "jumps"])
    rates = amd_jumps.rates_of(jumps)
    assert rates.rate.to_dict() == {("gfe", 6): 10, ("gfe", 25): 0}
    assert rates.bound["gfe", 25] == pytest.approx(-1000 * math.log(0.05) / 500)


def test_every_jump_and_every_end_is_marked(setting):
    picture = amd_jumps.fig_later(setting, CURVES)
    (axes,) = picture.figure.axes
    marked = [(str(line.get_marker()), list(line.get_xdata())) for line in axes.lines if len(line.get_xdata()) == 1]
    assert sorted(marked) == [("*", [30]), ("x", [30])]
    said = "4 trainings: 1 rise above 10 % (stars) and 1 broke off (crosses); a line is a seed"
    assert axes.get_title().replace("\n", " ").endswith(said)
    assert "GFE (N = 2) 2 in 70 iterations" in picture.alt
    assert [text.get_text() for text in picture.figure.legends[0].texts] == [
        "GFE (N = 8)", "GFE (N = 2)", "GFE-amd, uncapped",
    ]  # fmt: skip


def test_where_nothing_was_seen_the_title_says_so(setting):
    picture = amd_jumps.fig_later(setting, training("gfe", 8, 0, [1.0, 0.9]))
    said = picture.figure.axes[0].get_title().replace("\n", " ")
    assert said.endswith("1 training: none rises by more than 10 %, and none breaks off; a line is a seed")


def test_the_changes_are_those_of_each_grid_and_jumps_are_counted_below(setting):
    assert amd_jumps.changes_of(CURVES).change.tolist() == pytest.approx(
        [0.09, 1.25 / 1.09 - 1, -0.2, -0.1, -0.1, 0.8 / 0.9 - 1, -0.5, -0.2]
    )
    picture = amd_jumps.fig_stability(setting, amd_jumps.jumps_of(CURVES), CURVES)
    (axes,) = picture.figure.axes
    largest = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [line.get_marker() for line in largest] == ["v", "v", "o"]
    assert largest[1].get_markerfacecolor() == "white" != largest[0].get_markerfacecolor()
    assert largest[1].get_ydata().tolist() == pytest.approx([1.25 / 1.09, 0.9])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[1].startswith("GFE\n(N = 2)\n2 jumps, at most\n") and "no jump, at most" in labels[0]
    assert "jumps under GFE (N = 2)" in picture.figure.get_suptitle().replace("\n", " ")
    quiet = training("gfe", 8, 0, [1.0, 0.9, 0.88])
    said = amd_jumps.fig_stability(setting, amd_jumps.jumps_of(quiet), quiet).figure.get_suptitle().replace("\n", " ")
    assert "no jump; the largest change in ten iterations is -2.2% (one seed)" in said


def test_the_median_image_counts_and_the_first_stage_above_one_is_named():
    found = amd_later.longest_of(STEPS)
    assert amd_later.at_end(found, ("gfe", 8)) == 0.4
    assert amd_later.at_end(found, ("gfe", 2)) == math.inf
    assert amd_later.too_coarse_from(found, ("gfe", 2)) == 10, "the mean of 0.9 and 1.5"
    assert amd_later.too_coarse_from(found, ("gfe", 8)) == math.inf


def test_the_table_says_what_was_seen_and_what_could_have_been(setting):
    shown = amd_later.table_later(setting, amd_jumps.jumps_of(CURVES), STEPS).shown.set_index("training")
    assert shown.loc["GFE (N = 8)"].tolist() == ["30 (1)", "0", "99.86", "-10.0%", "0.40", "\u2013", "33%"]
    assert shown.loc["GFE (N = 2)"].tolist()[:2] == ["70 (2)", "2"]
    assert shown.loc["GFE-amd, uncapped", "longest step / bound, at the end"] == "3.50"


def test_the_reading_names_jumps_short_watches_and_steps_above_the_bound():
    said = amd_later.say_later(amd_jumps.jumps_of(CURVES), STEPS)
    assert "Jumps were seen under GFE (N = 2) (2)." in said
    assert "to rule out one jump an epoch: GFE (N = 8) and GFE-amd, uncapped." in said
    assert "above the bound of stability under GFE (N = 2) (inf" in said
    assert "GFE's longest step on the finer grid is 3.50 times the bound" in said
    quiet = amd_later.say_later(amd_jumps.jumps_of(training("gfe_amd_uncapped", 0, 0, [1.0] * 1000)), STEPS)
    assert "No jump was seen." in quiet and "too short" not in quiet


def test_a_flow_that_is_lost_leaves_the_others_in_the_figure(setting):
    picture = amd_later.fig_coarse(setting, STEPS)
    (axes,) = picture.figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["GFE (N = 2)"] == pytest.approx([0.4, 1.2, 1.6])
    assert drawn["GFE (N = 8), decoders by AMD"] == pytest.approx([0.4, 0.9, 3.5])
    finding = "on average too long at the end under GFE (N = 2) and GFE (N = 8), decoders by AMD"
    assert finding in axes.get_title().replace("\n", " ")
    short = amd_later.fig_coarse(setting, STEPS.assign(share=STEPS.share.clip(upper=0.5))).figure.axes[0].get_title()
    assert "still short enough" in short.replace("\n", " ")


def test_where_one_seed_is_followed_for_longer_a_thin_line_goes_on(setting):
    curves = pd.concat([training("gfe", 8, 0, [3.0, 2.0, 1.0]), training("gfe", 8, 1, [3.0, 2.0])], ignore_index=True)
    picture = amd_training.fig3_right(setting, curves.drop(columns="slices"))
    bold, *seeds, thin = picture.figure.axes[0].lines
    assert len(seeds) == 2, "two seeds are thin lines"
    assert (list(bold.get_xdata()), list(thin.get_xdata())) == ([10, 20], [30])
    assert "thin: 1 of them" in picture.figure.get_suptitle().replace("\n", " ")
    assert "After 20 iterations" in picture.alt


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_both_grids_and_amd_are_watched_and_figure_3_is_a_part_of_it(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    plan, drawn = plans.watched(setting), plans.figure3_right(setting)
    slices = setting.profile.slices
    assert set(plan.slices) == {0, slices, slices // 4}
    assert set(drawn.config) < set(plan.config)
    assert (drawn.groupby("seed").until.nunique() == 1).all()
    for row in plan.itertuples():
        assert row.config.solver == row.coarse.grid or row.method == "gfe_amd_uncapped"
        assert max(row.config.measured) == row.until and row.config.kept
    far = plan[plan.until == setting.profile.watched_images]
    counts = far.groupby(["slices", "method"]).seed.nunique()
    assert counts[slices // 4].tolist() == [setting.profile.flow_seeds] * 2
    assert counts[slices].tolist() == [setting.profile.fine_seeds] * 2


def test_at_paper_size_an_epoch_by_amd_is_trained_once():
    setting = Setting.of("paper", "embedded", device="cpu")
    amd = plans.watched(setting).query("method == 'gfe_amd_uncapped'")
    table2 = plans.table2(setting, "mnist").query("method == 'gfe_amd_uncapped'")
    assert set(amd.config) == {test.training for test in table2.config}
    assert {stiff.training for stiff in plans.stiffness(setting).config} == set(amd.config)
