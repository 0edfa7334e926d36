"""What a profile takes is measured: by its runs' clocks, by the folders that it wrote, by what its processes held."""

import subprocess
import sys
import threading
from contextlib import suppress

import nbformat
import pytest

from gfe_companion.cli import peak
from gfe_companion.runs.profiles import ROOT, Setting
from gfe_companion.site import costs

README = (ROOT / "README.md").read_text()
NEEDS_MORE = "import time; held = bytearray(200_000_000); print('held', flush=True); time.sleep(60)"


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A profile of two notebooks, which took 2 and 3 minutes and 1 GB, and of two runs, of which each took an hour."""
    monkeypatch.setenv("GFE_HOME", str(tmp_path))
    setting = Setting.of("smoke", "embedded", jobs=2, device="cpu")
    build, runs = tmp_path / "build" / "smoke", [tmp_path / "runs" / name for name in "ab"]
    for folder in (build, setting.figures, *runs):
        folder.mkdir(parents=True)
    for name, seconds in (("01_one", 120), ("02_two", 180)):
        nbformat.write(nbformat.v4.new_notebook(metadata={"papermill": {"duration": seconds}}), build / f"{name}.ipynb")
    for folder in (build, *runs):
        with (folder / "large").open("wb") as file:
            file.truncate(500_000_000)
    (build / costs.PEAK).write_text('{"bytes": 1700000000, "jobs": 2}')
    monkeypatch.setattr(costs, "everything_of", lambda stems, setting: ["a", "b"] if len(stems) == 2 else [])
    monkeypatch.setattr(costs, "elapsed_with", lambda jobs, seconds: sum(seconds.values()) / jobs)
    monkeypatch.setattr(costs.Durations, "of", lambda self, config: 3600.0)
    monkeypatch.setattr(costs, "folder_of", lambda config: tmp_path / "runs" / config)
    return setting


def row(setting, *names):
    return costs.row_of(setting, [ROOT / "notebooks" / f"{name}.ipynb" for name in names])


def test_a_row_of_what_was_measured(setting, tmp_path):
    assert row(setting, "01_one", "02_two") == "| `smoke` | 65 min, 2 runs side by side | 1.7 GB | 1.5 GB |"
    assert row(setting, "01_one", "03_three") == "", "not every notebook was executed"
    (tmp_path / "build" / "smoke" / costs.PEAK).write_text('{"bytes": 9, "jobs": 16}')
    assert "| unknown | 1.5 GB |" in row(setting, "01_one", "02_two"), "with others side by side"


def test_only_the_profiles_own_row_is_filled_in(setting, monkeypatch):
    monkeypatch.setattr(costs, "row_of", lambda *_: "| `smoke` | new |")
    lines, before = costs.filled(README, setting).splitlines(), README.splitlines()
    assert [new for new, old in zip(lines, before, strict=True) if new != old] == ["| `smoke` | new |"]
    monkeypatch.setattr(costs, "row_of", lambda *_: "")
    assert costs.filled(README, setting) == README
    assert {f"| `{name}` |" in costs.TABLE.search(README)[0] for name in ("smoke", "quick", "paper")} == {True}


def test_memory_is_that_of_all_processes():
    before = peak.held()
    started = subprocess.Popen([sys.executable, "-c", NEEDS_MORE], stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "held\n"
    assert 190e6 < peak.held() - before < 300e6
    started.kill()
    started.communicate()


@pytest.fixture
def call(tmp_path, monkeypatch):
    """A call that holds so much at one look after another; what is noted then, in words."""

    def call_(*held, jobs=2, ends=None):
        seen, looks = threading.Event(), iter(held)
        monkeypatch.setattr(peak, "held", lambda: next(looks, 0) or seen.set() or 0)
        with suppress(KeyboardInterrupt), peak.noted(tmp_path, jobs):
            assert seen.wait(60)
            if ends:
                raise ends
        return (tmp_path / costs.PEAK).read_text()

    monkeypatch.setattr(peak, "LOOKED_S", 0.001)
    return call_


def test_the_most_memory_is_noted(call, tmp_path):
    assert call(5, 9, 7) == '{"bytes": 9, "jobs": 2}'
    assert call(8) == '{"bytes": 9, "jobs": 2}', "a later call held less"
    assert call(10, ends=KeyboardInterrupt) == '{"bytes": 10, "jobs": 2}', "an interrupted one held more"
    assert call(1, jobs=3) == '{"bytes": 1, "jobs": 3}', "with others side by side it is another matter"
    assert costs.peak_in(tmp_path, 3) == 1 and costs.peak_in(tmp_path, 2) == 0
