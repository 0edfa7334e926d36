"""The study of what overfits, and of the opponents: who is chosen, and whom each is compared with."""

from types import SimpleNamespace

import pandas as pd
import pytest

from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.studies import data_opponents as study
from gfe_companion.studies import data_plans as plans
from tests.studies.test_data_available import made


def watched(reference=240):
    runs = made(reference)
    return runs.assign(validation=[0.1 + 0.01 * seed for seed in runs.seed])


def opponents(learners=("ae-dropout0.1", "ae-dropout0.3"), better=(0.14, 0.11)):
    """Runs of one opponent with two settings, the second better by validation for seed 1 alone, and of GFE on moved."""
    rows = []
    for seed in range(2):
        for place, learner in enumerate(learners):
            for encoder, loss in zip(("own", "optimum"), better, strict=True):
                validation = loss + (0.01 if place != seed else 0.0)
                rows.append(("dropout", learner, seed, 240, 160, encoder, 0.1, validation, loss + place, True, False))
        for encoder in ("own", "optimum"):
            rows.append(("gfe_shifts", "gfe-shifts2", seed, 240, 160, encoder, 0.1, 0.08, 0.08, True, False))
            rows.append(("ae_shifts", "ae-shifts2", seed, 240, 160, encoder, 0.1, 0.09, 0.085, True, True))
    found = pd.DataFrame(
        rows, columns=["opponent", "learner", "seed", "available", *study.COLUMNS[5:-1], "chosen", "last"]
    )
    return found


@pytest.fixture
def frame(setting, monkeypatch):
    monkeypatch.setattr(study, "measured", lambda *given: opponents())
    return study.runs_of_opponents(setting, watched())


@pytest.mark.parametrize("profile", PROFILES)
def test_opponents_have_as_many_settings_and_the_reference_images(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    sizes, plan = setting.profile, plans.opposing(setting)
    assert plan.groupby(["opponent", "seed"]).size().eq(sizes.opponent_settings).all()
    assert set(plan.opponent) == set(plans.opponents())
    assert {config.available for config in plan.config} == {sizes.available_reference}
    place = sizes.available_images.index(sizes.available_reference)
    assert sizes.opponent_seeds <= sizes.available_seeds[place], "AE and GFE have each of their seeds"
    assert len({config.key for config in plan.config}) == len(plan)


def test_each_seed_has_the_setting_that_its_validation_chooses(frame):
    chosen = frame[frame.opponent == "dropout"].set_index(["seed", "encoder"])
    assert chosen.learner[0, "own"] == "ae-dropout0.1" and chosen.learner[1, "own"] == "ae-dropout0.3"
    assert chosen.test[0, "own"] == 0.14 and chosen.test[1, "own"] > 1, "not the lowest test loss"
    assert set(frame.opponent) == {"ae", "gfe_fast", "dropout", "ae_shifts", "gfe_shifts"}
    assert frame.groupby(["opponent", "seed", "encoder"]).size().eq(1).all()


def test_what_learns_with_shifts_is_compared_with_gfe_that_does(frame):
    against = dict(zip(frame.opponent, frame.against, strict=True))
    assert against == {
        "ae": "gfe_fast", "gfe_fast": "gfe_fast", "dropout": "gfe_fast", "ae_shifts": "gfe_shifts",
        "gfe_shifts": "gfe_shifts",
    }  # fmt: skip
    assert study.difference(frame, "ae_shifts", "own").tolist() == pytest.approx([0.005, 0.005])
    assert study.difference(frame, "gfe_shifts", "own").empty and study.difference(frame, "gfe_fast", "own").empty
    assert study.difference(frame, "ae", "own").tolist() == pytest.approx([0.05, 0.05])


def test_the_table_has_a_row_for_each_and_the_sentence_the_nearest(setting, frame):
    table = study.table_opponents(setting, frame)
    shown = table.shown.set_index("learns as")
    assert list(shown.index) == list(study.titles().values())
    assert shown.loc["AE, shifts", "above GFE, own encoder"] == "0.0050 ± 0.0000"
    assert shown.loc["AE, shifts", "own encoder"].endswith("at 160+")
    assert shown.loc["GFE, accelerated", "above GFE, own encoder"] == "-"
    assert shown.loc["VAE"].eq("-").all(), "it was not run here"
    assert (
        "By its own encoder, the nearest to accelerated GFE is **AE, shifts**, 0.0050 above it (both with shifts)."
        in (study.say_opponents(frame))
    )


def test_the_figure_follows_both_methods_on_both_sides(setting):
    picture = study.fig_overfit(setting, watched())
    panels = picture.figure.axes
    assert [axes.get_title() for axes in panels] == list(study.PANELS.values())
    assert all(len(axes.lines) == 4 * 3 for axes in panels), "a mean of two seeds, and each of them"
    assert set(picture.data.available) == {240} and {"training", "validation"} <= set(picture.data)


def test_the_gap_is_that_of_the_best_point(setting):
    said = study.say_gaps(setting, watched().assign(training=0.05))
    assert "AE by its own encoder 0.050 ± 0.000 and 0.101 ± 0.006, a gap of 0.051 ± 0.006" in said


def test_the_watched_runs_are_those_of_mnist_at_the_reference():
    runs = pd.concat([watched(), watched().assign(dataset="fashion_mnist")])
    setting = SimpleNamespace(profile=SimpleNamespace(available_reference=240), dataset="mnist")
    found = study.watched(setting, runs)
    assert set(found.dataset) == {"mnist"} and set(found.available) == {240} and len(found) == 16
