"""Runs are executed once, survive a kill, are remade when damaged, and do not depend on how many go side by side."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import torch

from gfe_companion.datasets import DataError, Source
from gfe_companion.runs import code, folders, unfinished
from gfe_companion.runs import store as runs
from gfe_companion.runs import train as trainings
from gfe_companion.runs.configs import Evaluate, Stiffness, Train, TrainByAdjoint
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.training import Recipe, Training
from gfe_core.warm import WarmStart

EMBEDDED = Source(None)
QUICK_AMD = AMD(tau=300.0, s_max=1000.0, grow_accepted=True)


def train(seed=0, solver=None, images=64, **changed):
    return Train("mnist", True, seed, solver, (32, images), (images,), 20, **changed)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    return tmp_path


def test_a_run_is_executed_once_and_read_afterwards(executed):
    first, second = runs.run(train(), EMBEDDED), runs.run(train(), EMBEDDED)
    assert len(executed) == 1
    pd.testing.assert_frame_equal(first.history, second.history)
    assert list(first.history.images) == [32, 64]
    assert first.provenance["data"]["title"].startswith("MNIST")
    assert first.provenance["versions"]["torch"] == torch.__version__
    assert set(first.weights["64"]) >= {"decoder.0.weight", "encoder.0.weight"}


def test_a_training_by_the_adjoint_is_another_run_and_another_training():
    solver = FixedGrid(20.0, 12)
    whole = runs.run(TrainByAdjoint("mnist", True, 0, solver, (32,), (32,), 20), EMBEDDED)
    partial = runs.run(Train("mnist", True, 0, solver, (32,), (32,), 20), EMBEDDED)
    assert whole.folder != partial.folder
    assert "adjoint" in whole.folder.name
    assert whole.history.validation_loss[0] != partial.history.validation_loss[0]
    assert whole.provenance["config"]["solver"]["alpha"] == "gfe_core.fixed_grid.decaying"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (TrainByAdjoint("mnist", True, 0, FixedGrid(1e7, 3), (32, 3200), (3200,), 5), "too coarse for the adjoint"),
        (train(recipe=Recipe(learning_rate=1e30), solver=FixedGrid(10.0, 3)), "is not finite"),
    ],
    ids=["adjoint", "diverged"],
)
def test_a_training_that_cannot_go_on_is_a_finding(config, told):
    """It ends with a row that says why, is kept like any other run, and is not tried again."""
    made = runs.run(config, EMBEDDED)
    last = made.history.iloc[-1]
    assert told in last.failure
    assert pd.isna(last.get("validation_loss", float("nan")))
    assert last.images % 16 == 0
    assert "3200" not in made.weights
    assert runs.run(config, EMBEDDED).provenance == made.provenance


def test_the_stiffness_of_a_training_is_a_run_of_its_own():
    config = Stiffness(train(solver=QUICK_AMD), 2, tau=100.0, limit=200)
    history = runs.run(config, EMBEDDED).history
    assert list(history.images) == [0, 0, 64, 64]
    assert (history[["start", "evaluations", "steps", "reached"]] > 0).all(axis=None)


def test_every_field_and_the_data_are_part_of_the_identity():
    base = train(solver=QUICK_AMD)
    others = [
        train(seed=1, solver=QUICK_AMD), train(solver=dataclasses.replace(QUICK_AMD, tolerance=0.0)), train(),
        dataclasses.replace(base, embedded=False), dataclasses.replace(base, validation_images=21),
        dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, learning_rate=1e-3)),
    ]  # fmt: skip
    assert len({base.key, *(other.key for other in others)}) == 7
    assert train(solver=QUICK_AMD).key == base.key


@pytest.mark.parametrize("damage", ["truncate", "missing", "garbled json"])
def test_a_damaged_folder_is_noticed_and_made_again(executed, damage):
    made = runs.run(train(), EMBEDDED)
    if damage == "truncate":
        file = made.folder / "weights.pt"
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "missing":
        (made.folder / "history.csv").unlink()
    else:
        (made.folder / "run.json").write_text("{")
    with pytest.warns(UserWarning, match="damaged"):
        again = runs.run(train(), EMBEDDED)
    assert len(executed) == 2
    pd.testing.assert_frame_equal(made.history.drop(columns="seconds"), again.history.drop(columns="seconds"))


def test_an_evaluation_brings_its_training_along_and_agrees_with_the_validation(executed):
    config = Evaluate(train(solver=QUICK_AMD), 64, QUICK_AMD, 30)
    tested = runs.run(config, EMBEDDED)
    assert executed == [config, config.training] or executed == [config.training, config]
    assert len(tested.history) == 30
    assert tested.weights["z"].shape == (30, 20)
    assert {"loss", "steps", "status"} <= set(tested.history)


def test_results_do_not_depend_on_the_number_of_jobs(tmp_path, monkeypatch):
    configs = [train(seed=seed, solver=QUICK_AMD) for seed in (0, 1)]
    histories = []
    for jobs in (1, 2):
        monkeypatch.setenv("GFE_HOME", str(tmp_path / str(jobs)))
        setting = Setting(PROFILES["quick"], "embedded", (0, 1), jobs, "cpu")
        made = runs.run_grid(configs, setting)
        histories.append(pd.concat([run.history for run in made]).drop(columns="seconds"))
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(("more", "jobs"), [(-1, 1), (0, 2)], ids=["one fewer", "as many"])
@pytest.mark.parametrize("profile", PROFILES)
def test_fewer_runs_than_pay_for_processes_start_none(monkeypatch, home, profile, more, jobs):
    asked, count = [], PROFILES[profile].pool_from + more

    def parallel(n_jobs, **_):
        asked.append(n_jobs)
        return lambda tasks: [function(*arguments) for function, arguments, _ in tasks]

    monkeypatch.setattr(runs, "Parallel", parallel)
    configs = [train(seed=seed) for seed in range(count)]
    runs.run_grid(configs, Setting(PROFILES[profile], "embedded", (0,), 2, "cpu"))
    assert asked == [jobs]


def test_an_interrupted_training_goes_on_where_it_was_saved(monkeypatch, home):
    config = train(solver=QUICK_AMD, images=160)
    whole = runs.run(config, EMBEDDED)
    monkeypatch.setenv("GFE_HOME", str(home / "other"))
    monkeypatch.setattr(unfinished, "SAVE_EVERY_S", -1)
    monkeypatch.setattr(trainings, "CHUNK", 2)
    real, calls = Training.advance, []

    def dies(self, *arguments):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(self.images)
        return real(self, *arguments)

    monkeypatch.setattr(Training, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        runs.run(config, EMBEDDED)
    started = []
    monkeypatch.setattr(Training, "advance", lambda self, *rest: started.append(self.images) or real(self, *rest))
    resumed = runs.run(config, EMBEDDED)
    assert started[0] == 96
    pd.testing.assert_frame_equal(whole.history.drop(columns="seconds"), resumed.history.drop(columns="seconds"))
    for name, tensor in whole.weights["160"].items():
        assert torch.equal(tensor, resumed.weights["160"][name])
    assert not list(resumed.folder.glob("state*"))


def test_killed_outright_it_leaves_nothing_that_is_taken_for_finished(home):
    program = (
        "from gfe_companion.runs import unfinished, store as runs; from gfe_companion.runs.configs import Train; "
        "from gfe_companion.datasets import Source; unfinished.SAVE_EVERY_S = 0.05; "
        "runs.run(Train('mnist', True, 0, None, (160_000,), (160_000,), 20), Source(None))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list((home / "runs").glob(".train*/state.pt")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    visible = [path for path in (home / "runs").iterdir() if not path.name.startswith(".")]
    assert visible == []
    state = unfinished.Saved(next((home / "runs").glob(".train*/state.pt"))).load()
    assert state["training"]["images"] > 0


def test_a_half_written_state_is_set_aside_with_a_warning(home):
    config = train()
    aside = home / "runs" / f".{folders.folder_of(config).name}"
    aside.mkdir(parents=True)
    (aside / "state.pt").write_bytes(b"PK half")
    with pytest.warns(UserWarning, match="starts again"):
        made = runs.run(config, EMBEDDED)
    assert list(made.history.images) == [32, 64]
    assert json.loads((made.folder / "run.json").read_text())["files"]


def test_a_warm_training_survives_a_kill_and_its_tests_use_its_own_encoder(monkeypatch):
    """What the encoder has learnt is saved with the training, and kept with the weights."""
    warm = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=3), refresh=2)
    config = Train("mnist", True, 0, warm, (32, 1600), (32, 1600), 20)
    whole = runs.run(config, EMBEDDED)
    by_own = runs.run(Evaluate(config, 1600, warm, 50), EMBEDDED).history.loss.mean()
    by_other = runs.run(Evaluate(config, 1600, QUICK_AMD, 50), EMBEDDED).history.loss.mean()
    assert by_own < by_other

    monkeypatch.setattr(unfinished, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(unfinished.Saved, "save", _then_die(unfinished.Saved.save))
    (whole.folder).rename(whole.folder.with_name("elsewhere"))
    with pytest.raises(KeyboardInterrupt):
        runs.run(config, EMBEDDED)
    monkeypatch.undo()
    monkeypatch.setenv("GFE_HOME", str(whole.folder.parents[1]))
    again = runs.run(config, EMBEDDED)
    pd.testing.assert_frame_equal(whole.history.drop(columns="seconds"), again.history.drop(columns="seconds"))
    assert set(again.weights) == {"32", "1600", "32 start", "1600 start"}


def _then_die(save):
    def saves(self, state):
        save(self, state)
        raise KeyboardInterrupt

    return saves


def test_a_worker_reads_all_data_sets_of_the_grid_before_its_first_run(monkeypatch):
    """One that grows later on is taken for one that leaks, and gives way to another, which reads everything anew."""
    done, config = [], train()

    def load(name, origin):
        done.append(name)
        if name == "fashion_mnist":
            raise DataError("its own runs will say so")

    monkeypatch.setattr(runs, "load", load)
    monkeypatch.setattr(runs, "Thread", lambda **_: threading.Thread())  # which would end this process
    monkeypatch.setattr(runs, "make", lambda made, *_: done.append(made))
    origins = dict.fromkeys(("mnist", "fashion_mnist", "segmented_mnist"), EMBEDDED)
    for _ in range(2):
        runs._work(config, origins, os.getpid() + 1, code.LOADED.rests_on(config))
    assert done == [*origins, config, config]
