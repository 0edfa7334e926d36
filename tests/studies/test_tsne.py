"""Notebook 07's study, where a number can be had by hand or in closed form."""

import pandas as pd
import pytest

from gfe_companion.studies import tsne as study

MEASURES = {"neighbours": 0.5, "probe": 0.5, "silhouette": 0.1, "trustworthiness": 0.9}


def measured(neighbours):
    """Measures of networks, from {(data, method, seed): accuracy of nearest neighbours}."""
    rows = [dict(zip(("data", "method", "seed"), key, strict=True)) | {"images": 48} | MEASURES for key in neighbours]
    return pd.DataFrame(rows).assign(neighbours=list(neighbours.values()))


FOUR = measured({(data, method, 0): 0.5 for data in study.STAGES for method in (study.GFE, study.AE)})


def test_the_pixels_are_measured(setting, monkeypatch):
    seen = []
    monkeypatch.setattr(study, "structure", lambda z, labels: seen.append((z, labels)) or pd.DataFrame([MEASURES]))
    assert list(study.class_structure(setting)) == [0.5, 0.5, 0.1]
    (z, labels) = seen[0]
    test = setting.load().test
    assert (z == test.images[:150].numpy()).all() and (labels == test.labels[:150].numpy()).all()


def test_a_networks_measures_are_means_over_its_images():
    points = pd.concat([FOUR.assign(neighbours=0.0), FOUR.assign(neighbours=1.0), FOUR.assign(neighbours=0.5)])
    means = study.measures_of(points)
    assert list(means) == ["data", "method", "seed", "images", *study.NAMES]
    assert means.neighbours.tolist() == [0.5] * 4
    assert means.data.tolist() == FOUR.data.tolist(), "in the order of the runs"


def test_what_training_adds_is_paired_by_seed(setting):
    few = {("few", method, seed): 0.1 * seed for method in (study.GFE, study.AE) for seed in (1, 2)}
    full = {
        ("full", study.GFE, 1): 0.4,
        ("full", study.GFE, 2): 0.5,
        ("full", study.AE, 1): 0.2,
        ("full", study.AE, 2): 0.2,
    }
    found = study.gained(measured(few | full))
    assert (found[study.GFE].mean, found[study.GFE].half) == (pytest.approx(0.3), pytest.approx(0))
    assert found[study.AE].mean == pytest.approx(0.05)
    assert "grows by **0.300 ± 0.000** for GFE and by **0.050 ± " in study.say_gained(setting, measured(few | full))


def test_the_table_has_the_pixels_below_and_no_map_of_them(setting):
    table = study.table_latents(setting, FOUR, pd.Series(MEASURES).drop("trustworthiness"))
    shown = table.shown.set_index("latents")
    assert list(shown.index) == [
        "GFE-amd, uncapped, trained", "AE, trained",
        "GFE-amd, uncapped, after 48 images", "AE, after 48 images", "the pixels themselves",
    ]  # fmt: skip
    assert shown.loc["the pixels themselves"].tolist() == ["0.5000", "0.5000", "0.1000", "\u2013"]
    assert table.data is FOUR


def test_a_map_shows_one_seed_and_each_label_at_the_median_of_its_class(setting):
    rows = [
        (data, method, seed, 48, label, x + seed, 2 * x, float(x != 1))
        for data in study.STAGES
        for method in (study.GFE, study.AE)
        for seed in (0, 1)
        for label, x in ((3, 0.0), (3, 1.0), (3, 5.0), (8, -2.0))
    ]
    points = pd.DataFrame(rows, columns=["data", "method", "seed", "images", "label", "x", "y", "neighbours"])
    picture = study.fig7(setting, points)
    three, eight = picture.figure.axes[1].texts
    assert (three.get_text(), three.get_position()) == ("3", (1.0, 2.0))
    assert (eight.get_text(), eight.get_position()) == ("8", (-2.0, -4.0))
    assert picture.figure.axes[1].get_title() == "AE, after 48 images\n75% named right by 10 neighbours"
    assert study.fig6(setting, points).figure.axes[0].get_title().startswith("GFE-amd, uncapped, trained\n")
    assert list(picture.data) == ["method", "label", "x", "y"]
    assert sorted(picture.data.x) == sorted(2 * [0.0, 1.0, 5.0, -2.0]), "those of seed 0 alone"
    assert "seed 0" in picture.alt


def test_the_number_of_a_class_does_not_cover_another(setting):
    xy = pd.DataFrame({"x": [0.0, 10.0, 5.0, 5.1, 5.2, 5.0, 5.1, 9.0], "y": [0.0, 10.0, 5.0, 5.1, 5.2, 5.0, 5.2, 9.0]})
    places = study.number_places(xy.assign(label=[0, 0, 3, 3, 3, 5, 5, 5]))
    assert places[0] == (5.0, 5.0)
    assert places[5] == (9.0, 9.0), "the only point of its class that is clear of the first number"
    assert places[3] == pytest.approx((5.1, 5.1)), "no place is clear, so that it stands at its median"


def test_every_measure_has_a_panel_with_both_methods_and_the_pixels(setting):
    means = FOUR.assign(neighbours=[0.1, 0.2, 0.3, 0.4])
    picture = study.fig_measures(setting, means, pd.Series(MEASURES).drop("trustworthiness"))
    first, *_, of_map = picture.figure.axes
    curves = [list(line.get_ydata()) for line in first.lines]
    assert [0.1, 0.3] in curves and [0.2, 0.4] in curves
    assert any(line.get_linestyle() == ":" for line in first.lines)
    assert not any(line.get_linestyle() == ":" for line in of_map.lines)
    assert "10 neighbours: GFE-amd, uncapped 0.10 to 0.30, AE 0.20 to 0.40" in picture.alt


def test_gfe_is_ahead_in_the_title_only_where_the_interval_over_seeds_says_so(setting):
    shares = {(data, method, seed): 0.9 for data in study.STAGES for method in (study.GFE, study.AE) for seed in (0, 1)}
    clear = measured(shares | {("few", study.AE, 0): 0.40, ("few", study.AE, 1): 0.41})
    pixels = pd.Series(MEASURES).drop("trustworthiness")
    assert "more images right" in study.fig_measures(setting, clear, pixels).figure.get_suptitle()
    for unclear in (shares | {("few", study.AE, 0): 0.1, ("few", study.AE, 1): 0.9}, shares):
        assert not study.ahead_after_few(measured(unclear))
    assert not study.ahead_after_few(clear[clear.seed == 0])
