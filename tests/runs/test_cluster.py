"""A grid on a Dask cluster: the same runs bit for bit, whoever dies on the way, or one sentence that says why not."""

import os
import re
import shutil
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

from gfe_companion.datasets import Source, StandInWarning
from gfe_companion.datasets import registry as data
from gfe_companion.runs import cluster as client
from gfe_companion.runs import code, folders, store, worker
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.runs.stand_in import Sleeps
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.warm import WarmStart

SETTING = Setting(PROFILES["quick"], "embedded", (0,), 2, "cpu")
AMD_FEW = AMD(tau=300.0, s_max=1000.0, grow_accepted=True, max_trials=20)
WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=3), refresh=2)


def trainings():
    solvers = {0: AMD_FEW, 1: WARM, 2: None}
    return [Train("mnist", True, seed, solver, (32, 160), (160,), 20) for seed, solver in solvers.items()]


def grid():
    return [Evaluate(each, 160, each.solver, 30) for each in trainings()]


def in_thread(configs):
    """Make the runs in a thread; what came of it, and the thread."""
    came = []

    def work():
        try:
            came.append(store.run_grid(configs, SETTING))
        except Exception as error:
            came.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return came, thread


@pytest.mark.slow
def test_histories_are_equal_in_one_process_in_two_and_on_a_cluster_of_two(cluster, monkeypatch, tmp_path):
    homes = [cluster.worker(name) for name in ("first", "second")]
    made = {}
    with monkeypatch.context() as here:
        here.setenv("GFE_SCHEDULER", "")
        for jobs in (1, 2):
            here.setenv("GFE_HOME", str(tmp_path / f"{jobs} jobs"))
            made[jobs] = store.run_grid([*trainings(), *grid()], replace(SETTING, jobs=jobs))
    made["cluster"] = store.run_grid([*trainings(), *grid()], SETTING)
    for place in (2, "cluster"):
        for one, other in zip(made[1], made[place], strict=True):
            assert one.folder.name == other.folder.name and one.folder != other.folder
            columns = [column for column in one.history if column != "seconds"]
            pd.testing.assert_frame_equal(one.history[columns], other.history[columns], check_exact=True)
            assert all(_equal(other.weights[name], tensors) for name, tensors in one.weights.items())
    by = [{path.name for path in (home / "runs").glob("train-*")} for home in homes]
    assert all(by), "both workers trained"
    assert {path.name for path in (tmp_path / "home" / "runs").glob("[!.]*")} == {r.folder.name for r in made[1]}


def _equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return torch.equal(one, other)


def test_runs_that_are_here_already_travel_to_those_that_rest_on_them(cluster, monkeypatch):
    first = Sleeps(0, 0.0)
    with monkeypatch.context() as here:
        here.setenv("GFE_SCHEDULER", "")
        store.run(first, Source(None))
    home = cluster.worker("only")
    (made,) = store.run_grid([Sleeps(1, 0.0, (first, Sleeps(2, 0.0)))], SETTING)
    assert int(made.weights["total"]) == 3
    assert not made.folder.is_relative_to(home)
    assert (home / "runs" / folders.folder_of(first).name).is_dir()


def test_what_a_worker_has_is_made_again_only_by_force(cluster, monkeypatch):
    home = cluster.worker("only")
    config = Sleeps(0, 0.0)
    (before,) = store.run_grid([config], SETTING)
    shutil.rmtree(before.folder)
    (again,) = store.run_grid([config], SETTING)
    assert again.provenance == before.provenance, "the worker had it"
    monkeypatch.setenv("GFE_FORCE", str(time.time() + 3600))  # the worker's clock is behind by an hour
    (forced,) = store.run_grid([config], SETTING)
    assert forced.provenance["ended"] > before.provenance["ended"]
    assert folders.read(config, home / "runs" / forced.folder.name).provenance == forced.provenance


def test_a_worker_that_dies_has_its_runs_done_by_another(cluster):
    homes = {name: cluster.worker(name) for name in ("mortal", "other")}
    configs = [Sleeps(number, 1.0) for number in range(6)]
    came, thread = in_thread(configs)
    there = homes["mortal"] / "runs"
    cluster.wait(lambda: [*there.glob(".sleeps-*[!k]")])  # a folder aside, and not its lock
    cluster.kill("mortal")
    thread.join(120)
    (made,) = came
    assert [run.history.loss[0] for run in made] == [0, 1, 2, 3, 4, 5]
    assert [*there.glob(".sleeps-*[!k]")], "it died at work"
    assert len([*there.glob("sleeps-*")]) < len(configs)


def test_no_run_waits_behind_another_while_a_worker_has_nothing_to_do(cluster):
    """Dask gives a worker a task ahead; of runs this would leave the last one to a worker that is busy."""
    homes = [cluster.worker(name) for name in ("first", "second")]
    store.run_grid([Sleeps(number, 8.0 if number == 4 else 0.5) for number in range(9)], SETTING)
    there = [{path.name.split("-")[1] for path in (home / "runs").glob("sleeps-*")} for home in homes]
    (at_the_long_one,) = (names for names in there if "4" in names)
    assert not at_the_long_one & {"5", "6", "7", "8"}
    told = client.connect(str(cluster.file)).run_on_scheduler(lambda dask_scheduler: dask_scheduler.WORKER_SATURATION)
    assert told == 1.0, "else whether one waits depends on who steals from whom in time"


def test_a_worker_of_other_code_is_refused_by_name_and_the_rest_go_on(cluster, tmp_path, capfd):
    for package in code.PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / package, tmp_path / "copy" / package, ignore=ignored)
    with (tmp_path / "copy" / "gfe_core" / "models.py").open("a") as file:
        file.write("\n\nADDED = 1\n")
    home = cluster.worker("stale", PYTHONPATH=str(tmp_path / "copy"))
    config = Train("mnist", True, 0, None, (32,), (32,), 20)
    with pytest.raises(
        client.NoCluster, match=r"the worker stale on .* is refused: .*gfe_core/models\.py.* is left\.$"
    ):
        store.run_grid([config], SETTING)
    cluster.wait(lambda: cluster.processes["stale"].poll() is not None)
    cluster.worker("stale again", PYTHONPATH=str(tmp_path / "copy"))
    cluster.worker("good")
    cluster.wait(lambda: len(client.connect(str(cluster.file)).scheduler_info()["workers"]) == 2)
    many = [replace(config, seed=seed) for seed in range(6)]
    assert len(store.run_grid(many, SETTING)) == 6
    assert re.search(
        r"the worker stale again on .* is refused: its code of gfe_core/models\.py", capfd.readouterr().err
    )
    assert not list((home / "runs").glob("*"))


def test_a_worker_with_threads_is_refused(cluster):
    cluster.worker("wide", threads=3)
    with pytest.raises(client.NoCluster, match=r"wide .* --nworkers 3 --nthreads 1"):
        store.run_grid([Sleeps(0, 0.0)], SETTING)


def test_a_long_wait_for_workers_is_shown_and_is_no_error(cluster, capfd):
    came, thread = in_thread([Sleeps(0, 0.0)])
    said = []
    cluster.wait(lambda: said.append(capfd.readouterr().err) or "0 running, waiting for workers" in "".join(said))
    assert thread.is_alive()
    cluster.worker("late")
    thread.join(120)
    assert [run.config for run in came[0]] == [Sleeps(0, 0.0)]


def test_a_scheduler_that_goes_away_is_one_sentence_and_what_came_back_is_kept(cluster):
    cluster.worker("only")
    quick, slow = Sleeps(0, 0.0), Sleeps(1, 600.0)
    came, thread = in_thread([quick, slow])
    cluster.wait(lambda: store.finished([quick]))
    cluster.kill("scheduler")
    thread.join(60)
    (error,) = came
    assert isinstance(error, client.NoCluster) and "went away" in str(error) and "\n" not in str(error)
    assert store.finished([quick, slow])[0].config == quick


def test_an_error_of_a_run_is_the_callers_to_see(cluster):
    cluster.worker("only")
    with pytest.raises(ValueError, match="sleep length must be non-negative"):
        store.run_grid([Sleeps(0, -1.0)], SETTING)


def test_no_scheduler_is_one_sentence_within_half_a_minute(tmp_path):
    (tmp_path / "stale.json").write_text('{"address": "tcp://127.0.0.1:1"}')
    (tmp_path / "other.json").write_text("[]")
    for scheduler in ("tcp://127.0.0.1:1", str(tmp_path / "stale.json"), str(tmp_path / "other.json")):
        started = time.monotonic()
        with pytest.raises(
            client.NoCluster, match=f"^no Dask scheduler answers at {scheduler} .*without --scheduler"
        ) as no:
            client.connect(scheduler)
        assert time.monotonic() - started < 30
        assert "\n" not in str(no.value)


def test_a_worker_has_data_of_its_own_or_the_callers_or_none(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("gfe_companion.datasets.locate", lambda place, *_: asked.append(place) or Source(tmp_path))
    config = Train("mnist", False, 0, None, (32,))
    monkeypatch.setenv("GFE_DATA", "/its/own")
    worker._source(config, str(tmp_path))
    monkeypatch.setenv("GFE_DATA", "")
    worker._source(config, str(tmp_path))
    worker._source(config, "/not/here")
    worker._source(config, "")
    assert asked == ["/its/own", str(tmp_path), "auto", "auto"]
    assert worker._source(replace(config, embedded=True), "").embedded

    monkeypatch.undo()
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    monkeypatch.setenv("GFE_DATA", "")
    monkeypatch.setattr(data, "fetch", lambda *_: "no network")
    with pytest.raises(RuntimeError, match="no network.*set GFE_DATA where the worker starts"):
        worker._source(config, "")
    with pytest.warns(StandInWarning):
        data.locate("auto", "mnist", tmp_path)


def test_a_file_that_came_back_damaged_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "there"))
    made, present = store.run(Sleeps(0, 0.0), Source(None)), code.now()
    files = client.files_of(made.config, present)
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "here"))
    with pytest.raises(RuntimeError, match="damaged as soon as it was written"):
        store.receive(made.config, files | {"weights.pt": files["weights.pt"][:-1]}, present)
    assert not store.finished([made.config])
    assert store.receive(made.config, files, present).provenance == made.provenance


def test_everything_that_torch_reads_is_plain_tensors():
    """No file is unpickled: each ``torch.load`` says so, and what runs keep can be read so."""
    found = 0
    for path in [*ROOT.glob("gfe_*/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("tests/**/*.py")]:
        for call in re.findall(r"torch\.load\((.*)", path.read_text()):
            if path.name != os.path.basename(__file__):
                assert "weights_only=True" in call, f"{path}: {call}"
                found += 1
    for path in ROOT.glob("notebooks/*.ipynb"):
        assert "torch.load(" not in path.read_text()
    assert found >= 2
