"""Code that changed under a running kernel makes no numbers: what is in memory is not what the key would say."""

import os

import pytest

from gfe_companion.datasets import Source
from gfe_companion.runs import code, folders, store
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_core.amd import AMD


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def train(solver=None):
    return Train("mnist", True, 0, solver, (32,), (32,), 20)


OWN = Evaluate(train(), 32, None, 10)


def test_code_that_changed_under_a_running_kernel_makes_nothing_and_reads_what_is_there(copied, home, monkeypatch):
    monkeypatch.setattr(code, "LOADED", code.now())  # a kernel starts
    config, origin = Evaluate(train(), 32, AMD(max_trials=2), 5), Source(None)
    made = store.run(config, origin)
    copied.add("gfe_core/amd.py", "ADDED = 1")
    with pytest.raises(code.StaleCode, match=r"^gfe_core/amd.py has changed .* restart the kernel .*\.$") as refusal:
        store.run(config, origin)
    assert str(refusal.value).count(". ") == 0, "one sentence"
    with pytest.raises(code.StaleCode):
        store.run_grid([config], Setting(PROFILES["smoke"], "embedded", (0,), 1, "cpu"))
    assert store.run(train(), origin).folder == folders.folder_of(train()), "what does not rest on it goes on"
    store.run(Evaluate(train(), 32, None, 5), origin)

    monkeypatch.setattr(code, "LOADED", code.now())  # restarted
    again = store.run(config, origin)
    assert again.folder != made.folder and made.folder.exists()
    assert again.folder.name.rpartition("-")[0] == made.folder.name.rpartition("-")[0]
    assert again.provenance["code"]["gfe_core.amd"] != made.provenance["code"]["gfe_core.amd"]

    copied("gfe_core/amd.py", "ADDED = 1\n", "")
    assert store.run(config, origin).folder == made.folder, "finished runs may be read, whatever is in memory"


def test_a_run_under_way_keeps_the_key_of_the_code_that_makes_it(copied, home, monkeypatch):
    monkeypatch.setattr(code, "LOADED", code.now())
    before, execute = folders.folder_of(OWN), Train.execute

    def edited(*arguments):
        copied.add("gfe_core/models.py", "ADDED = 1")
        return execute(*arguments)

    monkeypatch.setattr(Train, "execute", edited)
    setting = Setting(PROFILES["smoke"], "embedded", (0,), 1, "cpu")
    (made,) = store.run_grid([OWN], setting)
    assert made.folder == before
    with pytest.raises(code.StaleCode, match="gfe_core/models.py"):
        store.run_grid([OWN], setting)


def test_a_worker_that_has_read_other_code_makes_nothing(home):
    config = train()
    with pytest.raises(code.StaleCode):
        store._work(config, {"mnist": Source(None)}, os.getpid(), {"gfe_core.amd": "other"})
    assert not (home / "runs").exists()
