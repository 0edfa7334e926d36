"""Runs of an earlier date or of older code: made anew by GFE_FORCE, taken by GFE_KEEP_RUNS, and lost by neither."""

import shutil
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from gfe_companion.cli.plan import Plan
from gfe_companion.datasets import Source
from gfe_companion.runs import code, folders, store
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_core.amd import AMD

ORIGIN = Source(None)
SETTING = Setting(PROFILES["smoke"], "embedded", (0,), 1, "cpu")
TRAINING = Train("mnist", True, 0, AMD(max_trials=2), (32,), (32,), 20)
TESTS = [Evaluate(TRAINING, 32, AMD(max_trials=2), count) for count in (5, 6)]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folders, "handed_out", {})
    return tmp_path / "home"


@pytest.fixture
def newer(monkeypatch, tmp_path):
    """A function that changes AMD, and restarts the kernel."""
    for package in code.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def change(path="gfe_core/amd.py"):
        with (tmp_path / path).open("a") as file:
            file.write("\n\nADDED = 1\n")
        monkeypatch.setattr(code, "LOADED", code.now())

    monkeypatch.setattr(code, "LOADED", code.now())
    return change


def test_runs_of_an_earlier_date_are_made_once_more(monkeypatch, executed):
    before = store.run_grid(TESTS, SETTING)
    monkeypatch.setenv("GFE_FORCE", str(time.time()))
    after = store.run_grid(TESTS, SETTING)
    assert executed == [TRAINING, *TESTS] * 2, "a shared training once"
    assert [run.folder for run in after] == [run.folder for run in before]
    assert all(new.provenance["ended"] > old.provenance["ended"] for new, old in zip(after, before, strict=True))
    store.run_grid(TESTS, SETTING)
    assert len(executed) == 6
    assert not [path for path in before[0].folder.parent.glob(".*") if path.suffix != ".lock"]


def test_the_earlier_run_stays_until_the_new_one_is_whole(monkeypatch):
    (before,) = store.run_grid(TESTS[:1], SETTING)

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setenv("GFE_FORCE", str(time.time()))
        patched.setattr(Train, "execute", fails)
        with pytest.raises(KeyboardInterrupt):
            store.run_grid(TESTS[:1], SETTING)
    assert folders.read(TESTS[0], before.folder).provenance == before.provenance
    assert len(store.finished([TRAINING, TESTS[0]])) == 2


def test_a_forced_run_does_not_go_on_where_an_earlier_one_stopped(monkeypatch, home):
    aside = home / "runs" / f".{folders.folder_of(TRAINING).name}"
    aside.mkdir(parents=True)
    (aside / "state.pt").write_bytes(b"of an earlier attempt")
    monkeypatch.setenv("GFE_FORCE", str(time.time() + 0.5))
    time.sleep(0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the state is not even read
        assert store.run(TRAINING, ORIGIN).history.images.tolist() == [32]


def test_a_run_that_was_whole_when_it_was_killed_only_gets_its_name(executed):
    made = store.run(TRAINING, ORIGIN)
    made.folder.rename(made.folder.with_name(f".{made.folder.name}"))
    assert store.run(TRAINING, ORIGIN).provenance == made.provenance
    assert executed == [TRAINING]


def test_runs_of_older_code_are_taken_when_asked_for_and_say_what_changed(monkeypatch, newer, executed):
    (old,) = store.run_grid(TESTS[:1], SETTING)
    newer()
    assert store.finished(TESTS[:1]) == []
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    (kept,) = store.run_grid(TESTS[:1], SETTING)
    assert (kept.folder, kept.older) == (old.folder, ("gfe_core.amd",))
    assert folders.handed_out[kept.folder.name] == ("gfe_core.amd",)
    assert len(executed) == 2

    monkeypatch.setenv("GFE_KEEP_RUNS", "")
    (new,) = store.run_grid(TESTS[:1], SETTING)
    assert new.folder != old.folder and new.older == () and old.folder.exists()
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    assert store.run_grid(TESTS[:1], SETTING)[0].folder == new.folder, "the present code's, where it is there"


def test_the_newest_of_older_code_is_taken_and_a_damaged_one_never(monkeypatch, newer):
    made = []
    for _ in range(3):
        made.append(store.run(TRAINING, ORIGIN))
        newer()
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    assert store.run(TRAINING, ORIGIN).folder == made[2].folder
    (made[2].folder / "weights.pt").write_bytes(b"damaged")
    assert store.run(TRAINING, ORIGIN).folder == made[1].folder


def test_what_is_made_anew_never_rests_on_older_code(monkeypatch, newer, executed):
    """Its key would say that it is of the present code."""
    store.run(TESTS[0], ORIGIN)
    newer()
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    kept, made = store.run_grid(TESTS, SETTING)
    assert kept.older and not made.older
    assert executed == [TRAINING, TESTS[0], TRAINING, TESTS[1]]


def test_the_plan_counts_what_is_made_anew_because_older_code_is_no_base(monkeypatch, newer):
    """One test is kept, the other is computed, and with it the training, though an older one is there."""
    store.run(TESTS[0], ORIGIN)
    newer()
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    for needs in (TESTS, [TRAINING, *TESTS]):
        page = SimpleNamespace(path=Path("05_page.ipynb"), why=lambda: "edited", needs=lambda needs=needs: needs)
        plan = Plan(SETTING)
        said = plan.lines(page)[1]
        assert f"{len(needs) - 1} of older code and kept, 2 to be computed" in said
        assert set(plan.planned) == {TRAINING, TESTS[1]}


def test_folders_of_other_names_are_left_alone(monkeypatch, home, newer):
    name = f"{TRAINING.name}-{TRAINING.key}"
    foreign = [
        home / "runs" / each for each in (f"{TRAINING.name}-0123456789", name, f"{name}-mine", f"{name}-0123456")
    ]
    for folder in foreign:
        folder.mkdir(parents=True)
        (folder / "run.json").write_text('{"files": {}, "duration_s": 1}')
    monkeypatch.setenv("GFE_KEEP_RUNS", "1")
    assert store.run(TRAINING, ORIGIN).folder not in foreign
    assert all((folder / "run.json").exists() for folder in foreign)
