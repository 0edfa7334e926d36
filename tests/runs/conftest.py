"""What tests of runs share: packages that can be edited, and a record of what was executed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gfe_companion.runs import code
from gfe_companion.runs.configs import Evaluate, Train
from gfe_companion.runs.profiles import ROOT


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """A copy of both packages that keys are made of, and a function that edits a file of it."""
    for package in code.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def edit(path, old, new):
        text = (tmp_path / path).read_text()
        assert old in text
        (tmp_path / path).write_text(text.replace(old, new, 1))

    def add(path, text):
        with (tmp_path / path).open("a") as file:
            file.write(f"\n\n{text}\n")

    edit.root, edit.add = tmp_path, add
    return edit


@pytest.fixture
def executed(monkeypatch):
    """The configurations that have been executed."""
    seen = []
    for kind in (Train, Evaluate):
        execute = kind.execute
        monkeypatch.setattr(kind, "execute", lambda c, *rest, execute=execute: seen.append(c) or execute(c, *rest))
    return seen


class Cluster:
    """A Dask scheduler and workers on loopback, each a process, started by the commands that README gives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.processes = folder, folder / "scheduler.json", {}
        self._start("scheduler", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        self.wait(self.file.exists)

    def worker(self, name: str, *flags: str, threads: int = 1, **environment: str) -> Path:
        """Start a worker, whose store is in the folder that is returned."""
        given = ("--scheduler-file", str(self.file), "--nthreads", str(threads), "--name", name, "--no-nanny")
        local = ("--local-directory", str(self.folder / f"local-{name}"), "--no-dashboard")
        self._start(name, "worker", *given, *local, *flags, **environment)
        return self.folder / name

    def _start(self, name: str, kind: str, *flags: str, **environment: str) -> None:
        told = os.environ | {"PYTHONPATH": str(ROOT), "GFE_HOME": str(self.folder / name)} | environment
        command = [sys.executable, "-P", "-m", "dask", kind, "--host", "127.0.0.1", *flags]
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=told)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for name in [*self.processes]:
            self.kill(name)

    @staticmethod
    def wait(ready, seconds=120) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, "nothing happened in time"
            time.sleep(0.05)


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A scheduler without workers, that runs of this process are sent to; and a store for this process."""
    from gfe_companion.runs import cluster as client

    (tmp_path / "cluster").mkdir()
    started = Cluster(tmp_path / "cluster")
    monkeypatch.setenv("GFE_SCHEDULER", str(started.file))
    monkeypatch.setenv("GFE_HOME", str(tmp_path / "home"))
    client.connect.cache_clear()
    yield started
    if client.connect.cache_info().currsize:
        client.connect(str(started.file)).close(timeout=5)
    client.connect.cache_clear()
    started.close()
