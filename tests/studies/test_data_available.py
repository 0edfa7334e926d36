"""The study of images available: where points are, and what tables and sentences make of chosen points."""

import pandas as pd
import pytest

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.available import ae_minus_gfe
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import AVAILABLE_SEEN, PROFILES
from gfe_companion.studies import data_available as study
from gfe_companion.studies import data_plans as plans

LOSSES = {("ae", "own"): 0.2, ("ae", "optimum"): 0.15, ("gfe_fast", "own"): 0.1, ("gfe_fast", "optimum"): 0.09}


def made(reference, seeds=2, last=False):
    """Two points of every training on fewer, on ``reference`` and on more images, the second of them chosen."""
    rows = [
        ("mnist", method, seed, n, seen, 1.0, encoder, 0.1, loss + 0.1 * (seen == 80), test, seen == 160, last)
        for place, n in enumerate((reference // 4, reference, 4 * reference))
        for (method, encoder), usual in LOSSES.items()
        for seed in range(seeds)
        for seen in (80, 160)
        for loss in [usual / 2**place]
        for test in [loss + 0.001 * seed if seen == 160 else None]
    ]
    return pd.DataFrame(rows, columns=[*study.COLUMNS, "chosen", "last"])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_training_ends_at_its_budget_and_stays_within_its_profile(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    sizes, plan = setting.profile, plans.available(setting)
    lengths = {
        len(each)
        for each in (sizes.available_images, sizes.available_ae, sizes.available_gfe, sizes.available_seeds,
                     sizes.available_other_seeds)
    }  # fmt: skip
    assert len(lengths) == 1
    assert {*sizes.available_ae, *sizes.available_gfe} <= set(AVAILABLE_SEEN)
    assert all(images % 16 == 0 for images in AVAILABLE_SEEN)
    assert sizes.available_reference in sizes.available_images
    for row in plan.itertuples():
        budget = (sizes.available_ae if row.method == "ae" else sizes.available_gfe)[
            sizes.available_images.index(row.config.available)
        ]
        assert row.config.measured[-1] == budget and len(row.config.measured) <= sizes.available_points
        watched = row.dataset == "mnist" and row.config.available == sizes.available_reference
        assert row.config.watched == watched


def test_a_cell_says_where_it_was_chosen_and_whether_the_budget_was_short():
    chosen = study.best(made(240))
    part = chosen[(chosen.method == "ae") & (chosen.encoder == "own") & (chosen.available == 240)]
    assert study.cell(part) == "0.1005 ± 0.0064 at 160"
    assert study.cell(part.assign(last=[True, False])) == "0.1005 ± 0.0064 at 160+"
    assert study.cell(part[:0]) == "-"


def test_the_lead_is_paired_by_seed():
    chosen = study.best(made(240))
    found = ae_minus_gfe(chosen[chosen.available == 240])
    assert found.mean == pytest.approx(0.05) and found.half == pytest.approx(0.0, abs=1e-9)


def test_figure_and_table_show_the_chosen_points_alone(setting):
    runs = made(240)
    picture, table = study.fig_available(setting, runs), study.table_available(setting, runs)
    assert len(picture.data) == len(table.data) == 3 * 2 * 4
    assert picture.data.test.notna().all()
    (axes,) = picture.figure.axes
    assert len(axes.get_legend_handles_labels()[0]) == len(study.LOOKS)
    ticks = [
        (float(label.get_text()), tick) for label, tick in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    ]
    assert len(ticks) > 2 and all(shown == pytest.approx(tick) for shown, tick in ticks)
    assert picture.figure.get_suptitle().startswith("For accelerated GFE's loss from 240 images")
    assert table.shown["images available"].tolist() == ["60", "240", "960"]
    assert "MNIST, 5,000 images 2, 2, 2" in table.notes


def test_titles_of_stand_ins_keep_to_their_panels(setting):
    runs = pd.concat([made(240).assign(dataset=name) for name in REGISTRY], ignore_index=True)
    figure = study.fig_available(setting, runs).figure
    figure.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 3 and all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:], strict=False))
    assert boxes[-1].x1 <= figure.bbox.x1


def test_the_sentence_names_the_factor_in_images(setting):
    said = study.say_available(setting, made(240))
    assert "from 240 images accelerated GFE comes to 0.0505" in said
    assert "the AE needs **960 images, 4.0 times as many**" in said, "its loss there is a quarter of 0.2"
    assert "at the optimum 540 images (530 to 550), 2.3 times as many." in said


def test_a_small_data_set_that_gives_all_it_has_twice_counts_once(monkeypatch, setting):
    runs = made(240).assign(place=0)
    monkeypatch.setattr(study, "measured", lambda *given: pd.concat([runs, runs.assign(place=1, test=9.0)]))
    found = study.runs_of_available(setting)
    assert len(found) == len(runs) and found.place.eq(0).all()
