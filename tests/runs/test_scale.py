"""Large grids: what is found finished is found quickly and never believed too easily, and plans say how long."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gfe_companion.cli import bench_grid
from gfe_companion.cli.plan import Plan
from gfe_companion.datasets import Source
from gfe_companion.runs import folders, store
from gfe_companion.runs.configs import Train
from gfe_companion.runs.durations import Durations, elapsed_with, in_words, longest_first
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.progress import Progress
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.runs.stand_in import Sleeps
from gfe_companion.site.publish import BLOCK, with_results
from gfe_companion.studies.results import markdown
from gfe_core.fixed_grid import FixedGrid, decaying

SETTING = Setting(PROFILES["smoke"], "embedded", (0,), 1, "cpu")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    monkeypatch.setenv("GFE_SCHEDULER", "")
    return tmp_path


def made(count, seconds=0.0):
    """``count`` finished runs, made by hand from one that was executed."""
    configs = [Sleeps(number, seconds) for number in range(count)]
    first = store.run(configs[0], Source(None))
    for config in configs[1:]:
        folder = folders.folder_of(config)
        folder.mkdir()
        for path in first.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    return configs


def test_a_grid_of_many_finished_runs_costs_little():
    """Two milliseconds a run would be 20 seconds for 10,000: found by a grid, and planned with its reasons."""
    configs = made(1000)
    os.utime(folders.runs_folder(), ns=(0, 0))  # nothing was added lately
    page = SimpleNamespace(path=Path("00_page.ipynb"), why=lambda: "edited", needs=lambda: configs)
    again = Plan(SETTING, forced=True)
    for work in (
        lambda: store.run_grid(configs, SETTING),
        lambda: Plan(SETTING).lines(page),
        lambda: again.lines(page),
    ):
        started = time.process_time()
        work()
        assert time.process_time() - started < 2.0
    assert "1000 current" in Plan(SETTING).lines(page)[1]


def test_sums_are_remembered_and_every_change_of_a_file_is_noticed(monkeypatch):
    (config,) = made(1)
    folder, summed = folders.folder_of(config), []
    real = folders.checksum
    monkeypatch.setattr(folders, "checksum", lambda path: summed.append(path.name) or real(path))
    assert store.finished([config]) and len(summed) == 2
    assert not (folder / folders.CHECKED).exists(), "files as young as this may change without another time"
    monkeypatch.setattr(folders, "SETTLED_S", -1)
    assert store.finished([config]) and store.finished([config])
    assert len(summed) == 4, "the third time nothing was summed"

    weights = folder / "weights.pt"
    content, times = weights.read_bytes(), weights.stat()
    for place in (0, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[place] ^= 1
        weights.write_bytes(flipped)
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # whoever did it hides it
        assert not store.finished([config])
    weights.write_bytes(content)
    for damage in ("", "[]", "{", json.dumps({"weights.pt": ["0" * 64]})):
        (folder / folders.CHECKED).write_text(damage)
        assert store.finished([config])
    (folder / folders.CHECKED).write_text("{")
    weights.write_bytes(content[:-1])
    assert not store.finished([config])


def test_a_store_that_may_only_be_read_is_read(monkeypatch):
    (config,) = made(1)
    monkeypatch.setattr(folders, "SETTLED_S", -1)
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(PermissionError("read-only")))
    assert store.finished([config])


def provenance(seconds, kind, images=1):
    return {"ended": 1.0, "duration_s": seconds, "work": {"kind": kind, "images": images}}


def test_the_longest_go_first_and_those_of_unknown_length_before_them():
    durations = Durations()
    short, long, unknown = Sleeps(0, 1.0), Sleeps(1, 5.0), Sleeps(2, 9.0)
    durations.take("other", provenance(1.0, short.work[0]))
    durations.take("other", provenance(5.0, long.work[0]))
    assert longest_first([short, long, unknown], durations) == [unknown, long, short]
    durations.take("more", provenance(9.0, long.work[0]))
    durations.take("more", provenance(9.0, long.work[0]))
    assert durations.of(long) == 9.0, "the median, taken again"
    durations.take("odd", {"ended": 1.0})


def test_a_kind_of_work_is_known_again_in_another_process():
    durations, fixed = Durations(), Train("mnist", True, 0, FixedGrid(1e4, 10), (32,))
    elsewhere = fixed.work[0].replace(hex(id(decaying)), "0x7f194eaf5620")
    assert elsewhere != fixed.work[0], "it names a function by its address"
    durations.take("other", provenance(5.0, elsewhere))
    assert durations.of(fixed) is not None


def test_the_time_of_many_workers_is_bounded_by_the_longest_chain():
    first = Sleeps(0, 1.0)
    chained = Sleeps(1, 1.0, (first,))
    others = [Sleeps(number, 1.0) for number in range(2, 10)]
    seconds = {first: 10.0, chained: 5.0} | dict.fromkeys(others, 10.0)
    assert elapsed_with(1, seconds) == 95.0
    assert elapsed_with(5, seconds) == 19.0
    assert elapsed_with(1000, seconds) == 15.0
    assert elapsed_with(2, {first: None}) == 0.0
    assert in_words(7200) == "2.0 h" and in_words(3_600_000) == "1,000.0 h"


def test_the_plan_tells_the_time_of_one_machine_and_of_many_workers():
    made(1, seconds=0.2)
    configs = [Sleeps(number, 0.2) for number in range(1, 101)]
    page = SimpleNamespace(path=Path("00_page.ipynb"), why=lambda: "edited", needs=lambda: configs)
    plan = Plan(SETTING, workers=20)
    plan.durations.alike = {configs[0].work[0]: [36.0]}
    assert "100 to be computed" in plan.lines(page)[1]
    assert plan.total() == "in all: 100 runs, about 60 min on one core, 3 min with 20 workers"
    plan.workers = 1000
    assert plan.total().endswith("36 s with 1,000 workers")


def test_the_bar_says_what_is_done_and_running_and_how_long_the_rest_takes(capsys):
    configs = [Sleeps(number, 0.0) for number in range(4)]
    runs = [store.run(config, Source(None)) for config in configs[:2]]
    durations = Durations()
    durations.same.clear(), durations.alike.clear(), durations._medians.clear()
    with Progress(configs, durations, lambda left: (min(2, left), "2 workers")) as progress:
        assert progress.told() == "2 running, 2 workers", "nothing is known of how long they take"
        durations.alike[configs[0].work[0]] = [120.0]
        assert progress.told() == "2 running, about 4 min left, 2 workers"
        for run in runs:
            progress.done(run)
        assert "2 running, loss 1.0000 (sleeps-1), about" in progress.told()
    assert "2/4" in capsys.readouterr().err


def test_a_training_shows_its_last_validation_loss():
    run = store.run(Train("mnist", True, 0, None, (32, 64), (), 20), Source(None))
    with Progress([run.config], Durations(), lambda left: (left, "")) as progress:
        progress.done(run)
        assert f"loss {run.history.validation_loss.iloc[-1]:.4f} ({run.config.name})" in progress.told()


def test_a_cluster_costs_little_beside_its_runs():
    """What `bench --only overhead` measures, in the small: a tenth of a second a run would be a quarter of an hour."""
    frame = bench_grid.overhead(SETTING, count=100).set_index("what")
    assert frame.a_run_ms["made on the cluster, beyond sleeping"] < 300
    assert 0 < frame.a_run_ms["  of it the scheduler's processor time"] < 30
    assert frame.a_run_ms["found finished"] < 20
    assert 50 < frame.seconds["memory of a worker, MB"] < 2000


def test_the_large_grid_is_reckoned_from_what_is_published():
    frame = bench_grid.on_paper(workers=(100, 10**6)).set_index("method")
    hours = frame.drop(columns="ms an image").map(lambda text: float(text.removesuffix(" h").replace(",", "")))
    assert {"AE", "GFE-amd", "GFE, accelerated"} <= set(frame.index)
    trainings = bench_grid.LARGE["seeds"] * bench_grid.LARGE["data sets"]
    for row in hours.to_dict("records"):
        assert row["1 worker"] == pytest.approx(trainings * row["one training"], rel=0.1)
        assert row["100 workers"] == pytest.approx(row["1 worker"] / 100, rel=0.1)
        assert row["1,000,000 workers"] == row["one training"]


def test_the_published_hours_are_of_what_is_published_now():
    hours = bench_grid.on_paper()
    assert markdown(hours) in (bench_grid.PUBLISHED / "cluster_hours.md").read_text()
    assert set(hours.method) == {"AE", "GFE-amd", "GFE-amd, uncapped", "GFE, accelerated", "auto-decoder"}


def test_the_readme_carries_what_was_measured():
    readme = (ROOT / "cluster" / "README.md").read_text()
    blocks = {block[2] for block in BLOCK.finditer(readme)} & {path.stem for path in bench_grid.PUBLISHED.glob("*.md")}
    assert blocks == {"cluster_grid", "cluster_overhead", "cluster_hours"}
    assert readme == with_results(readme, bench_grid.PUBLISHED)


def test_the_tls_recipe_of_the_readme_makes_a_cluster_that_others_cannot_enter(tmp_path):
    """Its commands, on loopback: with the certificate a run is made, without it there is a sentence."""
    readme = (ROOT / "cluster" / "README.md").read_text()
    (recipe,) = [block for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) if "openssl" in block]
    make, serve = recipe.split("dask scheduler", 1)
    serve = (
        "$PYTHON -P -m dask scheduler" + serve.partition("#")[0].rstrip() + " --host 127.0.0.1 --port 0 --no-dashboard"
    )
    program = (
        "from gfe_companion.runs import store; from gfe_companion.runs.stand_in import Sleeps; "
        "from gfe_companion.runs.profiles import PROFILES, Setting; "
        "print(len(store.run_grid([Sleeps(0, 0.0)], Setting(PROFILES['smoke'], 'embedded', (0,), 1, 'cpu'))))"
    )
    script = f"""{make.replace("rsa:4096", "rsa:2048")}
{serve} > scheduler.log 2>&1 &
scheduler=$!
while [ ! -f scheduler.json ]; do sleep 0.1; done
GFE_HOME=$PWD/worker $PYTHON -P -m dask worker --scheduler-file scheduler.json --nthreads 1 --no-nanny \\
    --no-dashboard --host 127.0.0.1 > worker.log 2>&1 &
worker=$!
export GFE_SCHEDULER=scheduler.json
timeout 60 $PYTHON -P -c "{program}"
variables=$(env | grep '^DASK_DISTRIBUTED')
unset $(env | grep -o '^DASK_DISTRIBUTED[A-Z_]*')
timeout 60 $PYTHON -P -c "{program.replace("Sleeps(0,", "Sleeps(1,")}" 2>&1 | tail -n 1
rm key.pem
timeout 60 env $variables $PYTHON -P -c "{program.replace("Sleeps(0,", "Sleeps(2,")}" 2>&1 | tail -n 1
grep -o '"address": "tls' scheduler.json
kill -9 $worker $scheduler
"""
    told = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=told, capture_output=True, text=True, timeout=240)
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
    said = done.stdout.splitlines()
    assert said[:1] == ["1"], done.stderr[-2000:] + logs
    assert "NoCluster: no Dask scheduler answers at scheduler.json (no certificate is named" in said[1]
    assert "NoCluster: no Dask scheduler answers at scheduler.json" in said[2]
    assert said[3] == '"address": "tls'
