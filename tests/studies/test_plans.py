"""The plans of Table 2 and of the t-SNE maps: epochs, shared trainings, and runs that rest on other runs."""

import re

import pandas as pd
import pytest
from committed import every_run

from gfe_companion.datasets import REGISTRY, DataError, Source
from gfe_companion.runs import store as runs
from gfe_companion.runs.configs import Evaluate, Latents, Train
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.studies import beyond_plans, plans
from gfe_companion.studies.needs import datasets_of, everything_of


def test_twelve_epochs_against_one_and_three_kinds_of_test():
    plan = pd.concat(plans.table2(Setting.of("paper", "embedded", device="cpu"), name) for name in REGISTRY)
    seen = plan.groupby(["dataset", "method"]).images.unique().explode()
    assert seen["mnist", "gfe_amd_uncapped"] == 50_000
    assert seen["segmented_mnist", "gfe_amd_uncapped"] == 25_536
    for name in REGISTRY:
        assert seen[name, "ae"] == seen[name, "ae_then_amd"] == 12 * seen[name, "gfe_amd_uncapped"]
        assert seen[name, "gfe_fast"] == seen[name, "gfe_amd_uncapped"]
        assert seen[name, "gfe_fast_long"] == seen[name, "ae"]
    assert plan.groupby(["dataset", "method"]).seed.nunique().eq(3).all()
    for row in plan.itertuples():
        assert row.config.training.dataset == row.dataset
        assert row.images in row.config.training.kept
        assert 1920 in row.config.training.kept or "fast" in row.method
        assert row.config.count == 10_000


def test_quick_shares_the_trainings_of_table_1():
    setting = Setting.of("quick", "embedded", device="cpu")
    ours = plans.table2(setting, "mnist").query("method == 'gfe_amd_uncapped'").config
    assert set(ours) <= set(plans.table1(setting).config)


@pytest.mark.parametrize("profile", PROFILES)
def test_notebook_08_draws_the_accelerated_training_of_table_2(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    ours = plans.table2(setting, "mnist").query("method == 'gfe_fast_long'")
    drawn = beyond_plans.curves(setting).query("schedule == 'constant' and method == 'gfe_fast'")
    assert {test.training for test in ours.config} == {test.training for test in drawn.config}
    assert ours.seed.nunique() == setting.profile.beyond_seeds


def test_the_report_asks_only_for_the_data_of_its_notebooks(monkeypatch):
    """A folder may have MNIST alone, and without a network nothing else is to be looked for."""
    asked = []

    def source(setting, dataset="mnist"):
        asked.append(dataset)
        if dataset == "fashion_mnist":
            raise DataError("it is missing")
        return Source(None)

    monkeypatch.setattr(Setting, "source", source)
    setting, of_mnist = Setting.of("smoke", device="cpu"), ["01_encoding_as_gradient_flow", "03_nesterov"]
    found = everything_of(of_mnist, setting)
    assert found and {config.trained.dataset for config in found} == {"mnist"} and set(asked) == {"mnist"}
    assert everything_of([*of_mnist, "06_converged_models"], setting) == found, "what cannot be had is left out"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_names_all_its_runs_once(profile):
    found = every_run(Setting.of(profile, "embedded", device="cpu"))
    assert len({config.key for config in found}) == len(found)
    assert {type(config).__name__ for config in found} >= {
        "Train",
        "Evaluate",
        "Latents",
        "Stiffness",
        "Coarseness",
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
    (made,) = runs.run_grid([latents], setting)
    assert len(made.history) == 120
    assert len(runs.finished([latents, *latents.dependencies(), training])) == 3
    assert latents.trained is training


@pytest.mark.parametrize("profile", PROFILES)
def test_every_test_rests_on_weights_that_are_kept(profile):
    setting = Setting.of(profile, "embedded", device="cpu")
    tests = [config for config in every_run(setting) if isinstance(config, Evaluate)]
    assert all(test.images in test.training.kept for test in tests)
    curves = beyond_plans.curves(setting)
    ends = curves.groupby(["schedule", "method", "seed"]).images.max()
    for schedule in curves.schedule.unique():
        assert (ends[schedule, "gfe_fast"] >= ends[schedule, "ae"]).all(), "as many images as the autoencoder"
    for test in curves[curves.schedule == "cosine"].config:
        assert test.training.recipe.until == ends["cosine", "ae", test.training.seed]


@pytest.mark.parametrize("profile", PROFILES)
def test_pages_on_another_data_set_are_the_same_pages(profile):
    """The same runs, all of them on it where the page shows one data set."""
    usual = Setting.of(profile, "embedded", device="cpu")
    other = Setting.of(profile, "embedded", device="cpu", dataset="FashionMNIST")
    pages = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
    for page in pages:
        ours, theirs = everything_of([page], usual), everything_of([page], other)
        if len(datasets_of(page, other)) == 1:
            assert {config.trained.dataset for config in theirs} <= {"fashion_mnist"}
            assert [config.name.replace("fashion_mnist", "mnist") for config in theirs] == [c.name for c in ours]
        assert {config.trained.dataset for config in ours} <= set(datasets_of(page, usual))
        assert {config.trained.dataset for config in theirs} <= set(datasets_of(page, other))


def test_studies_name_no_data_set_but_those_that_a_page_compares():
    """What a page shows is for the setting to say: a name that is spelled out would stay behind on another data set."""
    spelled = re.compile("|".join(f'"{name}"' for name in REGISTRY))
    meant = ("DATASETS = ", '("mnist", Network(', '("fashion_mnist", Network(')
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "gfe_companion" / "studies").glob("*.py"))
        for line in path.read_text().splitlines()
        if spelled.search(line) and not line.strip().startswith(meant)
    ]
    assert found == []
