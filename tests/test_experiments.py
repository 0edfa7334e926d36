"""The plans of Table 2 and of the t-SNE maps: epochs, shared trainings, and runs that rest on other runs."""

import os
from pathlib import Path

import pandas as pd
import pytest

from gfe_companion.datasets import Source, load
from gfe_companion.runs import store as runs
from gfe_companion.runs.configs import Evaluate, Latents, Train
from gfe_companion.runs.profiles import EPOCH, PROFILES, Setting
from gfe_companion.studies import beyond, experiments


@pytest.mark.skipif("GFE_DATA" not in os.environ, reason="needs the real data: set GFE_DATA to their folder")
def test_an_epoch_is_the_training_pool_in_whole_batches():
    for name, images in EPOCH.items():
        pool = len(load(name, Source(Path(os.environ["GFE_DATA"]))).train.images)
        assert images == pool // 16 * 16


def test_twelve_epochs_against_one_and_three_kinds_of_test():
    plan = pd.concat(experiments.table2(Setting.of("paper", device="cpu"), name, False) for name in EPOCH)
    seen = plan.groupby(["dataset", "method"]).images.unique().explode()
    assert seen["mnist", "gfe_amd_uncapped"] == 50_000
    assert seen["segmented_mnist", "gfe_amd_uncapped"] == 25_536
    for name in EPOCH:
        assert seen[name, "ae"] == seen[name, "ae_then_amd"] == 12 * seen[name, "gfe_amd_uncapped"]
    assert plan.groupby(["dataset", "method"]).seed.nunique().eq(3).all()
    for row in plan.itertuples():
        assert row.config.training.dataset == row.dataset
        assert row.images in row.config.training.kept
        assert 1920 in row.config.training.kept
        assert row.config.count == 10_000


def test_quick_shares_the_trainings_of_table_1():
    setting = Setting.of("quick", device="cpu")
    ours = experiments.table2(setting, "mnist", False).query("method == 'gfe_amd_uncapped'").config
    assert set(ours) <= set(experiments.table1(setting, False).config)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_names_all_its_runs_once(profile):
    found = beyond.everything(Setting.of(profile, device="cpu"), True)
    assert len({config.key for config in found}) == len(found)
    assert {type(config).__name__ for config in found} >= {
        "Train",
        "Evaluate",
        "Latents",
        "Stiffness",
        "TrainByAdjoint",
        "TrainStored",
        "Optimum",
        "Race",
    }
    assert all(needed in found for config in found for needed in config.dependencies())


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_grid_makes_what_its_runs_rest_on_first(monkeypatch, tmp_path, jobs):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    training = Train("mnist", True, 0, None, (32,), (32,), 20)
    latents = Latents(Evaluate(training, 32, None, 10_000), 120)
    setting = Setting.of("smoke", "embedded", jobs=jobs, device="cpu")
    (made,) = runs.run_grid([latents], setting, Source(None))
    assert len(made.history) == 120
    assert len(runs.finished([latents, *latents.dependencies(), training])) == 3
    assert latents.trained is training
