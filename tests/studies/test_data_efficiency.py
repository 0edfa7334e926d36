"""Notebook 05's study, where a number can be had by hand, and with a method that is new to the registry."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gfe_companion.methods import METHODS, UNCAPPED, Look, Method
from gfe_companion.studies import data_efficiency as study
from gfe_companion.studies import plans
from gfe_companion.studies.same_images import beside_ae


@pytest.fixture
def new(monkeypatch):
    monkeypatch.setitem(METHODS, "new", Method(Look("new", "a new method"), UNCAPPED, table1=True))


def by_time(seconds, mean):
    return pd.DataFrame({"x": seconds, "mean": mean})


def curves(methods, seconds=1.0):
    """Losses 0.3 and 0.2 after 480 and 960 images, ``seconds`` and twice as many later."""
    rows = [(m, 0, n * 480, n * seconds, np.nan, 0.4 - 0.1 * n) for m in methods for n in (1, 2)]
    columns = ["method", "seed", "images", "seconds", "training_loss", "validation_loss"]
    return pd.DataFrame(rows, columns=columns)


def runs(losses):
    """Runs at 480 images by seed 0, from {method: losses of its test images}."""
    rows = [(480, m, 0, SimpleNamespace(history=pd.DataFrame({"loss": each}))) for m, each in losses.items()]
    frame = pd.DataFrame(rows, columns=["images", "method", "seed", "run"])
    frame = frame.assign(test_loss=[run.history.loss.mean() for run in frame.run], config=SimpleNamespace(every=1))
    return beside_ae(frame, ["images", "seed"])


def test_images_to_a_loss_are_read_off_a_logarithmic_axis():
    falling = pd.DataFrame({"images": [100, 10_000], "mean": [0.4, 0.2]})
    assert study.images_to(falling, 0.3) == pytest.approx(1000)
    assert study.images_to(falling, 0.1) is None


def test_a_curve_that_rises_again_is_read_at_its_first_crossing():
    wavy = pd.DataFrame({"images": [10, 100, 1000, 10_000], "mean": [0.4, 0.2, 0.1, 0.4]})
    assert study.images_to(wavy, 0.3) == pytest.approx(10**1.5)


def test_the_share_of_times_is_of_those_that_both_curves_reach():
    one, other = by_time([1.0, 1e4], [0.4, 0.0]), by_time([1e2, 1e6], [0.1, 0.1])  # they cross at 1e3, half way to 1e4
    assert study.share_of_times_below(one, other) == pytest.approx(0.5, abs=0.01)
    assert study.share_of_times_below(other, one) == pytest.approx(0.5, abs=0.01)
    assert study.share_of_times_below(by_time([1.0, 2.0], [1, 1]), by_time([3.0, 4.0], [1, 1])) is None


def test_the_costs_are_of_an_iteration():
    frame = pd.concat([curves(["ae"], 0.3), curves(["gfe_amd_uncapped"], 3.0)])
    assert "AE **10**, GFE-amd, uncapped **100**" in study.say_time(frame)  # 30 iterations
    assert "no compute time in common" in study.say_time(frame)


def test_the_gain_is_on_the_same_images():
    """Also where the encoded ones are spread over the test images."""
    table = runs({"ae": [0.5, 9.0, 0.3, 9.0], "ae_then_amd": [0.2, 0.2]}).drop(columns="ae_loss")
    table["config"] = [SimpleNamespace(every=2 if method == "ae_then_amd" else 1) for method in table.method]
    assert study.gains(beside_ae(table, ["images", "seed"])).gain.tolist() == pytest.approx([0.2])


def test_the_ae_is_compared_on_the_images_of_the_other_method():
    frame = runs({"ae": [0.1, 0.2, 0.3, 0.4], "first": [1, 1], "spread": [1, 1]}).drop(columns="ae_loss")
    configs = [SimpleNamespace(every=2 if method == "spread" else 1) for method in frame.method]
    found = beside_ae(frame.assign(config=configs), ["images", "seed"])
    assert found.ae_loss.tolist() == pytest.approx([0.25, 0.15, 0.2])
    alone = beside_ae(frame.assign(config=configs).query("method != 'ae'"), ["images", "seed"])
    assert alone.ae_loss.isna().all()


def test_a_new_method_is_drawn_under_its_own_label(setting, new):
    for draw in (study.fig4_left, study.fig4_right):
        picture = draw(setting, curves(["ae", "gfe_amd_uncapped", "new"]))
        labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
        assert labels == [METHODS[name].look.label for name in ("ae", "gfe_amd_uncapped", "new")]
        assert "new: lowest 0.2000, drawn to 960 images" in picture.alt


def test_a_new_method_has_its_column_in_table_1_and_is_not_compared(setting, new, monkeypatch):
    monkeypatch.setattr(study, "beside", lambda setting, table, images, method, ours: "0.3" * (method != "new"))
    made = study.table1(setting, runs({"ae": [0.2, 0.4], "gfe_amd_uncapped": [0.2], "new": [0.1]}))
    assert list(made.shown) == ["images", "AE", "paper: AE", "GFE-amd, uncapped", "paper: GFE-amd", "new"]
    assert made.shown.iloc[0].tolist() == ["480", "0.3000", "0.3", "0.2000", "0.3", "0.1000"]
    assert list(made.data) == ["images", "method", "seed", "test_loss", "ae_loss"]
    assert made.data.ae_loss.tolist() == pytest.approx([0.3, 0.2, 0.2]), "the other two are tested on its first image"


def test_other_images_than_the_papers_are_shown_alone(setting, monkeypatch):
    monkeypatch.setattr(study, "beside", lambda *given: "")
    assert list(study.table1(setting, runs({"ae": [0.2]})).shown) == ["images", "AE"]


def test_the_exercise_is_answered_where_the_autoencoder_was_followed_far_enough(setting):
    ours, ae = curves(["gfe_amd_uncapped"]), curves(["ae"])
    said = study.say_answer(setting, pd.concat([ours, ae.assign(validation_loss=[0.4, 0.25])]))
    assert "stands at 0.3000 after 480 images" in said
    assert "about 762 images" in said  # two thirds of the way from 480 to 960 on a logarithmic axis
    said = study.say_answer(setting, pd.concat([ours, ae.assign(validation_loss=0.4)]))
    assert "more than the 960 images" in said


def test_what_fewer_test_images_tell_is_told_with_what_they_are_off_by(setting):
    config = plans.table1(setting).query("method == 'gfe_amd_uncapped'").config.iloc[0]
    losses = [0.1, 0.2, 0.3, 0.4, 0.5] * 30  # of every fifth image 0.1, of all 0.3
    frame = runs({"ae": losses, "gfe_amd_uncapped": losses}).assign(config=config)
    tested = study.on_fewer(setting, frame)
    assert tested.iloc[0].tolist() == pytest.approx([480, 0, 0.3, 0.1, 0.0])
    shown = study.table_tested(setting, tested)
    assert shown.shown.to_numpy().tolist() == [["480", "0.3000", "one seed", "± 0.0000", "-0.2000"]]


def test_the_title_of_figure_4_says_what_the_ae_needs_for_the_same_loss(setting):
    last = setting.profile.table1_images[-1]
    both = curves(["ae", study.GFE], 2.0)
    both.loc[both.method == study.GFE, "images"] //= 3  # the same losses from a third of the images
    assert both.images.max() <= last
    assert study.factor_to_equal_loss(both, "images") == pytest.approx(3)
    assert study.factor_to_equal_loss(both, "seconds") == pytest.approx(1)
    title = study.fig4_left(setting, both).figure.axes[0].get_title()
    assert title.startswith("The AE needs 3 times the images for the loss of GFE-amd")
    above = both.assign(validation_loss=both.validation_loss + 0.1 * (both.method == "ae"))
    assert study.factor_to_equal_loss(above, "images") is None
    assert study.fig4_left(setting, above).figure.axes[0].get_title().startswith("Validation loss\n")
    assert study.factor_to_equal_loss(both[both.method == "ae"], "images") is None
