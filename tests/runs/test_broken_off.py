"""A training whose loss is not finite marks its run and those that rest on it; the rest goes on, and figures say so."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from gfe_companion.methods import FAST, LITERAL
from gfe_companion.runs import store as runs
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.folders import broken_off
from gfe_companion.runs.profiles import Setting
from gfe_companion.site import show
from gfe_companion.studies.results import Table
from gfe_core.training import Recipe, Training


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    broken_off.clear()
    yield tmp_path
    broken_off.clear()


def train(seed):
    return Train("mnist", True, seed, None, (32, 64, 96), (32, 96), 20)


@pytest.fixture(params=[math.nan, math.inf, -math.inf])
def setting(request, monkeypatch):
    """Two seeds, the second of which meets a loss that is not finite after 64 images."""
    begin, update = Train.begin, Training.update

    def begins(config, dataset):
        training, solver = begin(config, dataset)
        training.bad = config.seed == 1
        return training, solver

    def updates(self, *rest):
        loss = update(self, *rest)
        return loss + request.param if self.bad and self.images > 64 else loss

    monkeypatch.setattr(Train, "begin", begins)
    monkeypatch.setattr(Training, "update", updates)
    return Setting.of("smoke", "embedded", "0,1", 1, "cpu")


def test_the_rest_goes_on_and_the_mark_stays(setting):
    tests = [Evaluate(train(seed), images, None, 10) for seed in (0, 1) for images in (32, 96)]
    for _ in range(2):  # made, and read
        broken_off.clear()
        made = runs.run_grid(tests, setting)
        lost = [math.isnan(run.history.loss.mean()) for run in made]
        assert lost == [False, False, False, True], "what was kept before it broke off is tested"
        assert "the training loss is" in made[3].provenance["failure"] and "failure" not in made[2].provenance
        assert broken_off.keys() >= {tests[3].name}
    (training,) = runs.run_grid([train(1)], setting)
    assert training.history.images.tolist()[:2] == [32, 64] and training.history.failure.notna().sum() == 1


def test_tables_and_figures_name_the_seed(setting, tmp_path):
    table = Table("t", pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["1"]}), "Title", "Notes.")
    show.save_table(table, tmp_path)
    assert "Missing" not in (tmp_path / "t.md").read_text()
    runs.run_grid([train(0), train(1)], setting)
    show.save_table(table, tmp_path)
    said = (tmp_path / "t.md").read_text()
    assert (
        "Missing from where they broke off: train-mnist-ae-96-seed1 (the training loss is" in said
        and "seed0" not in said
    )


@pytest.mark.parametrize(("solver", "rate"), [(None, 1e3), (LITERAL, 1e38), (FAST, 1e38)])
def test_a_last_update_that_breaks_it_is_told_too(solver, rate):
    """The training loss of all batches is finite, and the network is not after the last of them."""
    setting = Setting.of("smoke", "embedded", "0", 1, "cpu")
    config = Train("mnist", True, 0, solver, (16,), (16,), 20, Recipe(learning_rate=rate))
    unseen = replace(config, measured=())  # whose weights are kept, and not looked at
    made = runs.run_grid([Evaluate(config, 16, solver, 10), Evaluate(unseen, 16, solver, 10), config], setting)
    assert "failure" in made[0].provenance and "failure" in made[2].provenance
    assert "failure" in made[1].provenance or solver is None
    assert config.name in show.missing()


def test_what_lacks_weights_for_another_reason_is_an_error(setting):
    with pytest.raises(KeyError, match="64"):
        runs.run_grid([Evaluate(train(0), 64, None, 10)], setting)
