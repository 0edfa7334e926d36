"""What a notebook's parameters may say, and what they come to."""

import os

import pytest

from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import FLOW_KEPT, PROFILES


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="smoke, quick, paper"):
        Setting.of("large")
    with pytest.raises(ValueError, match="auto, cpu and cuda"):
        Setting.of("smoke", device="tpu")
    assert Setting.of("smoke", seeds="3,4").seeds == (3, 4)


def test_runs_on_a_gpu_go_one_after_another_unless_told_otherwise(monkeypatch):
    """Their clock is the wall's."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Setting.of("smoke", device="cuda").jobs == 1
    assert Setting.of("smoke", device="cuda", jobs=3).jobs == 3
    assert Setting.of("smoke", device="cpu").jobs == os.cpu_count()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_what_takes_a_part_of_what_another_makes_asks_for_no_more(profile):
    assert profile.map_images <= profile.test_images, "a map shows images that were tested"
    assert profile.slow_test_images <= profile.test_images
    assert profile.flow_images <= profile.watched_images
    assert max(FLOW_KEPT) <= profile.flow_images or profile.name == "smoke", "Figure 1 looks at three decoders"
    assert {*profile.clock_recipes} <= {*profile.clock_budgets}, "recipes share runs with what is tuned"
    assert profile.available_reference in profile.available_images
    assert len(profile.available_ae) == len(profile.available_gfe) == len(profile.available_images)
    assert len(profile.available_seeds) == len(profile.available_other_seeds) == len(profile.available_images)


@pytest.mark.parametrize("given", ["fashion_mnist", "FashionMNIST", "fashionmnist"])
def test_a_data_set_is_named_as_the_registry_or_figures_name_it(monkeypatch, tmp_path, given):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    usual, other = Setting.of("smoke", "embedded"), Setting.of("smoke", "embedded", dataset=given)
    assert (usual.dataset, other.dataset) == ("mnist", "fashion_mnist")
    assert other.load().name == "fashion_mnist" and other.load("mnist").name == "mnist"
    assert usual.figures == tmp_path / "figures" / "smoke", "what is published does not move"
    assert other.figures == tmp_path / "figures" / "smoke-fashion_mnist", "and another data set does not touch it"


def test_an_unknown_data_set_is_told_which_there_are():
    with pytest.raises(ValueError, match="'cifar' is unknown; valid are mnist, segmented_mnist, fashion_mnist") as told:
        Setting.of("smoke", dataset="cifar")
    assert "\n" not in str(told.value)
